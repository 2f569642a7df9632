"""LiteRT's fixed-point multiplication in the body of a function: exact, in float64.

ONNX Runtime has no signed shift and slow 64-bit division, but float64 Mul, Floor and Round at about a
nanosecond an element. Every intermediate number below is a whole number times a power of two of at most
53 bits, so nothing is rounded but where the kernel rounds.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import is_line, line, reduced
from w2e_onnx.lowering.litert.call import Call, Slot

NARROW = 2**21
"""Numbers below this times a 31-bit multiplier fit in a float64 with room for the half."""

NUDGE = 1.0 + 2.0**-40
"""Takes a half away from zero and nothing below 2**31 over one; then Round, which rounds to even, rounds
halves away from zero."""

LIFT = 2.0**-33
"""Likewise upwards, for numbers below 2**16; larger ones are cut off whichever way they round."""


def multiply(
    call: Call,
    x: ir.Value,
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    *,
    bound: int = 2**31,
    up: bool | NDArray[np.bool_] = False,
) -> ir.Value:
    """Append `numerics.fixed_point.multiply`.

    Args:
        call: whose body it is.
        x: whole numbers as float64.
        multiplier: from `quantize_multiplier`, of a shape that broadcasts against x (channels last: as
            it is); becomes a further input of the call.
        shift: likewise.
        bound: no |x| is larger; below `NARROW` the body is shorter. A body must not depend on numbers
            that differ from call to call more than this one bit.
        up: round halves of the second step up (ruy) instead of away from zero (gemmlowp), for results
            of up to 16 bits; an array says so of each multiplier.

    Returns:
        Whole numbers as float64.
    """
    if up is True and (bound < NARROW or is_line(multiplier, shift)):
        factor, offset = line(multiplier, shift)
        product = call.add("Mul", [x, call.constant("multiplier", factor)])
        return call.add("Floor", [call.add("Add", [product, call.constant("offset", offset)])])
    high = _high(call, x, multiplier, np.maximum(shift, 0), narrow=bound < NARROW)
    factor = np.ldexp(1.0, np.minimum(shift, 0))
    scaled = call.add("Mul", [high, call.constant("divisor", factor * np.where(up, 1.0, NUDGE))])
    if isinstance(up, np.ndarray):
        scaled = call.add("Add", [scaled, call.constant("lift", np.where(up, LIFT, 0.0))])
    elif up:
        return call.add("Floor", [call.add("Add", [scaled, half(call)])])
    return call.add("Round", [scaled])


def _high(
    call: Call, x: ir.Value, multiplier: NDArray[np.int32], left: NDArray[np.int32], *, narrow: bool
) -> ir.Value:
    # floor((x * 2**left * m + 2**30) / 2**31)
    if narrow:
        factor = np.ldexp(multiplier.astype(np.float64), left - 31)
        product = call.add("Mul", [x, call.constant("multiplier", factor)])
        return call.add("Floor", [call.add("Add", [product, half(call)])])
    # With m = upper * 2**16 + lower: floor((x*upper + floor((x*lower + 2**30) / 2**16)) / 2**15).
    upper = np.ldexp((multiplier >> 16).astype(np.float64), left - 15)
    lower = np.ldexp((multiplier & 0xFFFF).astype(np.float64), left - 16)
    low = call.add("Mul", [x, call.constant("lower", lower)])
    low = call.add("Floor", [call.add("Add", [low, call.literal(np.float64(2**14), "nudge")])])
    low = call.add("Mul", [low, call.literal(np.float64(2.0**-15), "unit")])
    high = call.add("Mul", [x, call.constant("upper", upper)])
    return call.add("Floor", [call.add("Add", [high, low])])


def multiply_wide(
    call: Call,
    x: ir.Value,
    multiplier: NDArray[np.int32],
    shift: NDArray[np.int32],
    *,
    bound: int = 2**37,
) -> ir.Value:
    """Append `numerics.fixed_point.multiply_wide`.

    Args:
        call: whose body it is.
        x: accumulators as float64.
        multiplier: from `quantize_multiplier`, of a shape that broadcasts against x.
        shift: likewise, at most 6.
        bound: no |x| is larger; up to 2**45.

    Returns:
        Whole numbers as float64.
    """
    number = reduced(multiplier)
    if bound <= 2**37:
        factor = np.ldexp(number.astype(np.float64), shift - 15)
        product = call.add("Mul", [x, call.constant("multiplier", factor)])
        return call.add("Floor", [call.add("Add", [product, half(call)])])
    # With number = upper * 2**8 + lower: the lower part rounded down does not change the sum's floor.
    upper = np.ldexp((number >> 8).astype(np.float64), shift - 7)
    lower = np.ldexp((number & 0xFF).astype(np.float64), -8)
    low = call.add("Floor", [call.add("Mul", [x, call.constant("lower", lower)])])
    low = call.add("Mul", [low, call.constant("unit", np.ldexp(np.ones(shift.shape), shift - 7))])
    high = call.add("Mul", [x, call.constant("upper", upper)])
    total = call.add("Add", [call.add("Add", [high, low]), half(call)])
    return call.add("Floor", [total])


def round_away(call: Call, x: ir.Value) -> ir.Value:
    """Append C's `round` of float64: halves away from zero."""
    # The largest number below one half: with a half itself, what is just below one would reach one.
    nearly = call.literal(np.float64(np.nextafter(0.5, 0)), "half")
    whole = call.add("Floor", [call.add("Add", [call.add("Abs", [x]), nearly])])
    return call.add("Mul", [whole, call.add("Sign", [x])])


def half(call: Call) -> ir.Value:
    """One half, float64."""
    return call.literal(np.float64(0.5), "half")


def codes(
    call: Call, x: ir.Value, output: Slot, low: int | None = None, high: int | None = None
) -> ir.Value:
    """Append what makes codes of whole numbers (float64): zero point, bounds, type as it travels.

    Args:
        call: whose body it is.
        x: codes minus zero point.
        output: what they become.
        low: least code, the output's own (`numerics.fixed_point.activation_range`); None: its type's.
        high: likewise.
    """
    assert output.quantized is not None
    assert output.zero_point is not None
    shift, moved = output.shift, x
    info = np.iinfo(output.type)
    low, high = (info.min if low is None else low), (info.max if high is None else high)
    if shift or output.quantized.zero_point.any():
        moved = call.add("Add", [x, call.cast(output.zero_point, "float64")])
    ends = [
        call.constant(name, np.asarray(end + shift, np.float64))
        for name, end in (("low", low), ("high", high))
    ]
    return call.cast(call.add("Clip", [moved, *ends]), output.carried)
