"""Multiplication by a real number in integers, as TensorFlow Lite's kernels do it.

A real multiplier is a 31-bit number `m` and a power of two: `m / 2**31 * 2**shift`, m in [2**30, 2**31).
Sources: tensorflow/lite/kernels/internal/quantization_util.cc (`QuantizeMultiplier`),
tensorflow/lite/kernels/internal/common.h (`MultiplyByQuantizedMultiplier`, built without
TFLITE_SINGLE_ROUNDING), gemmlowp fixedpoint/fixedpoint.h, ruy/apply_multiplier.cc.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.integer]


def quantize_multiplier(
    real: float | NDArray[np.float64],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Real multipliers as fixed point.

    Args:
        real: of any shape, not negative or negative alike.

    Returns:
        (m, shift) of that shape. What lies below 2**-32 is 0.
    """
    fraction, shift = np.frexp(np.asarray(real, np.float64))
    scaled = fraction * 2.0**31
    # Halves away from zero: C's `round`, which numpy lacks.
    number = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int64)
    full = np.abs(number) == 2**31
    number = np.where(full, number // 2, number)
    shift = shift.astype(np.int32) + full
    lost = shift < -31
    return (
        np.asarray(np.where(lost, 0, number), np.int32),
        np.asarray(np.where(lost, 0, shift), np.int32),
    )


def doubling_high_multiply(a: Integers, b: Integers) -> NDArray[np.int64]:
    """SaturatingRoundingDoublingHighMul of gemmlowp on int32 numbers: a * b / 2**31, halves up."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    return np.asarray(np.minimum((product + 2**30) >> 31, 2**31 - 1))


def divide_by_power(x: Integers, exponent: Integers | int) -> NDArray[np.int64]:
    """RoundingDivideByPOT of gemmlowp: x / 2**exponent, halves away from zero."""
    wide, power = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    half = np.where(power > 0, np.int64(1) << np.maximum(power - 1, 0), 0)
    return np.asarray(np.sign(wide) * ((np.abs(wide) + half) >> power))


def shift_right(x: Integers, exponent: Integers | int) -> NDArray[np.int64]:
    """Divide by 2**exponent, halves up: what ruy's kernels do where gemmlowp rounds away from zero."""
    wide, power = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    half = np.where(power > 0, np.int64(1) << np.maximum(power - 1, 0), 0)
    return (wide + half) >> power


def multiply(
    x: Integers, multiplier: Integers, shift: Integers | int, *, up: bool = False
) -> NDArray[np.int64]:
    """MultiplyByQuantizedMultiplier of int32 numbers, with its two roundings.

    Args:
        x: numbers; x * 2**shift fits in 32 bits.
        multiplier: from `quantize_multiplier`, broadcast.
        shift: likewise.
        up: round halves of the second step up (ruy) instead of away from zero (gemmlowp).
    """
    power = np.asarray(shift, np.int64)
    high = doubling_high_multiply(np.asarray(x, np.int64) << np.maximum(power, 0), multiplier)
    return (shift_right if up else divide_by_power)(high, np.maximum(-power, 0))


def multiply_once(x: Integers, multiplier: Integers, shift: Integers | int) -> NDArray[np.int64]:
    """MultiplyByQuantizedMultiplier with a single rounding, halves up (TFLITE_SINGLE_ROUNDING)."""
    total = 31 - np.asarray(shift, np.int64)
    product = np.asarray(x, np.int64) * np.asarray(multiplier, np.int64)
    return (product + (np.int64(1) << (total - 1))) >> total


def reduced(multiplier: Integers) -> NDArray[np.int64]:
    """The upper 15 bits of multipliers, rounded: what 64-bit accumulators are multiplied by."""
    wide = np.asarray(multiplier, np.int64)
    return np.where(wide < 0x7FFF0000, (wide + (1 << 15)) >> 16, 0x7FFF)


def multiply_wide(x: Integers, multiplier: Integers, shift: Integers | int) -> NDArray[np.int64]:
    """MultiplyByQuantizedMultiplier of int64 accumulators below 2**47, halves up."""
    total = 15 - np.asarray(shift, np.int64)
    product = np.asarray(x, np.int64) * reduced(multiplier)
    return (product + (np.int64(1) << (total - 1))) >> total


ACTIVATION_ENDS = {
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
"""What fused activations keep of the real numbers."""


def activation_range(
    activation: str, scale: float | np.float32, zero_point: int, dtype: str, *, even: bool = False
) -> tuple[int, int]:
    """Lowest and highest code that a fused activation lets through.

    Args:
        activation: "NONE", "RELU", ….
        scale: of the output.
        zero_point: of the output.
        dtype: type of its codes.
        even: round halves to even (XNNPACK) instead of away from zero (`CalculateActivationRange` of
            tensorflow/lite/kernels/kernel_util.cc).
    """
    info = np.iinfo(dtype)
    ends = []
    for end in ACTIVATION_ENDS.get(activation, (-np.inf, np.inf)):
        steps = np.float64(np.float32(end) / np.float32(scale))
        rounded = np.rint(steps) if even else np.copysign(np.floor(np.abs(steps) + 0.5), steps)
        ends.append(int(np.clip(rounded + zero_point, info.min, info.max)))
    return ends[0], ends[1]
