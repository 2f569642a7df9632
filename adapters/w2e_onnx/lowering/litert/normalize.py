"""LOG_SOFTMAX and L2_NORMALIZATION of 8-bit codes, and SOFTMAX.

XNNPACK takes none of them with codes. L2_NORMALIZATION is the same in both kernel sets.
Measured against ai-edge-litert 2.3.0, rows of 1 to 500: no code differs.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics.gemmlowp import HALF_SQRT_2
from w2e_bridge.numerics.softmax import (
    DIFF_BITS,
    LOG_BITS,
    SUM_BITS,
    exponentials,
    fixed,
    reverse_multiplier,
)
from w2e_onnx.lowering.litert import softmax
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.fixed_point import NUDGE, half, multiply
from w2e_onnx.lowering.litert.gemmlowp import BITS, Fixed
from w2e_onnx.lowering.litert.lookup import look_up
from w2e_onnx.lowering.litert.rules import NotHere, Rule
from w2e_onnx.lowering.litert.unary import affine, pair

BYTES = ("int8", "uint8")


def _log_softmax(call: Call) -> list[ir.Value]:
    _, y = pair(call, BYTES)
    if y.scale != 16 / 256 or y.zero != y.high:
        raise NotHere("LOG_SOFTMAX of other scales than LiteRT takes")
    return [_log_fixed(call) if call.reference else _log_float(call)]


def _log_float(call: Call) -> ir.Value:
    x, y = call.operand(0), call.outputs[0]
    distance, highest = softmax.distances(call)
    table = call.constant("table", exponentials(affine(x).scale, 1.0))
    total = softmax.running_sum(call, look_up(call, table, distance, x))
    # ONNX Runtime's own float32 Log is a unit of the last place off here and there.
    log = call.cast(call.add("Log", [call.cast(total, "float64")]), "float32")
    shift = call.literal(np.float32(x.shift), "shift")
    assert x.value is not None
    code, top = (
        call.add("Sub", [call.cast(value, "float32"), shift])
        if x.shift
        else call.cast(value, "float32")
        for value in (x.value, highest)
    )
    above = call.add("Add", [call.add("Mul", [x.scale, top]), log])
    start = call.add("Div", [above, y.scale])
    factor = call.add("Div", [x.scale, y.scale])
    steps = call.add("Sub", [call.add("Mul", [factor, code]), start])
    one = call.literal(np.float32(1), "one")
    return call.add("QuantizeLinear", [steps, one, y.zero_point])


def _log_fixed(call: Call) -> ir.Value:
    math, x = Fixed(call), call.operand(0)
    known = fixed(affine(x).scale, 1.0, once=affine(x).type == "uint8")
    distance, _ = softmax.distances(call)
    addends = look_up(call, call.constant("addends", known.addends), distance, x)
    last = softmax.last_axis(call)
    log = math.log_of_sum(
        call.add("ReduceSum", [addends, last], {"keepdims": 1}), SUM_BITS, DIFF_BITS
    )
    scaled = look_up(call, call.constant("scaled", known.scaled), distance, x)
    steps = math.divided(math.subtract(scaled, log), BITS - DIFF_BITS - LOG_BITS)
    code = math.add(steps, 255)
    # Beyond that distance the scaled one would leave its 32 bits.
    reverse = (np.asarray(number, np.int32) for number in reverse_multiplier(known))
    bound = multiply(call, call.cast(math.subtract(log, 1 << BITS), "float64"), *reverse)
    farthest = call.constant("farthest", np.asarray(-known.farthest - 1, np.float64))
    limit = call.add("Max", [bound, farthest])
    near = call.add("Less", [call.cast(distance, "float64"), call.add("Neg", [limit])])
    zero = math.number(0)
    bounded = call.add("Clip", [code, zero, math.number(255)])
    return call.cast(call.add("Where", [near, bounded, zero]), "uint8")


def _l2(call: Call) -> list[ir.Value]:
    _, y = pair(call, BYTES)
    if y.scale != 1 / 128 or y.zero != (0 if y.type == "int8" else 128):
        raise NotHere("L2_NORMALIZATION of other scales than LiteRT takes")
    number = call.centred(call.operand(0))
    last = softmax.last_axis(call)
    total = call.add("ReduceSum", [call.add("Mul", [number, number]), last], {"keepdims": 1})
    factor, divisor = _inverse_root(call, call.cast(total, "int64"), unsigned=y.type == "uint8")
    # MultiplyByQuantizedMultiplier, in float64; products have 39 bits.
    product = call.add("Mul", [call.cast(number, "float64"), factor])
    high = call.add("Floor", [call.add("Add", [product, half(call)])])
    rounded = call.add("Round", [call.add("Mul", [high, divisor])])
    moved = call.add("Add", [rounded, call.literal(np.float64(128), "zero")])
    ends = [call.literal(np.float64(n), "end") for n in (0, 255)]
    return [call.cast(call.add("Clip", [moved, *ends]), "uint8")]


def _inverse_root(call: Call, total: ir.Value, *, unsigned: bool) -> tuple[ir.Value, ir.Value]:
    """`numerics.gemmlowp.inverse_square_root` as factors before and after the first rounding, times 128.

    With x = 8 * w the steps of Newton's method are quotients of numbers above 0, and the first of them,
    from x = 1, needs no product.
    """
    math = Fixed(call)
    bits = math.bit_length(total)
    lengths = np.arange(33, dtype=np.int64)
    pairs = np.clip((31 - lengths) // 2 - 1, -1, 13)
    raised = math.product(total, math.select(np.int64(1) << (2 * np.maximum(pairs, 0)), bits))
    value = math.quotient(raised, math.select(np.where(pairs < 0, 4, 1), bits))
    halved = math.quotient(math.add(math.quotient(value, 2), 1), 2)  # rounded
    scaled = math.product(halved, 64)
    w = math.subtract(3 << 24, math.quotient(math.add(halved, 4), 8))
    for _ in range(4):
        square = math.quotient(math.add(math.product(w, w), 1 << 24), 1 << 25)
        cube = math.quotient(math.add(math.product(square, w), 1 << 27), 1 << 28)
        less = math.quotient(math.add(math.product(cube, scaled), 1 << 30), 1 << 31)
        more = math.quotient(math.add(math.product(w, 3), 1), 2)
        w = math.subtract(more, less)
    root = math.quotient(math.add(math.product(w, 8 * HALF_SQRT_2), 1 << 30), 1 << 31)
    # 1 and 0 have the largest multiplier and no shift.
    single = call.add("Less", [total, math.number(2)])
    multiplier = call.add("Where", [single, math.number((1 << BITS) - 1), root])
    extra = np.where(lengths < 2, 0, np.maximum(pairs - 11, 0))
    shift = np.where(lengths < 2, 0, -np.maximum(11 - pairs, 0))
    # Times 128: with uint8 the codes are, with int8 the shift is less by 7.
    left, right = (7, shift) if unsigned else (np.maximum(shift + 7, 0), np.minimum(shift + 7, 0))
    before = call.literal(np.ldexp(1.0, left + extra - BITS), "before")
    after = call.literal(np.ldexp(NUDGE, right), "after")
    factor = call.add("Mul", [call.cast(multiplier, "float64"), call.add("Gather", [before, bits])])
    return factor, call.add("Gather", [after, bits])


RULES: dict[str, Rule] = {
    "softmax": softmax.rule,
    "log_softmax": _log_softmax,
    "l2_normalization": _l2,
}
