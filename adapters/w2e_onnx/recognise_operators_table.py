"""The quantized operators of ONNX and of ONNX Runtime, one row each: where what stands, and what it computes.

Standard operators: onnx/onnx docs/Operators.md, QLinearConv, QLinearMatMul. Domain `com.microsoft`:
microsoft/onnxruntime docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import Unrecognised, given, integer, needed
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE
from w2e_onnx.lowering.functions import MICROSOFT
from w2e_onnx.recognise_expansion import Expand, Expansion, dtype_of

POOL = (
    "auto_pad",
    "ceil_mode",
    "count_include_pad",
    "dilations",
    "kernel_shape",
    "pads",
    "strides",
)
CONV = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Where an operand of codes stands.

    Attributes:
        at: input of the codes. scale, zero: inputs of its scale and zero point.
        axis: along which it may have several scales, None where it has one; of an operand that is
            transposed (`transB`) the other one of two.
    """

    at: int
    scale: int
    zero: int
    axis: int | None = None


def _triples(*starts: int) -> tuple[Codes, ...]:
    """Operands whose codes, scale and zero point follow each other."""
    return tuple(Codes(at=n, scale=n + 1, zero=n + 2) for n in starts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A quantized operator.

    Attributes:
        op: the operator on real numbers.
        operands: of codes, in the order in which `op` wants them.
        scale, zero: inputs with the scale and zero point of the result.
        before: inputs that `op` wants as they are before the operands.
        bias: input of int32 codes whose scale is the product of the first two operands', or None.
        attributes: that `op` has too.
        compute: makes the result of the real operands, where it takes more than one node of `op`.
    """

    op: str
    operands: tuple[Codes, ...]
    scale: int
    zero: int
    before: tuple[int, ...] = ()
    bias: int | None = None
    attributes: tuple[str, ...] = ()
    compute: Callable[[Expansion, Row, list[ir.Value | None]], ir.Value] | None = None


def _plain(work: Expansion, row: Row, operands: list[ir.Value | None]) -> ir.Value:
    return work.add(row.op, operands, kept(work.node, row.attributes))


def kept(node: ir.Node, names: tuple[str, ...]) -> dict[str, object]:
    """Attributes of these names as far as a node has them."""
    found = {name: node.attributes[name] for name in names if name in node.attributes}
    if any(attribute.is_ref() for attribute in found.values()):
        raise Unrecognised("attributes of a function")
    return {name: attribute.value for name, attribute in found.items()}


def _image(work: Expansion, row: Row, operands: list[ir.Value | None]) -> ir.Value:
    """An operator of images whose data may be channels last; its weights never are."""
    if not integer(work.node, "channels_last", 0):
        return _plain(work, row, operands)
    first, last = _permutations(work.node, work)
    turned = work.add("Transpose", [operands[0]], {"perm": first})
    inner = _plain(work, row, [turned, *operands[1:]])
    return work.add("Transpose", [inner], {"perm": last})


def _permutations(node: ir.Node, work: Expansion) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """From channels last to channels first, and back."""
    kernel = node.attributes.get("kernel_shape")
    shape = needed(node, 0).shape
    if kernel is not None and isinstance(kernel.value, list | tuple):
        rank = len(kernel.value) + 2
    elif shape is not None:
        rank = len(shape)
    else:
        rank = len(work.editor.constant(given(node, 3)).shape)  # weights of a convolution
    if rank < 3:
        raise Unrecognised("no images")
    return (0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)


def _softmax(work: Expansion, row: Row, operands: list[ir.Value | None]) -> ir.Value:
    """Before operator set 13 it worked on a matrix of two groups of axes."""
    axis = integer(work.node, "axis", -1)
    shape = None if operands[0] is None else needed(work.node, 0).shape
    last = axis == -1 or (shape is not None and axis == len(shape) - 1)
    if integer(work.node, "opset", 13) < 13 and not last:
        raise Unrecognised("axes taken together")
    return work.add(row.op, operands, {"axis": axis})


def _mean(work: Expansion, row: Row, operands: list[ir.Value | None]) -> ir.Value:
    own = kept(work.node, ("axes", "keepdims"))
    axes = own.pop("axes", None)
    if axes is None or work.opset < 18:
        return work.add(row.op, operands, own if axes is None else {**own, "axes": axes})
    numbers = np.asarray(axes, np.int64)
    return work.add(row.op, [*operands, work.constant("axes", numbers)], own)


_BINARY = _triples(0, 3)
_UNARY = _triples(0)

ROWS: Mapping[tuple[str, str], Row] = {
    **{
        (domain, "QLinearConv"): Row(
            op="Conv",
            operands=(Codes(at=0, scale=1, zero=2), Codes(at=3, scale=4, zero=5, axis=0)),
            scale=6,
            zero=7,
            bias=8,
            attributes=CONV,
            compute=_image,
        )
        for domain in ("", MICROSOFT)
    },
    ("", "QLinearMatMul"): Row(
        op="MatMul",
        operands=(Codes(at=0, scale=1, zero=2), Codes(at=3, scale=4, zero=5, axis=-1)),
        scale=6,
        zero=7,
    ),
    (MICROSOFT, "QGemm"): Row(
        op="Gemm",
        operands=(Codes(at=0, scale=1, zero=2), Codes(at=3, scale=4, zero=5, axis=-1)),
        scale=7,
        zero=8,
        bias=6,
        attributes=("alpha", "transA", "transB"),
    ),
    **{
        (MICROSOFT, f"QLinear{op}"): Row(op=op, operands=_BINARY, scale=6, zero=7)
        for op in ("Add", "Mul")
    },
    (MICROSOFT, "QLinearSigmoid"): Row(op="Sigmoid", operands=_UNARY, scale=3, zero=4),
    (MICROSOFT, "QLinearLeakyRelu"): Row(
        op="LeakyRelu", operands=_UNARY, scale=3, zero=4, attributes=("alpha",)
    ),
    (MICROSOFT, "QLinearSoftmax"): Row(
        op="Softmax", operands=_UNARY, scale=3, zero=4, compute=_softmax
    ),
    (MICROSOFT, "QLinearAveragePool"): Row(
        op="AveragePool", operands=_UNARY, scale=3, zero=4, attributes=POOL, compute=_image
    ),
    (MICROSOFT, "QLinearGlobalAveragePool"): Row(
        op="GlobalAveragePool", operands=_UNARY, scale=3, zero=4, compute=_image
    ),
    (MICROSOFT, "QLinearReduceMean"): Row(
        op="ReduceMean", operands=_UNARY, scale=3, zero=4, compute=_mean
    ),
    (MICROSOFT, "QLinearWhere"): Row(
        op="Where", operands=_triples(1, 4), scale=7, zero=8, before=(0,)
    ),
}  # fmt: skip
"""(domain, operator) to its row; `QLinearConcat`, of any number of operands, has one for each number."""


def expander(node: ir.Node) -> Expand | None:
    """What writes out a node, None where it is none of these operators."""
    identifier = ("" if node.domain == "ai.onnx" else node.domain, node.op_type)
    row = ROWS.get(identifier)
    if identifier == (MICROSOFT, "QLinearConcat"):
        row = Row(
            op="Concat",
            operands=_triples(*range(2, len(node.inputs), 3)),
            scale=0,
            zero=1,
            attributes=("axis",),
        )
    if identifier == (MICROSOFT, "NhwcMaxPool"):
        return _pool
    return None if row is None else partial(_expand, row)


def _expand(row: Row, work: Expansion) -> None:
    """Dequantize the operands, compute, quantize the result.

    before: QLinearConv(x, scale, zero point, w, scale, zero point, scale, zero point, bias), or its kin.
    after:  QuantizeLinear(Conv(DequantizeLinear(x, …), DequantizeLinear(w, …), DequantizeLinear(bias, …)), …).
    why exact: it is what the operator is defined as; only where sums are rounded differs.
    """
    node = work.node
    operands: list[ir.Value | None] = [given(node, index) for index in row.before]
    for codes in row.operands:
        axis = 0 if codes.axis is not None and integer(node, "transB", 0) else codes.axis
        operands.append(
            work.dequantized(
                needed(node, codes.at), needed(node, codes.scale), given(node, codes.zero), axis
            )
        )
    bias = given(node, row.bias)
    if bias is not None:
        operands.append(_bias(work, row, bias))
    result = (row.compute or _plain)(work, row, operands)
    scale, zero = given(node, row.scale), given(node, row.zero)
    if scale is not None and zero is None:
        zero = work.constant("zero_point", np.zeros((), np.int64), _type(work, row))
    work.finish(result, scale, zero)


def _bias(work: Expansion, row: Row, bias: ir.Value) -> ir.Value:
    """A bias of int32 codes; its scale is the float32 product of the operands' scales."""
    first, second = (work.array(needed(work.node, codes.scale)) for codes in row.operands[:2])
    product = np.atleast_1d(np.float32(first.reshape(())) * second.astype(np.float32)).astype(
        first.dtype
    )
    alpha = work.node.attributes.get("alpha")
    if alpha is not None and alpha.value != 1.0:
        raise Unrecognised("a factor of the product")
    many = product.size > 1
    scale = work.constant(f"{bias.name}.scale", product if many else product.reshape(()))
    return work.add(DEQUANTIZE, [bias, scale], {"axis": -1} if many else {})


def _type(work: Expansion, row: Row) -> str:
    """Type of the result's codes where it has no zero point: that of the operands."""
    for codes in row.operands:
        for index in (codes.zero, codes.at):
            value = given(work.node, index)
            found = None if value is None else dtype_of(value, work.editor)
            if found is not None:
                return found
    raise Unrecognised("codes of a type that is not known")


def _pool(work: Expansion) -> None:
    """NhwcMaxPool: MaxPool between two Transposes, all of them on codes."""
    first, last = _permutations(work.node, work)
    turned = work.add("Transpose", [needed(work.node, 0)], {"perm": first})
    pooled = work.add("MaxPool", [turned], kept(work.node, POOL))
    work.finish(work.add("Transpose", [pooled], {"perm": last}))
