"""Element-by-element kernels of TensorFlow Lite and XNNPACK on codes, in whole numbers.

Sources: tensorflow/lite/kernels/{add,sub,mul,div,squared_difference,comparisons,activations,
quantize}.cc and their reference kernels (internal/reference), of LiteRT at commit f674577; for
XNNPACK (google/XNNPACK at commit 75db3c0) src/microparams-init.c and the kernels qs8-vadd,
qs8-vmul, qs8-vcvt, qs8-vlrelu.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import (
    divide_by_power,
    doubling_high_multiply,
    multiply,
    quantize_multiplier,
)

Codes = NDArray[np.int64]

COMPARED = 8
"""Bits by which comparisons raise numbers before they scale them."""

LANES = 16
"""Codes that the default kernels for ARM, which x86 runs too, take at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine:
    """One scale of one value.

    Attributes:
        type: of the codes: "int8", "uint8", "int16", "int32".
        scale: as stored.
        zero: zero point.
    """

    type: str
    scale: np.float32
    zero: int

    @property
    def low(self) -> int:
        """The least code."""
        return int(np.iinfo(self.type).min)

    @property
    def high(self) -> int:
        """The greatest code."""
        return int(np.iinfo(self.type).max)

    def all(self) -> Codes:
        """Every code, lowest first."""
        return np.arange(self.low, self.high + 1, dtype=np.int64)

    def centred(self, codes: NDArray[np.integer]) -> Codes:
        """Codes minus zero point."""
        return np.asarray(codes, np.int64) - self.zero

    def codes(self, numbers: NDArray[np.integer]) -> Codes:
        """Numbers without zero point as codes, the nearest where they lie outside."""
        return np.clip(np.asarray(numbers, np.int64) + self.zero, self.low, self.high)

    def between(self, low: float, high: float) -> tuple[int, int]:
        """The codes of two real numbers, halves away from zero (`QuantizedReluX`)."""
        ends = []
        for end in (low, high):
            steps = np.float64(np.float32(end) / self.scale)
            rounded = np.copysign(np.floor(np.abs(steps) + 0.5), steps)
            ends.append(int(np.clip(rounded + self.zero, self.low, self.high)))
        return ends[0], ends[1]

    def same(self, other: Affine) -> bool:
        """Whether codes mean the same."""
        return self.scale == other.scale and self.zero - self.low == other.zero - other.low


def multiplier_of(real: float | np.floating) -> tuple[int, int]:
    """`quantize_multiplier` of one number."""
    number, shift = quantize_multiplier(np.float64(real))
    return int(number), int(shift)


def times(x: Codes, real: float | np.floating, *, up: bool = False) -> Codes:
    """Numbers times a real one, as `fixed_point.multiply`."""
    number, shift = quantize_multiplier(np.float64(real))
    return multiply(x, number, shift, up=up)


def _scaled(x: Codes, real: float | np.floating, left: int) -> Codes:
    """Numbers times 2**left times a real number of at most one."""
    return times(x << left, real)


def addition_shift(kind: str) -> int:
    """Bits by which inputs are raised before they are scaled."""
    return 15 if kind == "int16" else 20


def addition_scales(a: Affine, b: Affine, out: Affine) -> tuple[float, float, float]:
    """Real multipliers of both inputs and of the sum of the raised inputs."""
    twice = 2.0 * float(max(a.scale, b.scale))
    raised = float(1 << addition_shift(out.type)) * float(out.scale)
    return float(a.scale) / twice, float(b.scale) / twice, twice / raised


def add(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine, *, sign: int = 1) -> Codes:
    """Addition (sign 1) or subtraction (-1) of the reference kernels."""
    first, second, last = addition_scales(a, b, out)
    left = addition_shift(out.type)
    total = _scaled(a.centred(x), first, left) + sign * _scaled(b.centred(y), second, left)
    return out.codes(times(total, last))


def add_once(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine) -> Codes:
    """Addition of 16-bit codes by the default kernels: each input is rounded once, not twice.

    So it is for values of one shape, in whole groups of `LANES`; all else is `add`
    (`AddElementwiseInt16`, tensorflow/lite/kernels/internal/optimized/integer_ops/add.h).
    """
    first, second, last = addition_scales(a, b, out)
    total = _scaled_once(a.centred(x), first) + _scaled_once(b.centred(y), second)
    return out.codes(times(total, last))


def _scaled_once(x: Codes, real: float) -> Codes:
    number, shift = quantize_multiplier(real)
    left = addition_shift("int16") + int(shift)
    raised = x << left if left >= 0 else x >> -left
    return doubling_high_multiply(raised, number)


def add_xnnpack(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine, *, sign: int = 1) -> Codes:
    """The same by XNNPACK, for 8-bit codes."""
    ratios = (a.scale / out.scale, b.scale / out.scale)
    shift = 20 - (int(np.frexp(max(ratios))[1]) - 1)
    first, second = (int(np.rint(np.ldexp(np.float64(r), shift))) for r in ratios)
    total = a.centred(x) * first + b.centred(y) * (sign * second) + (1 << (shift - 1))
    return out.codes(total >> shift)


def addable_by_xnnpack(a: Affine, b: Affine, out: Affine) -> bool:
    """Whether XNNPACK takes an addition with these scales, which is else the reference kernel's."""
    ratios = (a.scale / out.scale, b.scale / out.scale)
    return all(np.float32(2.0**-10) <= ratio < np.float32(256) for ratio in ratios)


def product_scale(a: Affine, b: Affine, out: Affine) -> np.float32:
    """The real multiplier of a product, float32 as the kernels compute it."""
    return np.float32(a.scale * b.scale) / out.scale


def multiply_codes(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine) -> Codes:
    """Multiplication of the reference kernels."""
    product = a.centred(x) * b.centred(y)
    return out.codes(times(product, product_scale(a, b, out)))


def multiply_xnnpack(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine) -> Codes:
    """The same by XNNPACK."""
    product = (a.centred(x) * b.centred(y)).astype(np.float32)
    steps = np.rint(product * product_scale(a, b, out))
    return out.codes(np.clip(steps, -1e6, 1e6).astype(np.int64))


def multipliable_by_xnnpack(a: Affine, b: Affine, out: Affine) -> bool:
    """Whether XNNPACK takes a multiplication with these scales."""
    return bool(np.float32(2.0**-16) <= product_scale(a, b, out) < np.float32(256))


def _reciprocal(x: Codes) -> tuple[Codes, Codes]:
    """1 / x of positive numbers as (31-bit fraction, exponent): `GetReciprocal` of common.h.

    gemmlowp's `one_over_one_plus_x_for_x_in_0_1`: three steps of Newton in numbers of two whole
    bits.
    """
    bits = np.floor(np.log2(x)).astype(np.int64)
    fraction = (x << (31 - bits)) - (1 << 31)
    half = (fraction + (2**31 - 1) + 1) >> 1
    estimate = 1515870810 + doubling_high_multiply(half, np.asarray(-1010580540))
    for _ in range(3):
        rest = (1 << 29) - doubling_high_multiply(half, estimate)
        step = np.clip(doubling_high_multiply(estimate, rest) << 2, -(2**31), 2**31 - 1)
        estimate = estimate + step
    return np.clip(estimate << 1, -(2**31), 2**31 - 1), bits


def divide(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine) -> Codes:
    """Division of the reference kernels; where the divisor is 0, the code of 0."""
    top, bottom = np.broadcast_arrays(a.centred(x), b.centred(y))
    top, known = np.where(bottom < 0, -top, top), bottom != 0
    bottom = np.where(known, np.abs(bottom), 1)
    inverse, exponent = _reciprocal(bottom)
    # Sign bits in front of the first bit that differs from the sign (`CountLeadingSignBits`).
    used = np.where(top >= 0, top, -(top + 1))
    headroom = np.where(used == 0, 31, 30 - np.floor(np.log2(np.maximum(used, 1))).astype(np.int64))
    number, shift = quantize_multiplier(np.float64(a.scale / np.float32(b.scale * out.scale)))
    quotient = doubling_high_multiply(top << headroom, inverse)
    total = shift - exponent - headroom
    high = doubling_high_multiply(quotient, number)
    result = out.codes(_divide_by_any_power(high, -total))
    return np.where(known, result, out.codes(np.zeros(1, np.int64)))


def squared_difference(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine) -> Codes:
    """(x - y)**2 of 8-bit codes."""
    twice = 2.0 * float(max(a.scale, b.scale))
    difference = difference_terms(x, a, twice) - difference_terms(y, b, twice)
    return out.codes(times(difference * difference, square_scale(twice, out)))


def square_scale(twice: float, out: Affine) -> float:
    """The real multiplier of a squared difference in 1/128 of `twice`."""
    return twice * twice / float(np.float32(1 << 14) * out.scale)


def difference_terms(x: Codes, a: Affine, twice: float) -> Codes:
    """What is subtracted from what, in 1/128 of `twice`."""
    return _scaled(a.centred(x), float(a.scale) / twice, 7)


def compared(x: Codes, a: Affine) -> Codes:
    """What comparisons compare: numbers scaled by their scale alone."""
    number, shift = quantize_multiplier(np.float64(a.scale))
    raised = a.centred(x) << COMPARED
    return _divide_by_any_power(doubling_high_multiply(raised, number), -shift)


def _divide_by_any_power(x: Codes, exponent: NDArray[np.integer]) -> Codes:
    """`divide_by_power` with what comes out of it on x86 for exponents below 0 and above 31.

    Comparisons pass them with scales of 1 and more, divisions with small quotients: gemmlowp's
    64-bit mask becomes all ones, and the processor takes the shift modulo 32.
    """
    power = np.asarray(exponent, np.int64)
    wrong = (x >> (power & 31)) + (x >= 0)
    right = divide_by_power(x, np.clip(power, 0, 31))
    return np.asarray(np.where((power < 0) | (power > 31), wrong, right))


def rescale(
    x: Codes, a: Affine, out: Affine, real: float | np.floating, *, up: bool = False
) -> Codes:
    """Codes by a multiplier, then the output's zero point."""
    return out.codes(times(a.centred(x), real, up=up))


def requantize(x: Codes, a: Affine, out: Affine, *, up: bool = False) -> Codes:
    """QUANTIZE of codes by the reference kernels; by the default ones (`up`) halves go up."""
    return rescale(x, a, out, np.float64(a.scale) / np.float64(out.scale), up=up)


def requantize_xnnpack(x: Codes, a: Affine, out: Affine) -> Codes:
    """The same by XNNPACK: 8-bit codes of one type."""
    number = int(np.rint(np.float32(256) * (a.scale / out.scale)))
    return out.codes((a.centred(x) * number + 128) >> 8)


def requantizable_by_xnnpack(a: Affine, out: Affine) -> bool:
    """Whether XNNPACK takes a change of codes."""
    ratio = a.scale / out.scale
    return a.type == out.type and a.type != "int16" and bool(2.0**-8 <= ratio <= 128)


def leaky(x: Codes, a: Affine, out: Affine, alpha: float, *, mirrored: bool = False) -> Codes:
    """LEAKY_RELU of the reference kernels.

    Args:
        x: codes.
        a: their scale.
        out: the output's.
        alpha: slope below zero.
        mirrored: turn the sign before the multiplication, not after it, where the slope is negative
            (the default kernels, with 16-bit codes).
    """
    below, above = leaky_scales(a, out, alpha)
    centred = a.centred(x)
    negative, sign = np.minimum(centred, 0), -1 if below < 0 else 1
    lower = times(negative * sign, abs(below)) if mirrored else times(negative, abs(below)) * sign
    upper = times(np.maximum(centred, 0), above)
    return out.codes(np.where(centred < 0, lower, upper))


def leaky_scales(a: Affine, out: Affine, alpha: float) -> tuple[np.float32, np.float32]:
    """Real multipliers below and above zero, float32 as the kernels compute them."""
    return np.float32(a.scale * np.float32(alpha)) / out.scale, a.scale / out.scale


def leaky_xnnpack(x: Codes, a: Affine, out: Affine, alpha: float) -> Codes:
    """The same by XNNPACK."""
    above = a.scale / out.scale
    below = np.float32(above * np.float32(alpha))
    first, second = (int(np.rint(np.float32(256) * r)) for r in (above, below))
    centred = a.centred(x)
    return out.codes((centred * np.where(centred < 0, second, first) + 128) >> 8)


def leakable_by_xnnpack(a: Affine, out: Affine, alpha: float) -> bool:
    """Whether XNNPACK takes a LEAKY_RELU."""
    above = a.scale / out.scale
    below = np.float32(above * np.float32(alpha))
    positive = np.float32(2.0**-8) <= above <= np.float32(128)
    negative = np.float32(-127.99609375) <= below <= 128 and abs(below) >= np.float32(2.0**-8)
    return bool(np.float32(alpha) != 0 and positive and negative)


def prelu(x: Codes, y: Codes, a: Affine, b: Affine, out: Affine) -> Codes:
    """PRELU of 8-bit codes; y are the slopes."""
    top, slope = np.broadcast_arrays(a.centred(x), b.centred(y))
    above = times(top, a.scale / out.scale)
    below = times(top * slope, product_scale(a, b, out))
    return out.codes(np.where(top >= 0, above, below))


def join_scaled(x: Codes, a: Affine, out: Affine) -> Codes:
    """CONCATENATION of uint8 codes with another scale (`ConcatenationWithScaling`)."""
    if a.same(out):
        return np.asarray(x, np.int64)
    scale = a.scale * (np.float32(1) / out.scale)
    bias = np.float32(-a.zero) * scale
    steps = np.asarray(x, np.float32) * scale + bias
    whole = np.trunc(steps)
    rounded = whole + np.trunc((steps - whole) * 2)
    return np.asarray(np.clip(rounded.astype(np.int64) + out.zero, out.low, out.high))
