"""Multiplication by a real number in integers, as TensorFlow Lite's kernels do it.

A real multiplier is a 31-bit number `m` and a power of two: `m / 2**31 * 2**shift`, m in [2**30, 2**31).
Sources: tensorflow/lite/kernels/internal/quantization_util.cc (`QuantizeMultiplier`),
tensorflow/lite/kernels/internal/common.h (`MultiplyByQuantizedMultiplier`, built without
TFLITE_SINGLE_ROUNDING), gemmlowp fixedpoint/fixedpoint.h, ruy/apply_multiplier.cc.
"""

from __future__ import annotations

from functools import cache

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


def line(multiplier: Integers, shift: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(factor, offset) with which `multiply(..., up=True)` is floor(x * factor + offset) in exact numbers.

    A floor of a floor's quotient is one floor: the first rounding's half, divided by 2**-shift, is left.
    """
    power = np.minimum(np.asarray(shift, np.int64), 0)
    factor = np.ldexp(np.asarray(multiplier, np.float64), np.asarray(shift, np.int64) - 31)
    first = np.where(power < 0, np.ldexp(0.5, power), 0.0)
    return factor, 0.5 + first


def is_line(multiplier: Integers, shift: Integers) -> bool:
    """Whether float64 computes `line` rightly for all int32 numbers whose result has 16 bits."""
    pairs = zip(np.ravel(multiplier).tolist(), np.ravel(shift).tolist(), strict=True)
    return all(_never_close(*pair) or _steps_right(*pair) for pair in pairs)


@cache
def _never_close(number: int, power: int) -> bool:
    """Whether no product comes so close to a step of the result that float64 may take it for one.

    In units of 2**(power - 31) the product is whole, and the result is k or more where it is no less than a
    whole number P(k), linear in k. What reaches P(k) does so in float64 too, which holds P(k). What stays
    below does so if it is one place of the largest result below.
    """
    factor, down = number << max(power, 0), max(-power, 0)
    most = 1 << min(15, max(31 - down, 0))
    room = most.bit_length() + 30 + down - 52
    if number <= 0 or room <= 0:
        return True
    step = 1 << (31 + down)
    start = (
        -most * step - (step >> 1) - 2**30 - 1
    )  # P(-most) - 1: modulo factor the distance, less one
    start += (1 - start // factor) * factor
    count, close = 2 * most + 1, (1 << room) - 1
    near = _floor_sum(count, factor, step, start)
    return close < factor and near == _floor_sum(count, factor, step, start - close)


@cache
def _steps_right(number: int, power: int) -> bool:
    """The same, by trying: both functions rise, and are the same where the exact one takes its steps."""
    factor, offset = line(np.asarray(number), np.asarray(power))
    steps = np.arange(-(2**15), 2**15 + 1, dtype=np.int64)
    low, high = np.full(steps.shape, -(2**31)), np.full(steps.shape, 2**31)
    while (high - low > 1).any():  # the least number that reaches a step
        middle = (low + high) // 2
        reached = multiply(middle, np.asarray(number), np.asarray(power), up=True) >= steps
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    within = (low > -(2**31)) & (high < 2**31)
    over = np.floor(high * factor + offset) >= steps
    under = np.floor(low * factor + offset) < steps
    return bool(((over & under) | ~within).all())


NUDGE = 1 + 2.0**-50
"""A factor that takes a product off a tie, away from zero, and does little else: see `is_nudged`."""


def is_nudged(real: NDArray[np.float64]) -> bool:
    """Whether rint(x * (real * NUDGE)) is C's round(x * real) for all int32 numbers whose result has 16 bits."""
    return all(_never_beside(number) or _ties_right(number) for number in np.ravel(real).tolist())


@cache
def _never_beside(real: float) -> bool:
    """Whether no product is near a tie but on it: within 2**-49 of itself, more than both ways lose."""
    number, unit = int(np.ldexp(np.frexp(real)[0], 53)), 53 - int(np.frexp(real)[1])
    if number <= 0 or not 2 <= unit <= 84:
        return number == 0
    most = min(2**15, (number >> (unit - 31)) + 1 if unit > 31 else 2**15)
    tie = 1 << (unit - 1)  # in units of 2**-unit; the ties are its odd multiples
    room = ((most * tie) >> 48) + 1
    start = tie + number  # positive, whatever is taken off
    sums = [_floor_sum(most + 1, number, 2 * tie, start + add) for add in (room, 0, -1, -1 - room)]
    # Floors rise between an addend and the next by how many products lie between: below and above a tie.
    return 2 * room < number and sums[0] == sums[1] and sums[2] == sums[3]


@cache
def _ties_right(real: float) -> bool:
    """The same, by trying the numbers beside every tie."""
    ties = np.arange(2**15 + 1) + 0.5
    numbers = np.floor(ties / real)[:, None] + np.arange(-1, 3)
    numbers = numbers[(numbers >= 0) & (numbers < 2**31)]
    exact = np.floor(numbers * real + np.nextafter(0.5, 0))
    return bool((exact == np.rint(numbers * (real * NUDGE))).all())


def _floor_sum(count: int, divisor: int, factor: int, start: int) -> int:
    """The sum of (factor * i + start) // divisor over i < count, nothing negative."""
    total = 0
    while count > 0:
        total += (factor // divisor) * (count * (count - 1) // 2) + (start // divisor) * count
        factor, start = factor % divisor, start % divisor
        highest = factor * count + start
        count, start = highest // divisor, highest % divisor
        factor, divisor = divisor, factor
        if divisor == 0:
            break
    return total


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
