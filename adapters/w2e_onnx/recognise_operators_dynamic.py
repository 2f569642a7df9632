"""Products of codes whose scale is found at run time, back to real products of a dynamically quantized value.

The operators: onnx/onnx docs/Operators.md, DynamicQuantizeLinear, MatMulInteger, ConvInteger;
microsoft/onnxruntime docs/ContribOperators.md, DynamicQuantizeMatMul, MatMulIntegerToFloat. What stands between
them is what onnxruntime.quantization.quantize_dynamic writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import (
    Unrecognised,
    given,
    integer,
    is_op,
    is_weight,
    name_of,
    needed,
    only_output,
)
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE, insert_after
from w2e_bridge.graph.qdq_values import base_of_codes
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.parts import AnyArray
from w2e_onnx.lowering.functions import MICROSOFT
from w2e_onnx.recognise_expansion import Expansion
from w2e_onnx.recognise_operators_table import CONV, kept

UINT8 = ActivationQuantization(codes=Integer(bits=8), mode=ActivationMode.DYNAMIC)
"""What DynamicQuantizeLinear does: one scale and one zero point for the whole value."""

PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


@dataclass(slots=True, kw_only=True)
class Dynamic:
    """Rewrites the products of one model.

    Attributes:
        editor: the model.
        values: a real value to the one that stands for its rounded form.
    """

    editor: Editor
    values: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def expand(self, work: Expansion) -> None:
        """Write out a node; one that is none of these is `Unrecognised`."""
        node = work.node
        if is_op(node, "Mul"):
            self.scaled(work)
        elif node.domain == MICROSOFT and node.op_type == "DynamicQuantizeMatMul":
            x, weights = (
                needed(node, 0),
                self.matrix(work, needed(node, 1), needed(node, 2), given(node, 3)),
            )
            self.product(work, "MatMul", x, weights, given(node, 4))
        elif node.domain == MICROSOFT and node.op_type == "MatMulIntegerToFloat":
            weights = self.matrix(work, needed(node, 1), needed(node, 3), given(node, 5))
            maker = _dynamic(needed(node, 0), needed(node, 2), given(node, 4))
            self.product(work, "MatMul", needed(maker, 0), weights, given(node, 6))
        else:
            raise Unrecognised("no product")

    def scaled(self, work: Expansion) -> None:
        """A product of codes, cast and multiplied with both scales.

        before: Mul(Cast(MatMulInteger(codes, W, zero point, zero point)), Mul(scale of x, scale of W)).
        after:  MatMul(x, W), x dynamically quantized; of ConvInteger with the bias that is added behind it.
        """
        factors = _factors(work.node)
        casts = [value for value in factors if is_op(value.producer(), "Cast")]
        scales = [value for value in factors if value not in casts]
        if len(casts) != 1 or len(scales) != 2:
            raise Unrecognised("no product of codes")
        cast = casts[0].producer()
        assert cast is not None
        node = needed(cast, 0).producer()
        if node is None or not any(is_op(node, op) for op in PRODUCTS):
            raise Unrecognised("no product of codes")
        x_scale, w_scale = scales if is_weight(scales[1]) else scales[::-1]
        maker = _dynamic(needed(node, 0), x_scale, given(node, 2))
        weights, zero = needed(node, 1), given(node, 3)
        if is_op(node, "MatMulInteger"):
            self.product(
                work, "MatMul", needed(maker, 0), self.matrix(work, weights, w_scale, zero), None
            )
        else:
            real = _weights(work, weights, _channels(work.array(w_scale)), zero, 0)
            self.convolution(work, node, needed(maker, 0), real)

    def matrix(
        self, work: Expansion, codes: ir.Value, scale: ir.Value, zero: ir.Value | None
    ) -> ir.Value:
        """A matrix (in, out) with a scale, or one for each column."""
        array = work.array(scale)
        if array.size not in (1, max(array.shape, default=1)):
            raise Unrecognised("scales along several axes")
        return _weights(work, codes, array.reshape(-1), zero, -1)

    def product(
        self, work: Expansion, op: str, x: ir.Value, weights: ir.Value, bias: ir.Value | None
    ) -> None:
        """Put a matrix product in the place of a node."""
        result = work.add(op, [self.rounded(x, work.node), weights])
        work.finish(result if bias is None else work.add("Add", [result, bias]))

    def convolution(self, work: Expansion, node: ir.Node, x: ir.Value, weights: ir.Value) -> None:
        """Put a convolution in the place of the last node of the pattern."""
        inputs = [x, weights]
        user, bias = _bias_behind(work)
        if user is not None and bias is not None:
            work.node = user
            inputs.append(bias)
        attributes = kept(node, CONV)
        inputs[0] = self.rounded(x, work.node)
        work.finish(work.add("Conv", inputs, attributes))

    def rounded(self, x: ir.Value, before: ir.Node) -> ir.Value:
        """The value that stands for the rounded form of another."""
        if x not in self.values:
            graph = before.graph
            if not isinstance(graph, ir.Graph):
                raise Unrecognised("inside a function")
            home = x.graph if isinstance(x.graph, ir.Graph) else graph
            copy = ir.node("Identity", [x])
            made = copy.outputs[0]
            made.type, made.shape = x.type, x.shape
            made.name = self.editor.free(f"{name_of(x)}.rounded")
            insert_after(home, x, [copy])
            self.values[x] = made
        return self.values[x]

    def finish(
        self, entries: dict[str, ActivationQuantization]
    ) -> dict[str, ActivationQuantization]:
        """Add the quantization of these values to that of others."""
        public = {value for graph in self.editor.model.graphs() for value in graph.outputs}
        for made in self.values.values():
            copy = made.producer()
            assert copy is not None
            x = needed(copy, 0)
            alone = len(x.uses()) == 1 and x.producer() is not None and x not in public
            if alone and name_of(x) not in entries:
                made.replace_all_uses_with(x)
                self.editor.drop([copy])
                entries[name_of(x)] = UINT8
            else:
                entries[name_of(made)] = UINT8
        return entries


def _dynamic(codes: ir.Value, scale: ir.Value, zero: ir.Value | None) -> ir.Node:
    """The DynamicQuantizeLinear that gives all three."""
    maker = codes.producer()
    if maker is None or not is_op(maker, "DynamicQuantizeLinear"):
        raise Unrecognised("codes that are made in another way")
    if tuple(maker.outputs) != (codes, scale, zero):
        raise Unrecognised("scale and zero point of something else")
    return maker


def _factors(node: ir.Node) -> list[ir.Value]:
    """What a tree of Mul multiplies."""
    found: list[ir.Value] = []
    for index in (0, 1):
        value = needed(node, index)
        maker = value.producer()
        if maker is not None and is_op(maker, "Mul") and len(found) < 3:
            found += [needed(maker, 0), needed(maker, 1)]
        else:
            found.append(value)
    return found


def _weights(
    work: Expansion, codes: ir.Value, scale: AnyArray, zero: ir.Value | None, axis: int
) -> ir.Value:
    if not is_weight(codes):
        raise Unrecognised("no constant weights")
    many = scale.size > 1
    array = scale.reshape(-1) if many else scale.reshape(())
    stub = work.constant(f"{base_of_codes(name_of(codes))}.scale", array)
    inputs = [codes, stub, work.zeros(zero, scale.size)]
    return work.add(DEQUANTIZE, inputs, {"axis": axis} if many else {})


def _channels(scale: AnyArray) -> AnyArray:
    """Scales of the channels of an image, (channels, 1, 1) behind axes of extent 1."""
    if scale.size > 1 and (scale.ndim < 3 or scale.shape[-3] != scale.size):
        raise Unrecognised("scales along another axis than the channels")
    return scale.reshape(-1)


def _bias_behind(work: Expansion) -> tuple[ir.Node | None, ir.Value | None]:
    """The Add behind a convolution and the bias of its channels that it adds, as (channels,)."""
    output = only_output(work.node)
    users = list(output.uses())
    if len(users) != 1 or output.is_graph_output() or not is_op(users[0][0], "Add"):
        return None, None
    user, index = users[0]
    other = needed(user, 1 - index)
    reshape = other.producer()
    if reshape is None or not is_op(reshape, "Reshape") or not is_weight(given(reshape, 0)):
        return None, None
    try:
        shape = work.array(needed(reshape, 1))
        bias = work.editor.constant(needed(reshape, 0))
    except Unrecognised:
        return None, None
    wanted = np.array([1, -1, *[1] * (shape.size - 2)])
    flat = len(bias.shape) == 1 and integer(reshape, "allowzero", 0) == 0
    return (user, given(reshape, 0)) if flat and np.array_equal(shape, wanted) else (None, None)
