"""Reductions of codes: means, sums, products, extremes, and their places.

XNNPACK takes MEAN, SUM, REDUCE_MAX and REDUCE_MIN of 8-bit codes over constant axes; 16-bit codes and
REDUCE_PROD (which has no uint8) are TensorFlow Lite's own. Measured against ai-edge-litert 2.3.0 with axes
in the front, the middle and the end: no code differs, but for sums of thousands of neighbouring lowest
codes, which XNNPACK's kernel for AVX2 lets overflow 16 bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics.elementwise import Affine
from w2e_bridge.numerics.fixed_point import reduced
from w2e_bridge.numerics.reducing import line, mean_multiplier, product_multiplier, sum_multiplier
from w2e_onnx.lowering.litert.call import SHIFT, Call
from w2e_onnx.lowering.litert.fixed_point import NUDGE, half, multiply
from w2e_onnx.lowering.litert.rules import NotHere, Rule
from w2e_onnx.lowering.litert.unary import XNNPACK_RANK, narrowed, pair

CODES = ("int8", "uint8", "int16")
SINGLE = 2**24
"""Whole numbers up to this are exact in float32."""

MANY = 2048
"""Codes from which on sums are made by a product with ones."""

FACTORS = 64
"""Factors of a product up to which each has nodes of its own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reduction:
    """What is reduced.

    Attributes:
        axes: counted from the front, each once, in order.
        shape: of the operand; None where a dimension is known at run time only.
        keep: whether reduced axes stay, with length 1.
    """

    axes: tuple[int, ...]
    shape: tuple[int | None, ...]
    keep: bool

    @property
    def count(self) -> int:
        """Numbers that become one.

        Raises:
            NotHere: that is known at run time only.
        """
        lengths = [self.shape[axis] for axis in self.axes]
        known = [length for length in lengths if length is not None]
        if len(known) < len(lengths) or math.prod(known) == 0:
            raise NotHere("axes of unknown length")
        return math.prod(known)


def reduction(call: Call) -> Reduction:
    """Axes and shape of a reduction.

    Raises:
        NotHere: the axes are computed, or there are none.
    """
    x, axes = call.operand(0), call.operand(1)
    if axes.numbers is None and axes.tensor is None:
        raise NotHere("axes computed at run time")
    if x.shape is None:
        raise NotHere("an operand of unknown rank")
    rank = len(x.shape)
    found = sorted({int(axis) % rank for axis in axes.array().reshape(-1)}) if rank else []
    if not found:
        raise NotHere("a reduction over no axis")
    shape = tuple(length if isinstance(length, int) else None for length in x.shape)
    return Reduction(axes=tuple(found), shape=shape, keep=bool(call.operation.integer("keep_dims")))


def reduced_by(call: Call, op: str, value: ir.Value, over: Reduction) -> ir.Value:
    """Append one of ONNX' reductions."""
    axes = call.literal(np.asarray(over.axes, np.int64), "axes")
    return call.add(op, [value, axes], {"keepdims": int(over.keep)})


def _sum(call: Call) -> list[ir.Value]:
    x, y = pair(call, CODES)
    over, mean = reduction(call), call.operation.kind == "mean"
    if x.type == "int16":
        if x.zero or y.zero:
            raise NotHere("16-bit codes with a zero point")
        if mean:
            return [_fixed(call, x, y, over)]
        if call.reference:
            raise NotHere("LiteRT's reference kernel reads 16-bit codes as 8-bit ones")
        return [_rounded(call, x, y, over)]
    if call.reference:
        if not mean and x.type == "int8":
            return [_bytes(call, x, y, over)]
        return [_fixed(call, x, y, over)]
    if len(over.shape) > XNNPACK_RANK:
        raise NotHere(f"more than {XNNPACK_RANK} axes")
    return [_line(call, x, y, over)]


def _line(call: Call, x: Affine, y: Affine, over: Reduction) -> ir.Value:
    """XNNPACK: one float32 multiplication and addition, halves to even."""
    inner = _inner(over)
    total = _plain_sum(call, over) if inner is None else _by_product(call, over, inner)
    factor, start = line(x, y, over.count, mean=call.operation.kind == "mean")
    scaled = call.add("Mul", [total, call.constant("factor", np.asarray(factor))])
    moved = call.add("Add", [scaled, call.constant("start", np.asarray(start))])
    one = call.literal(np.float32(1), "one")
    zero = call.literal(np.uint8(call.outputs[0].shift), "zero")
    found = call.add("QuantizeLinear", [moved, one, zero])
    return found if inner is None else _shaped(call, found, over)


def _plain_sum(call: Call, over: Reduction) -> ir.Value:
    """The sum of the operation's own codes, float32."""
    slot, count = call.operand(0), over.count
    assert slot.value is not None
    if count * 255 < SINGLE:
        # A DequantizeLinear of step 1 is a Cast and a subtraction.
        unit = [call.literal(np.float32(1), "one"), call.literal(np.uint8(slot.shift), "zero")]
        return reduced_by(
            call, "ReduceSum", call.add("DequantizeLinear", [slot.value, *unit]), over
        )
    whole = reduced_by(call, "ReduceSum", call.cast(slot.value, "int32"), over)
    shift = call.constant("shift", np.asarray(slot.shift * count, np.int32))
    return call.cast(call.add("Sub", [whole, shift]), "float32")


def _inner(over: Reduction) -> int | None:
    """Numbers that lie between two that are added up, where a product with ones is quicker than ReduceSum.

    That is so of axes in the middle, by a factor of 5 to 60 (ONNX Runtime 1.32, AVX2).
    """
    first, last = over.axes[0], over.axes[-1]
    behind = [length for length in over.shape[last + 1 :] if length is not None]
    whole = len(behind) == len(over.shape) - last - 1 and last - first + 1 == len(over.axes)
    inner = math.prod(behind)
    if not whole or inner == 1 or over.shape[:first].count(None) > 1:
        return None
    return inner if over.count * inner >= MANY else None


def _by_product(call: Call, over: Reduction, inner: int) -> ir.Value:
    slot = call.operand(0)
    assert slot.value is not None
    shape = call.constant("block", np.asarray([-1, over.count, inner], np.int64))
    row = call.constant("row", np.asarray([1, over.count], np.int64))
    ones = call.add("ConstantOfShape", [row], {"value": ir.tensor(np.ones(1, np.uint8))})
    zeros = [call.literal(np.uint8(number), "zero") for number in (0, slot.shift)]
    block = call.add("Reshape", [slot.value, shape])
    return call.cast(call.add("MatMulInteger", [ones, block, *zeros]), "float32")


def _shaped(call: Call, value: ir.Value, over: Reduction) -> ir.Value:
    lengths = [1 if axis in over.axes else length for axis, length in enumerate(over.shape)]
    kept = [n for axis, n in enumerate(lengths) if over.keep or axis not in over.axes]
    shape = np.asarray([-1 if n is None else n for n in kept], np.int64)
    return call.add("Reshape", [value, call.constant("shape", shape)])


def _centred_total(call: Call, x: Affine, over: Reduction, value: ir.Value, shift: int) -> ir.Value:
    """The sum of codes minus zero points, float64."""
    total = reduced_by(call, "ReduceSum", call.cast(value, "float64"), over)
    zeros = (x.zero + shift) * over.count
    if not zeros:
        return total
    return call.add("Sub", [total, call.constant("zeros", np.asarray(zeros, np.float64))])


def _scaled(call: Call, x: Affine, y: Affine, over: Reduction, total: ir.Value) -> ir.Value:
    count = over.count
    mean = call.operation.kind == "mean"
    factor = mean_multiplier(x, y, count) if mean else sum_multiplier(x, y)
    number, shift = (np.asarray(part, np.int32) for part in factor)
    return multiply(call, total, number, shift, bound=count * (x.high - x.low))


def _fixed(call: Call, x: Affine, y: Affine, over: Reduction) -> ir.Value:
    """TensorFlow Lite's reference: a 31-bit multiplier, rounded twice."""
    slot = call.operand(0)
    assert slot.value is not None
    total = _centred_total(call, x, over, slot.value, slot.shift)
    return narrowed(call, _scaled(call, x, y, over, total))


def _bytes(call: Call, x: Affine, y: Affine, over: Reduction) -> ir.Value:
    """SUM of int8 in the reference kernels, which take the bytes of codes for uint8 there and back."""
    slot = call.operand(0)
    assert slot.value is not None
    flip = call.literal(np.uint8(SHIFT), "flip")
    value = call.add("BitwiseXor", [slot.value, flip]) if slot.shift else slot.value
    total = _centred_total(call, x, over, value, 0)
    zero = call.constant("zero", np.asarray(y.zero, np.float64))
    moved = call.add("Add", [_scaled(call, x, y, over, total), zero])
    ends = [call.literal(np.float64(end), "end") for end in (0, 255)]
    code = call.cast(call.add("Clip", [moved, *ends]), "uint8")
    return call.add("BitwiseXor", [code, flip])


def _rounded(call: Call, x: Affine, y: Affine, over: Reduction) -> ir.Value:
    """SUM of int16 in the optimized kernels: one float32 multiplication, halves away from zero."""
    slot = call.operand(0)
    assert slot.value is not None
    total = call.cast(_centred_total(call, x, over, slot.value, 0), "float32")
    factor = np.asarray(np.float32(x.scale / y.scale))
    scaled = call.cast(call.add("Mul", [total, call.constant("factor", factor)]), "float64")
    away = call.add("Mul", [scaled, call.literal(np.float64(NUDGE), "nudge")])
    return narrowed(call, call.add("Round", [away]))


def _extreme(call: Call) -> list[ir.Value]:
    x, y = pair(call, CODES)
    if not x.same(y) and (call.reference or x.type == "int16"):
        raise NotHere("an extreme on another scale than its operand's")
    # XNNPACK doesn't compare scales.
    over, slot = reduction(call), call.operand(0)
    op = "ReduceMax" if call.operation.kind == "reduce_max" else "ReduceMin"
    assert slot.value is not None
    if x.type != "int16":
        return [reduced_by(call, op, slot.value, over)]
    # ONNX Runtime has no reduction of int16.
    found = reduced_by(call, op, call.cast(slot.value, "int32"), over)
    return [call.cast(found, "int16")]


def _product(call: Call) -> list[ir.Value]:
    x, y = pair(call, ("int8", "int16"))
    over, slot = reduction(call), call.operand(0)
    count = over.count
    if count > FACTORS:
        raise NotHere(f"a product of {count} factors")
    assert slot.value is not None
    if count == 1 and not call.reference:
        # Axes of length 1 are dropped there, and with none left codes are copied.
        return [_last(call, _apart(call, slot.value, over, 1)[0], over)]
    number, shift = product_multiplier(x, y, count)
    factor = np.ldexp(float(reduced(np.asarray(number))), shift - 15)
    scale = call.constant("multiplier", np.asarray(factor, np.float64))
    first, *others = _apart(call, call.centred(slot, "float64"), over, count)
    for value in others:
        first = _step(call, call.add("Mul", [first, value]), scale)
    return [narrowed(call, _last(call, _step(call, first, scale), over))]


def _step(call: Call, number: ir.Value, scale: ir.Value) -> ir.Value:
    # `numerics.fixed_point.multiply_wide`
    return call.add("Floor", [call.add("Add", [call.add("Mul", [number, scale]), half(call)])])


def _apart(call: Call, value: ir.Value, over: Reduction, count: int) -> list[ir.Value]:
    """The factors, in the order of memory, along a last axis of length 1."""
    rank = len(over.shape)
    rest = [axis for axis in range(rank) if axis not in over.axes]
    order = [*rest, *over.axes]
    if order != list(range(rank)):
        value = call.add("Transpose", [value], {"perm": order})
    if len(over.axes) > 1:
        shape = call.literal(np.asarray([*[0] * len(rest), -1], np.int64), "shape")
        value = call.add("Reshape", [value, shape])
    if count == 1:
        return [value]
    return list(call.add_many("Split", [value], {"axis": -1, "num_outputs": count}, count=count))


def _last(call: Call, value: ir.Value, over: Reduction) -> ir.Value:
    """Without the last axis of length 1, or with all the reduced ones."""
    last = call.literal(np.asarray([-1], np.int64), "last")
    value = call.add("Squeeze", [value, last])
    if not over.keep:
        return value
    return call.add("Unsqueeze", [value, call.literal(np.asarray(over.axes, np.int64), "axes")])


def _place(call: Call) -> list[ir.Value]:
    x, axis = call.operand(0), call.operand(1)
    if x.type not in ("int8", "uint8") or x.value is None or x.quantized is None:
        raise NotHere(f"LiteRT finds no extremes of {x.type}")
    if axis.numbers is None and axis.tensor is None:
        raise NotHere("an axis computed at run time")
    op = "ArgMax" if call.operation.kind == "arg_max" else "ArgMin"
    attributes = {"axis": int(axis.array().reshape(-1)[0]), "keepdims": 0}
    found = call.add(op, [x.value], attributes)
    return [found if call.outputs[0].carried == "int64" else call.cast(found, "int32")]


RULES: dict[str, Rule] = {
    "mean": _sum,
    "sum": _sum,
    "reduce_max": _extreme,
    "reduce_min": _extreme,
    "reduce_prod": _product,
    "arg_max": _place,
    "arg_min": _place,
}
