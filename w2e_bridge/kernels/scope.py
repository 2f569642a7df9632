"""What the `match` of a kind may ask of the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.graph.inspecting import STANDARD, attribute_of, is_weight, name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.build import TO_FIRST, TO_LAST
from w2e_bridge.kernels.operation import Constant, Operand, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A graph that is being read.

    Attributes:
        tensors: data of initializers by name.
        values: quantization of graph values by name.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, ActivationQuantization]

    def quantization(self, value: ir.Value | None) -> ActivationQuantization | None:
        """How a value is quantized, None where it is not."""
        return None if value is None else self.values.get(name_of(value))

    def static(self, value: ir.Value | None) -> ActivationQuantization | None:
        """Likewise, where the scale is written in the model."""
        found = self.quantization(value)
        return found if found is not None and found.scale is not None else None

    def maker(self, value: Operand, *ops: str, domain: str = "") -> ir.Node | None:
        """The node that makes a value, if it is one of these operators."""
        node = value.producer() if isinstance(value, ir.Value) else None
        if node is None or node.op_type not in ops:
            return None
        same = node.domain == domain or (not domain and node.domain in STANDARD)
        return node if same else None

    def inside(self, value: ir.Value | None, *ops: str) -> ir.Node | None:
        """The maker of a value that may vanish inside an operation: unquantized, read once, no output."""
        if value is None or self.quantization(value) is not None or value.is_graph_output():
            return None
        return self.maker(value, *ops) if len(value.uses()) == 1 else None

    def tensor(self, value: Operand) -> Tensor | None:
        """The tensor behind an initializer."""
        if not isinstance(value, ir.Value) or not is_weight(value):
            return None
        return self.tensors.get(name_of(value))

    def array(self, value: Operand) -> NDArray[np.generic] | None:
        """The numbers of a plain constant, in its shape; None where it is none."""
        if isinstance(value, Constant):
            return value.array
        tensor = self.tensor(value)
        if tensor is not None and not tensor.encoding.quantized:
            return tensor.storage.parts(0, tensor.rows).codes.reshape(tensor.shape)
        const = value.const_value if isinstance(value, ir.Value) else None
        if const is not None and tensor is None and not is_weight(value):
            return const.numpy()
        node = self.maker(value, "Constant")
        held = None if node is None else node.attributes.get("value")
        return None if held is None else held.as_tensor().numpy()

    def number(self, value: Operand) -> float | None:
        """The one number of a constant."""
        array = self.array(value)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def as_int32(self, value: ir.Value | None, name: str) -> Operand:
        """What ONNX wants as int64, as the int32 operand it was made from: the inverse of `Builder.as_int64`."""
        if value is None:
            return None
        array = self.array(value)
        if array is not None:
            return Constant(array=array.astype(np.int32), name=name)
        cast = self.maker(value, "Cast")
        source = None if cast is None else cast.inputs[0]
        whole = source is not None and source.dtype in (None, ir.DataType.INT32, ir.DataType.INT64)
        return source if whole else value

    def transposed(self, value: ir.Value | None, perm: tuple[int, ...]) -> ir.Value | None:
        """What a value is the Transpose of, by that permutation."""
        node = self.maker(value, "Transpose")
        if node is None or attribute(node, "perm") != perm:
            return None
        return node.inputs[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fused:
    """What stands behind a fused activation.

    Attributes:
        node: the node that computes; the root itself where nothing is fused.
        activation: "NONE", "RELU", "RELU6", "RELU_N1_TO_1", "TANH".
        nodes: the nodes of the activation.
    """

    node: ir.Node
    activation: str
    nodes: tuple[ir.Node, ...]


_BOUNDS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}


def fused(root: ir.Node, scope: Scope) -> list[Fused]:
    """The ways to read a root: as an activation fused behind another node, and as itself."""
    ways = [Fused(node=root, activation="NONE", nodes=())]
    name = _activation(root, scope)
    inner = None if name is None else root.inputs[0]
    node = None if inner is None else inner.producer()
    if name is None or node is None or inner is None or scope.inside(inner, node.op_type) is None:
        return ways
    return [Fused(node=node, activation=name, nodes=(root,)), *ways]


def _activation(node: ir.Node, scope: Scope) -> str | None:
    if node.domain not in STANDARD:
        return None
    if node.op_type == "Relu":
        return "RELU"
    if node.op_type == "Clip":
        bounds = tuple(
            scope.number(node.inputs[i]) if i < len(node.inputs) else None for i in (1, 2)
        )
        return _BOUNDS.get(bounds)  # type: ignore[arg-type]
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An operator of images between its two Transposes.

    Attributes:
        node: the operator.
        x: its channels-last input.
        nodes: all nodes but the root's activation.
    """

    node: ir.Node
    x: ir.Value
    nodes: tuple[ir.Node, ...]


def image(root: ir.Node, scope: Scope, *ops: str) -> Image | None:
    """Read Transpose(op(Transpose(x), …)) of NHWC images; `root` is the last Transpose."""
    if root.op_type != "Transpose" or attribute(root, "perm") != TO_LAST:
        return None
    node = scope.inside(root.inputs[0], *ops)
    if node is None:
        return None
    x = scope.transposed(node.inputs[0], TO_FIRST)
    turned = None if node.inputs[0] is None else node.inputs[0].producer()
    if x is None or turned is None:
        return None
    return Image(node=node, x=x, nodes=(turned, node, root))


def attribute(node: ir.Node, name: str, default: object = None) -> object:
    """An attribute's value, lists as tuples; the default where it is missing."""
    value = attribute_of(node, name)
    return default if value is None else value


Match = Callable[[ir.Node, Scope], Operation | None]


def first(read: Callable[[Fused, ir.Node, Scope], Operation | None]) -> Match:
    """A match of a kind that may have an activation behind it: what is read first of the ways to look at a root."""

    def match(root: ir.Node, scope: Scope) -> Operation | None:
        ways = (read(way, root, scope) for way in fused(root, scope))
        return next((found for found in ways if found is not None), None)

    return match
