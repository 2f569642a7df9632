"""L2_NORMALIZATION of 8-bit codes: Newton's method in fixed point, the same in both kernel sets.

Measured against ai-edge-litert 2.3.0, rows of 1 to 9000: no code differs.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics.gemmlowp import HALF_SQRT_2
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.fixed_point import NUDGE, half
from w2e_onnx.lowering.litert.gemmlowp import BITS, Fixed
from w2e_onnx.lowering.litert.rules import NotHere
from w2e_onnx.lowering.litert.softmax import last_axis
from w2e_onnx.lowering.litert.unary import pair

SHORT = 64
"""Codes in a row of int8 up to which the kernel rounds once: a sum of squares has 22 bits then."""

DOUBT = 2.0**-12
"""How near to a half a number, 128 at most, is computed exactly: five steps of Newton's method leave a
relative error of 1.3e-6 (all sums up to 64 * 255**2, and 2 million up to 2**31)."""


def rule(call: Call) -> list[ir.Value]:
    """The codes of an L2_NORMALIZATION."""
    x, y = pair(call, ("int8", "uint8"))
    if y.scale != 1 / 128 or y.zero != (0 if y.type == "int8" else 128):
        raise NotHere("L2_NORMALIZATION of other scales than LiteRT takes")
    number = call.centred(call.operand(0))
    square = call.add("Mul", [number, number])
    total = call.add("ReduceSum", [square, last_axis(call)], {"keepdims": 1})
    wide = call.cast(number, "float64")
    shape = call.operand(0).shape
    length = shape[-1] if shape else None
    short = x.type == "int8" and isinstance(length, int) and length <= SHORT
    unsigned = x.type == "uint8"
    if short and not call.reference:
        steps = _mostly(call, wide, total)
    else:
        steps = _exactly(call, wide, total, unsigned=unsigned)
    moved = call.add("Add", [steps, call.literal(np.float64(128), "zero")])
    ends = [call.literal(np.float64(n), "end") for n in (0, 255)]
    return [call.cast(call.add("Clip", [moved, *ends]), "uint8")]


def _mostly(call: Call, number: ir.Value, total: ir.Value) -> ir.Value:
    """In float64, a third of the nodes; exactly where a number is too near to a half to tell."""
    one = call.literal(np.float64(1), "one")
    root = call.add("Sqrt", [call.add("Max", [call.cast(total, "float64"), one])])
    factor = call.add("Div", [call.literal(np.float64(128), "steps"), root])
    raised = call.add("Add", [call.add("Mul", [number, factor]), half(call)])
    whole = call.add("Floor", [raised])
    offset = call.add("Abs", [call.add("Sub", [call.add("Sub", [raised, whole]), half(call)])])
    farthest = call.add("ReduceMax", [offset], {"keepdims": 0})
    near = call.add("Greater", [farthest, call.literal(np.float64(0.5 - DOUBT), "limit")])
    outer, call.nodes = call.nodes, []
    exact = _exactly(call, number, total, unsigned=False)
    then = ir.Graph([], [exact], nodes=call.nodes, name="exactly")
    call.nodes = []
    same = call.add("Identity", [whole])
    other = ir.Graph([], [same], nodes=call.nodes, name="as_it_is")
    call.nodes = outer
    return call.add("If", [near], {"then_branch": then, "else_branch": other})


def _exactly(call: Call, number: ir.Value, total: ir.Value, *, unsigned: bool) -> ir.Value:
    """MultiplyByQuantizedMultiplier by the inverse root, in float64; products have 39 bits."""
    factor, divisor = _inverse_root(call, call.cast(total, "int64"), unsigned=unsigned)
    product = call.add("Mul", [number, factor])
    high = call.add("Floor", [call.add("Add", [product, half(call)])])
    return call.add("Round", [call.add("Mul", [high, divisor])])


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
