"""Products of dynamically quantized values to operators on codes: the inverse of `recognise_operators_dynamic`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import (
    Unrecognised,
    given,
    is_op,
    name_of,
    needed,
    only_output,
)
from w2e_bridge.graph.qdq_emit import codes_of, scales_of, spread_of, zeros_of
from w2e_bridge.graph.qdq_parameters import insert_after, key_of, numbers, small
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import Ignored
from w2e_bridge.passes.layout.constants import turned
from w2e_onnx.recognise_operators_dynamic import UINT8

FLOAT = "computed with float32 activations: {}"
"""What becomes of a quantization that is not carried."""


def emit_dynamic(
    editor: Editor, values: Mapping[str, ActivationQuantization]
) -> tuple[Ignored, ...]:
    """Write the products of values that are quantized at run time.

    before: MatMul(x, Transpose(W)) or Conv(x, W, bias), x dynamically quantized.
    after:  DynamicQuantizeLinear(x), MatMulInteger or ConvInteger, Cast, Mul with both scales, Add of the bias.
    why exact: what the operators are defined as. What they can't say is computed with x as it is.

    Returns:
        Values whose rounding is not carried.
    """
    known = {name_of(v): v for graph in editor.model.graphs() for n in graph for v in n.outputs}
    known |= {name_of(v): v for graph in editor.model.graphs() for v in graph.inputs}
    left = []
    for name, quantization in values.items():
        if name not in known:
            continue
        try:
            _Rounded(editor=editor, value=known[name], quantization=quantization).run()
        except Unrecognised as reason:
            left.append(Ignored(name=name, reason=FLOAT.format(reason)))
    return tuple(left)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """A reader of the value.

    Attributes:
        node: MatMul, Gemm or Conv.
        weights: its constant, (in, out) or (out, in, …).
        bias: what it adds, or None.
    """

    node: ir.Node
    weights: Tensor
    bias: ir.Value | None = None


@dataclass(slots=True, kw_only=True)
class _Rounded:
    """One value and all that reads it."""

    editor: Editor
    value: ir.Value
    quantization: ActivationQuantization
    nodes: list[ir.Node] = field(default_factory=list)

    def run(self) -> None:
        """Rewrite its readers, or `Unrecognised` where one of them can't be."""
        if key_of(self.quantization) != key_of(UINT8):
            raise Unrecognised("rounded in another way than DynamicQuantizeLinear does")
        products = [self.product(user, index) for user, index in self.value.uses()]
        if not products or self.value.is_graph_output():
            raise Unrecognised("read by more than products")
        codes, scale, zero = self.quantized()
        for product in products:
            self.emit(product, codes, scale, zero)
        maker = self.value.producer()
        if maker is not None:
            self.editor.drop([maker])

    def product(self, node: ir.Node, index: int) -> _Product:
        """A reader as a product with constant weights of a byte."""
        if index or not any(is_op(node, op) for op in ("MatMul", "Gemm", "Conv")):
            raise Unrecognised(f"{node.op_type} of rounded values")
        value, turn = needed(node, 1), not is_op(node, "MatMul")
        flip = value.producer()
        if flip is not None and is_op(flip, "Transpose") and is_op(node, "MatMul"):
            value, turn = needed(flip, 0), True
        tensor = self.editor.constant(value)
        kind = tensor.encoding.codes
        if not tensor.encoding.quantized or not isinstance(kind, Integer) or kind.bits != 8:
            raise Unrecognised("products with weights that are no bytes")
        if is_op(node, "Conv"):
            return _Product(node=node, weights=_channelled(tensor), bias=given(node, 2))
        if len(tensor.shape) != 2 or (is_op(node, "Gemm") and not _plain_gemm(node)):
            raise Unrecognised("products of another kind")
        matrix = turned(tensor, (1, 0)) if turn else tensor
        if matrix is None or _axis(matrix) not in (None, 1):
            raise Unrecognised("scales along another axis than the columns")
        return _Product(node=node, weights=matrix, bias=given(node, 2))

    def quantized(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Codes, scale and zero point of the value."""
        maker = self.value.producer()
        source = self.value
        if maker is not None and is_op(maker, "Identity"):
            source = needed(maker, 0)
        node = ir.node("DynamicQuantizeLinear", [source], num_outputs=3)
        base = name_of(source)
        for output, word in zip(node.outputs, ("quantized", "scale", "zero_point"), strict=True):
            output.name = self.editor.free(f"{base}_{word}")
        graph = self.value.graph
        assert isinstance(graph, ir.Graph)
        insert_after(graph, self.value, [node])
        codes, scale, zero = node.outputs
        return codes, scale, zero

    def emit(self, product: _Product, x: ir.Value, x_scale: ir.Value, x_zero: ir.Value) -> None:
        """Write one product."""
        node, tensor, graph = product.node, product.weights, product.node.graph
        assert isinstance(graph, ir.Graph)
        conv = is_op(node, "Conv")
        output, name = only_output(node), name_of(only_output(node))
        codes = self.editor.register(graph, codes_of(tensor))
        zeros = zeros_of(tensor)
        zero = None if zeros is None else self.editor.register(graph, zeros)
        scale = self.editor.register(graph, _shaped(scales_of(tensor), conv=conv))
        made = [ir.node("ConvInteger" if conv else "MatMulInteger", [x, codes, x_zero, zero])]
        made[0].attributes.update(node.attributes if conv else {})
        made.append(ir.node("Cast", [made[0].outputs[0]], {"to": int(ir.DataType.FLOAT)}))
        both = ir.node("Mul", [x_scale, scale])
        made += [both, ir.node("Mul", [made[1].outputs[0], both.outputs[0]])]
        if product.bias is not None:
            made += self.bias(product.bias, made[-1].outputs[0], conv=conv, rank=len(tensor.shape))
        for new in made:
            new.outputs[0].name = self.editor.free(f"{name}.{new.op_type.lower()}")
        result = made[-1].outputs[0]
        result.type, result.shape = output.type, output.shape
        graph.insert_before(node, made)
        output.replace_all_uses_with(result, replace_graph_outputs=True)
        self.editor.drop([node])
        result.name = name
        self.editor.taken.add(name)

    def bias(self, bias: ir.Value, product: ir.Value, *, conv: bool, rank: int) -> list[ir.Node]:
        """The nodes that add a bias."""
        if not conv:
            return [ir.node("Add", [product, bias])]
        graph = bias.graph
        assert isinstance(graph, ir.Graph)
        shape = np.array([1, -1, *[1] * (rank - 2)], np.int64)
        stub = self.editor.register(graph, small(f"{name_of(bias)}.shape", shape, "int64"))
        flat = ir.node("Reshape", [bias, stub])
        return [flat, ir.node("Add", [product, flat.outputs[0]])]


def _axis(tensor: Tensor) -> int | None:
    spread = spread_of(tensor.encoding, tensor.shape)
    if spread.block:
        raise Unrecognised("scales in blocks")
    return spread.axis


def _channelled(tensor: Tensor) -> Tensor:
    """Weights of a convolution with a scale, or one for each output, and at most one zero point."""
    if _axis(tensor) not in (None, 0):
        raise Unrecognised("scales along another axis than the channels")
    if _axis(tensor) == 0 and tensor.encoding.offset is not None:
        raise Unrecognised("a zero point for each channel")
    return tensor


def _shaped(scale: Tensor, *, conv: bool) -> Tensor:
    """Scales as the product is multiplied with them: of channels with an axis for each of the image."""
    if not conv or not scale.shape:
        return scale
    array = numbers(scale, whole=False).reshape(-1, 1, 1)
    return small(scale.name, array, scale.dtype)


def _plain_gemm(node: ir.Node) -> bool:
    one = all(node.attributes[a].value == 1.0 for a in ("alpha", "beta") if a in node.attributes)
    turn = [node.attributes[a].value for a in ("transA", "transB") if a in node.attributes]
    return one and turn in ([1], [0, 1])
