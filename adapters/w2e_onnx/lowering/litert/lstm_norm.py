"""Layer normalization of an integer LSTM's gates.

Source: tensorflow/lite/kernels/internal/reference/portable_tensor_utils.cc, `PortableApplyLayerNorm`, and
`GetInvSqrtQuantizedMultiplierExp` of internal/common.h. Sums and their root are whole numbers of 64 bits:
there is one of them for each gate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import quantize_multiplier
from w2e_bridge.numerics.gemmlowp import HALF_SQRT_2, INV_SQRT_STEPS
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert import lstm_parts as parts
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.gemmlowp import Fixed
from w2e_onnx.lowering.litert.lstm_parts import scale_of
from w2e_onnx.lowering.litert.rules import NotHere

EXTRA = 1024
"""Steps that are added to a unit, so that means have some places behind the point."""

GUARD = 10000
"""Times the scale of the norm's weights: the variance of gates that have none."""

ROOM = 12
"""Bits behind the point of what a gate's activation reads."""

Whole = NDArray[np.int64]


def normalized(
    call: Call, gates: ir.Value, norm: Sequence[Slot], bias: Sequence[Slot], units: int
) -> ir.Value:
    """Gates (…, gates x units), whole numbers as float64, normalized each by itself.

    Returns:
        Likewise, not yet held within 16 bits.
    """
    if any(slot.type != "int16" for slot in norm):
        raise NotHere("norms of another type than int16")
    fixed, count = Fixed(call), len(norm)
    apart = call.literal(np.asarray([-1, count, units], np.int64), "apart")
    value = call.cast(call.add("Reshape", [gates, apart]), "int64")
    total, squares = (_summed(call, v) for v in (value, fixed.product(value, value)))
    mean = fixed.quotient(fixed.product(total, EXTRA), units)
    variance = fixed.product(squares, 2**20 // units)
    variance = fixed.quotient(fixed.subtract(variance, fixed.product(mean, mean)), 2**20)
    guard = np.asarray([max(1, int(GUARD * np.float32(scale_of(s)))) for s in norm], np.int64)
    least = call.constant("guard", guard[:, None])
    some = call.add("Less", [variance, fixed.number(1)])
    multiplier, shift = inverse_root(fixed, call.add("Where", [some, least, variance]))
    moved = fixed.subtract(fixed.product(value, EXTRA), mean)
    scaled = divided(fixed, fixed.times(moved, multiplier), shift)
    weighted = fixed.product(scaled, _matrix(call, norm, units))
    weighted = fixed.add(weighted, _matrix(call, bias, units))
    numbers = call.cast(fixed.divided(weighted, 10), "float64")
    real = np.asarray([np.float32(scale_of(slot)) for slot in norm], np.float64)[:, None]
    factor, power = quantize_multiplier(real)
    result = fixed_point.multiply(call, numbers, factor, power + np.int32(ROOM))
    together = call.literal(np.asarray([-1, count * units], np.int64), "together")
    return call.add("Reshape", [result, together])


def _summed(call: Call, value: ir.Value) -> ir.Value:
    last = call.literal(np.asarray([-1], np.int64), "last")
    return call.add("ReduceSum", [value, last], {"keepdims": 1})


def _matrix(call: Call, slots: Sequence[Slot], units: int) -> ir.Value:
    """Vectors of all gates, (gates, units)."""
    joined = parts.joined(call, [parts.value_of(slot) for slot in slots])
    shape = call.literal(np.asarray([len(slots), units], np.int64), "rows")
    return call.cast(call.add("Reshape", [joined, shape]), "int64")


def inverse_root(fixed: Fixed, number: ir.Value) -> tuple[ir.Value, ir.Value]:
    """`numerics.gemmlowp.inverse_square_root` of numbers from 1 to 2**31 - 1, whose last axis has length 1.

    Returns:
        (m, power): 1 / sqrt(number) as `m / 2**31 / 2**power`.
    """
    call = fixed.call
    large = call.add("GreaterOrEqual", [number, fixed.number(1 << 29)])
    value = call.add("Where", [large, fixed.quotient(number, 4), number])
    bits, lengths = fixed.bit_length(value), np.arange(33, dtype=np.int64)
    pairs = (31 - lengths) // 2 - 1
    factor = np.int64(4) ** np.maximum(pairs, 0)
    value = fixed.product(value, fixed.select(factor, bits))
    power = fixed.add(fixed.select(11 - pairs, bits), call.cast(large, "int64"))
    half = fixed.quotient(fixed.add(fixed.quotient(value, 2), 1), 2)
    x = fixed.number(1 << 28)
    for _ in range(INV_SQRT_STEPS):
        cube = fixed.raised(fixed.times(fixed.times(x, x), x), 6)
        rest = fixed.subtract(fixed.times(x, 3 << 27), fixed.times(half, cube))
        x = fixed.raised(rest, 3)
    x = fixed.times(x, HALF_SQRT_2)
    # A power below 0 goes into the multiplier; there is none above -4.
    zero = fixed.number(0)
    left = call.add("Neg", [call.add("Min", [power, zero])])
    x = fixed.product(x, fixed.select(np.int64(1) << np.arange(32, dtype=np.int64), left))
    single = call.add("LessOrEqual", [number, fixed.number(1)])
    power = call.add("Where", [single, zero, call.add("Max", [power, zero])])
    return call.add("Where", [single, fixed.number(2**31 - 1), x]), power


def divided(fixed: Fixed, value: ir.Value, power: ir.Value) -> ir.Value:
    """`RoundingDivideByPOT` by powers known at run time only, up to 31."""
    call, powers = fixed.call, np.int64(1) << np.arange(32, dtype=np.int64)
    half = fixed.select(powers // 2, power)
    size = fixed.quotient(fixed.add(call.add("Abs", [value]), half), fixed.select(powers, power))
    return fixed.product(size, call.add("Sign", [value]))
