"""From an operation to the standard nodes that compute it on real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.operation import Constant, Operand, Operation

TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
"""Permutations of an image between channels last and channels first."""

ACTIVATIONS: Mapping[str, tuple[float, float] | None] = {
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""Fused activations that are a Clip."""


class Place(Protocol):
    """Where nodes are put: a graph, or the body of a function."""

    def append(self, node: ir.Node) -> None:
        """Put a node behind those that are there."""

    def constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        """A constant."""

    def fresh(self, name: str) -> str:
        """The name, or one like it that nothing has."""


@dataclass(slots=True, kw_only=True)
class Builder:
    """What the `build` of a kind works with.

    Attributes:
        place: where nodes go.
        tensors: data of initializers by name.
        values: quantization of graph values by name; of a quantized value only the entry says so, its
            type in the graph is float32.
        functions: functions of domain `w2e` that the nodes call, by name.
    """

    place: Place
    tensors: Mapping[str, Tensor]
    values: Mapping[str, ActivationQuantization] = field(default_factory=dict)
    functions: dict[str, ir.Function] = field(default_factory=dict)

    def node(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
        *,
        outputs: Sequence[ir.Value] | None = None,
        domain: str = "",
    ) -> ir.Value:
        """Append a node; its first output. A node in between has a fresh value of unknown type."""
        made = ir.node(op, inputs, attributes or {}, domain=domain, outputs=outputs)  # type: ignore[arg-type]
        made.name = self.place.fresh(f"{op}_node")
        for output in made.outputs:
            if output.name is None:
                output.name = self.place.fresh(op.lower())
        self.place.append(made)
        return made.outputs[0]

    def nodes(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object],
        count: int,
    ) -> list[ir.Value]:
        """Append a node of several outputs, all fresh."""
        outputs = [ir.Value(name=self.place.fresh(f"{op.lower()}_{i}")) for i in range(count)]
        self.node(op, inputs, attributes, outputs=outputs)
        return outputs

    def call(
        self,
        function: ir.Function,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
        *,
        outputs: Sequence[ir.Value],
    ) -> None:
        """Append a call of a model-local function."""
        self.functions[function.name] = function
        self.node(function.name, inputs, attributes, outputs=outputs, domain=function.domain)

    def integers(self, name: str, numbers: Sequence[int] | int) -> ir.Value:
        """An int64 constant: a shape, axes, bounds."""
        return self.place.constant(name, np.asarray(numbers, np.int64))

    def reals(self, name: str, numbers: Sequence[float] | float) -> ir.Value:
        """A float32 constant."""
        return self.place.constant(name, np.asarray(numbers, np.float32))

    def value(self, operand: Operand) -> ir.Value:
        """An operand as a value that nodes can read."""
        if isinstance(operand, Constant):
            return self.place.constant(operand.name, operand.array)
        assert operand is not None
        return operand

    def tensor(self, operand: Operand) -> Tensor | None:
        """The tensor behind an operand that is an initializer."""
        if not isinstance(operand, ir.Value) or not is_weight(operand):
            return None
        return self.tensors.get(name_of(operand))

    def array(self, operand: Operand) -> NDArray[np.generic] | None:
        """The numbers of a plain constant operand (axes, shapes, paddings), None where it is none."""
        if isinstance(operand, Constant):
            return operand.array
        tensor = self.tensor(operand)
        if tensor is None or tensor.encoding.quantized:
            return None
        return tensor.storage.parts(0, tensor.rows).codes.reshape(tensor.shape)

    def numbers(self, operand: Operand, what: str) -> list[int]:
        """Integers of a constant operand, flat.

        Raises:
            UnsupportedError: it is computed at run time.
        """
        array = self.array(operand)
        if array is None:
            raise UnsupportedError(f"{what} computed at run time")
        return [int(n) for n in array.reshape(-1)]

    def as_int64(self, operand: Operand, name: str) -> ir.Value:
        """An int32 operand as the int64 that ONNX wants for shapes and axes: a constant, or a Cast."""
        array = self.array(operand)
        if array is not None:
            return self.place.constant(name, array.astype(np.int64))
        return self.node("Cast", [self.value(operand)], {"to": int(ir.DataType.INT64)})

    def activation(self, x: ir.Value, kind: str, outputs: Sequence[ir.Value]) -> None:
        """Apply a fused activation as the node that makes `outputs`; see `finish` for none."""
        if kind == "RELU":
            self.node("Relu", [x], outputs=outputs)
        elif kind == "TANH":
            self.node("Tanh", [x], outputs=outputs)
        elif (bounds := ACTIVATIONS.get(kind)) is not None:
            low, high = (self.reals("bound", bound) for bound in bounds)
            self.node("Clip", [x, low, high], outputs=outputs)
        else:
            raise UnsupportedError(f"fused activation {kind}")

    def last(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        operation: Operation,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        """The node that computes an operation of one output, with its fused activation behind it."""
        fused = operation.text("fused_activation_function")
        if fused == "NONE":
            self.node(op, inputs, attributes, outputs=operation.outputs)
        else:
            self.activation(self.node(op, inputs, attributes), fused, operation.outputs)

    def channels_last(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        operation: Operation,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        """An operator of images: the first input and the output of `operation` are NHWC.

        The fused activation stands behind the Transpose, on channels-last values.
        """
        first = self.node("Transpose", [inputs[0]], {"perm": TO_FIRST})
        inner = self.node(op, [first, *inputs[1:]], attributes)
        self.last("Transpose", [inner], operation, {"perm": TO_LAST})


Build = Callable[[Operation, Builder], None]
