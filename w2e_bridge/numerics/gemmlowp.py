"""Functions of fixed-point numbers, integer for integer as gemmlowp computes them.

A number is an integer `raw` of 32 or 16 bits with some integer bits: `raw / 2**(bits - 1 - integer_bits)`.
Source: google/gemmlowp fixedpoint/fixedpoint.h (`exp_on_negative_values`, `logistic`, `tanh`,
`one_over_one_plus_x_for_x_in_0_1`); constants there are of 32 bits and shortened for 16.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import divide_by_power

Raw = NDArray[np.int64]

EXP_EIGHTH = 1895147668
"""exp(-1/8)."""

THIRD = 715827883
EXP_POWERS = ((-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535),
              (3, 720401), (4, 242))  # fmt: skip
"""exp(-2**exponent)."""

FIRST_GUESS = (1515870810, -1010580540)
"""48/17 and -32/17 with two integer bits: where Newton's division starts."""


def constant(value: int, bits: int) -> int:
    """A constant of 32 bits, shortened."""
    return int(divide_by_power(np.asarray(value), 32 - bits))


def clipped(raw: Raw, bits: int) -> Raw:
    """Saturated."""
    found: Raw = np.clip(raw, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    return found


def times(a: Raw | int, b: Raw | int, bits: int) -> Raw:
    """The product; integer bits add up."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    high: Raw = np.minimum((product + (1 << (bits - 2))) >> (bits - 1), (1 << (bits - 1)) - 1)
    return high


def rescaled(raw: Raw, exponent: int, bits: int) -> Raw:
    """Times a power of two, saturated or rounded (halves away from zero)."""
    if exponent < 0:
        return divide_by_power(raw, -exponent)
    return clipped(np.asarray(raw, np.int64) << exponent, bits)


def exp_of_negative(raw: Raw, integer_bits: int, bits: int = 32) -> Raw:
    """The exponential of numbers at or below 0, without integer bits."""
    fraction = bits - 1 - integer_bits
    quarter = 1 << (fraction - 2)
    part = (raw & (quarter - 1)) - quarter
    result = _exp_of_quarter(rescaled(part, integer_bits, bits), bits)
    rest = part - raw
    for exponent, factor in EXP_POWERS:
        if integer_bits > exponent:
            bit = (rest >> (fraction + exponent)) & 1
            result = np.where(bit == 1, times(result, constant(factor, bits), bits), result)
    return np.asarray(np.where(raw == 0, (1 << (bits - 1)) - 1, result), np.int64)


def _exp_of_quarter(raw: Raw, bits: int) -> Raw:
    # A Taylor series about -1/8, for [-1/4, 0).
    x = raw + (1 << (bits - 4))
    square = times(x, x, bits)
    cube = times(square, x, bits)
    fourth = rescaled(times(square, square, bits), -2, bits)
    series = rescaled(times(fourth + cube, constant(THIRD, bits), bits) + square, -1, bits)
    middle = constant(EXP_EIGHTH, bits)
    result = middle + times(x + series, middle, bits)
    return clipped(result, bits) if bits == 16 else result


def _newton(raw: Raw, bits: int) -> Raw:
    # 1 / ((raw + 1) / 2) with two integer bits.
    total = raw + (1 << (bits - 1)) - 1
    half = (total + np.where(total >= 0, 1, -1)) // 2
    start, slope = (constant(value, bits) for value in FIRST_GUESS)
    one = 1 << (bits - 3)
    x = start + times(half, slope, bits)
    for _ in range(3):
        x = x + rescaled(times(x, one - times(half, x, bits), bits), 2, bits)
    return x


def reciprocal_of_one_plus(raw: Raw, bits: int = 32) -> Raw:
    """1 / (1 + x) for x in [0, 1), without integer bits."""
    return rescaled(_newton(raw, bits), 1, bits)


def logistic(raw: Raw, integer_bits: int, bits: int = 32) -> Raw:
    """1 / (1 + exp(-x)), without integer bits."""
    raw = np.asarray(raw, np.int64)
    positive = reciprocal_of_one_plus(exp_of_negative(-np.abs(raw), integer_bits, bits), bits)
    result = np.where(raw > 0, positive, (1 << (bits - 1)) - 1 - positive)
    return np.asarray(np.where(raw == 0, 1 << (bits - 2), result), np.int64)


def tanh(raw: Raw, integer_bits: int, bits: int = 32) -> Raw:
    """The hyperbolic tangent, without integer bits."""
    raw = np.asarray(raw, np.int64)
    exponential = exp_of_negative(-np.abs(raw), integer_bits + 1, bits)
    positive = rescaled(_newton(exponential, bits) - (1 << (bits - 3)), 2, bits)
    return np.asarray(np.sign(raw) * positive, np.int64)


INV_SQRT_STEPS = 5
HALF_SQRT_2 = 1518500250


def inverse_square_root(number: Sequence[int] | Raw) -> tuple[Raw, Raw]:
    """`GetInvSqrtQuantizedMultiplierExp` (tensorflow/lite/kernels/internal/common.h).

    Args:
        number: whole numbers, not negative.

    Returns:
        (m, shift): 1 / sqrt(number) as `m / 2**31 * 2**shift`.
    """
    value = np.maximum(np.asarray(number, np.int64), 1)
    shift = np.full(value.shape, 11, np.int64)
    while np.any(value >= 1 << 29):
        large = value >= 1 << 29
        value, shift = np.where(large, value // 4, value), shift + large
    # So many pairs of bits to the left that it lies in [2**27, 2**29).
    pairs = (30 - np.floor(np.log2(value)).astype(np.int64)) // 2 - 1
    shift, value = shift - pairs, value << (2 * pairs)
    x_input = value >> 1
    half_input = divide_by_power(x_input, 1)
    three_halves = (1 << 28) + (1 << 27)
    x: Raw = np.full(value.shape, 1 << 28, np.int64)
    for _ in range(INV_SQRT_STEPS):
        cube = rescaled(times(times(x, x, 32), x, 32), 6, 32)
        x = rescaled(times(three_halves, x, 32) - times(half_input, cube, 32), 3, 32)
    x = times(x, HALF_SQRT_2, 32)
    x, shift = x << np.maximum(-shift, 0), np.maximum(shift, 0)
    single = np.asarray(number) <= 1
    return (
        np.asarray(np.where(single, 2**31 - 1, x), np.int64),
        np.asarray(np.where(single, 0, -shift), np.int64),
    )


LOG_2, SQRT_HALF, FOURTH_ROOT_HALF = 1488522236, 1518500250, 1805811301
ALPHA_N, ALPHA_D, ALPHA_I, ALPHA_F = 117049297, 127690142, 1057819769, 638450708
"""11/240, 1/20, 2/r**2 - 1 and 1/4, each times r = 2**(1/4): coefficients of a rational function."""


def bit_length(number: Raw) -> Raw:
    """Bits of positive numbers below 2**52."""
    return np.floor(np.log2(number)).astype(np.int64) + 1


def log_of_sum(raw: Raw, integer_bits: int, out_bits: int) -> Raw:
    """`log_x_for_x_greater_than_or_equal_to_1` (tensorflow/lite/kernels/internal/common.h), 32 bits.

    Args:
        raw: numbers not below 1 with `integer_bits`.
        integer_bits: of the numbers.
        out_bits: integer bits of their logarithms.
    """
    raw = np.asarray(raw, np.int64)
    unit = 31 - (out_bits + 1)
    quarter = 1 << (unit - 2)
    spare = 32 - bit_length(raw)
    power_a = clipped((integer_bits - spare) << unit, 32) + quarter
    scaled_a = rescaled(times(clipped(raw << (spare - 1), 32), SQRT_HALF, 32), 1, 32)
    low = times(raw, SQRT_HALF, 32)
    room = 31 - bit_length(low)
    power_b = clipped(((integer_bits - room) << unit) - quarter, 32)
    scaled_b = clipped(raw << room, 32)
    r = np.minimum(scaled_a, scaled_b)
    power = np.maximum(power_a, power_b)
    total = r + FOURTH_ROOT_HALF
    p = (total + np.where(total >= 0, 1, -1)) // 2
    q = 2 * (r - FOURTH_ROOT_HALF)
    square = times(q, q, 32)
    numerator = times(q, r, 32) + times(times(q, square, 32), ALPHA_N, 32)
    denominator = times(p, ALPHA_I + q + times(square, ALPHA_D, 32), 32) + times(q, ALPHA_F, 32)
    inverse = reciprocal_of_one_plus(denominator)
    small = rescaled(numerator, -(out_bits + 1), 32)
    return rescaled(times(power, LOG_2, 32) + times(small, inverse, 32), 1, 32)
