"""Unary kernels of TensorFlow Lite and XNNPACK on codes: functions of real numbers, and in whole numbers.

Sources: tensorflow/lite/kernels/{activations,elementwise,exp}.cc, internal/reference/{gelu,hard_swish}.h
and internal/reference/integer_ops/{logistic,tanh}.h of LiteRT at commit f674577; google/XNNPACK
src/reference/unary-elementwise.cc at commit 75db3c0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics import gemmlowp
from w2e_bridge.numerics.elementwise import Affine, multiplier_of
from w2e_bridge.numerics.fixed_point import divide_by_power, multiply, reduced
from w2e_bridge.numerics.libm import Single, erfcf, expf, expm1f, logf, tanhf
from w2e_bridge.numerics.lookup import Function, Reals, table_8, table_8_even

Codes = NDArray[np.integer]
ONE = np.float32(1)


def _single(function: Callable[[Single], Single]) -> Function:
    def typed(x: Reals) -> Reals:
        return function(x.astype(np.float32))

    return typed


exp, tanh = _single(expf), _single(tanhf)
_expm1, _erfc, _log = _single(expm1f), _single(erfcf), _single(logf)


def logistic(x: Reals) -> Reals:
    """As TensorFlow Lite's tables have it."""
    return np.asarray(ONE / (ONE + exp(-x)))


def logistic_wide(x: Reals) -> Reals:
    """As XNNPACK has it."""
    wide = np.exp(np.clip(x.astype(np.float64), -100, 100))
    inside = (wide / (1 + wide)).astype(np.float32)
    return np.where(x > 100, ONE, np.where(x < -100, np.float32(0), inside))


def elu(x: Reals) -> Reals:
    """The exponential linear unit."""
    return np.where(x < 0, _expm1(np.minimum(x, 0)), x)


def gelu(x: Reals) -> Reals:
    """The Gaussian error linear unit."""
    return np.asarray(np.float32(0.5) * x * _erfc(x * np.float32(-math.sqrt(0.5))))


def gelu_approximate(x: Reals) -> Reals:
    """The same with a hyperbolic tangent in the place of the error function."""
    factor = np.float32(2 / math.sqrt(math.pi) * math.sqrt(0.5))
    inner = factor * (x + np.float32(0.044715) * x * x * x)
    return np.asarray(np.float32(0.5) * x * (ONE + tanh(inner)))


def log_above(least: np.float32) -> Function:
    """The logarithm, and a least value where there is none."""

    def function(x: Reals) -> Reals:
        return np.where(x <= 0, least, _log(np.where(x <= 0, ONE, x)))

    return function


def inverse_root_below(greatest: np.float32) -> Function:
    """1 / sqrt(x), and a greatest value where there is none."""

    def function(x: Reals) -> Reals:
        return np.where(x <= 0, greatest, ONE / np.sqrt(np.where(x <= 0, ONE, x)))

    return function


def _absolute(x: Affine, y: Affine) -> Codes:
    numbers = np.abs(x.centred(x.all()))
    if x.scale != y.scale:
        numbers = multiply(numbers, *_pair(np.float32(x.scale / y.scale)))
    return y.codes(numbers)


def _pair(real: float | np.floating) -> tuple[NDArray[np.int64], int]:
    number, shift = multiplier_of(real)
    return np.asarray(number, np.int64), shift


def _negated(x: Affine, y: Affine) -> Codes:
    # The kernel knows no zero points; the lowest code stays what it is.
    return (-x.all()).astype(y.type)


def square_root(codes: Codes, x: Affine, y: Affine) -> Codes:
    """SQRT, whose kernel cuts off where others round."""
    real = x.scale * x.centred(codes).astype(np.float32)
    return y.codes(np.trunc(np.sqrt(np.maximum(real, 0)) / y.scale).astype(np.int64))


def _root(x: Affine, y: Affine) -> Codes:
    return square_root(x.all(), x, y)


EXTRA_BITS = 20
"""Bits that RSQRT keeps behind the point."""


def _inverse_root(x: Affine, y: Affine) -> Codes:
    numbers = np.maximum(x.centred(x.all()), 0)
    multiplier, shift = _pair(1 / np.float64(np.sqrt(x.scale) * y.scale))
    inverse, power = gemmlowp.inverse_square_root(numbers)
    wide = multiply(np.ones_like(numbers), inverse, power + EXTRA_BITS)
    codes = y.codes(multiply(wide, multiplier, shift - EXTRA_BITS))
    return np.where(numbers == 0, y.high, codes)


def _hard_swish(x: Affine, y: Affine) -> Codes:
    raised = np.float32(np.float32(1 / 128) * x.scale)
    scale, exponent = _half(np.float32(raised / y.scale))
    gate, power = _half(np.float32(raised / np.float32(3 / 32768)))
    number = (x.centred(x.all()) * 128).astype(np.int16).astype(np.int64)
    gated = number
    if power > 0:
        gated = gemmlowp.clipped(gated << (power - 1), 16)
    gated = gemmlowp.times(gated, gate, 16)
    gated = gemmlowp.rescaled(gated, 1 if power > 0 else power, 16)
    gated = (gated + 32768) >> 1
    product = gated * gemmlowp.times(number, scale, 16)
    product = np.sign(product) * (np.abs(product) >> 15)  # C's division
    return y.codes(divide_by_power(product, -exponent))


def _half(real: np.float32) -> tuple[int, int]:
    multiplier, shift = _pair(real)
    return int(reduced(multiplier)), shift


WHOLE: Mapping[str, Callable[[Affine, Affine], Codes]] = {
    "abs": _absolute,
    "neg": _negated,
    "sqrt": _root,
    "rsqrt": _inverse_root,
    "hard_swish": _hard_swish,
}
"""Kernels of 8-bit codes that compute in their own way: a code for every code, lowest first."""

FUNCTIONS: Mapping[str, Function] = {
    "logistic": logistic,
    "tanh": tanh,
    "exp": exp,
    "elu": elu,
    "gelu": gelu,
    "gelu_approximate": gelu_approximate,
}
"""Functions of which TensorFlow Lite makes tables."""

EVEN: Mapping[str, Function] = {"logistic": logistic_wide, "tanh": tanh, "elu": elu}
"""Functions of which XNNPACK makes tables."""


def codes_8(kind: str, x: Affine, y: Affine, *, xnnpack: bool = False) -> Codes:
    """The code of `y` for every 8-bit code of `x`, lowest first."""
    if kind in WHOLE:
        return WHOLE[kind](x, y)
    if xnnpack and kind in EVEN:
        return table_8_even(EVEN[kind], x, y)
    if kind == "log":
        least = np.float32(np.float32(y.low - y.zero) * y.scale)
        return table_8(log_above(least), x, y)
    return table_8(FUNCTIONS[kind], x, y)


def function_16(kind: str, y: Affine) -> Function | None:
    """The function of which a kernel of 16-bit codes makes its table, None where it makes none."""
    if kind == "log":
        return log_above(np.float32(np.float32(y.low) * y.scale))
    if kind == "rsqrt":
        return inverse_root_below(np.float32(np.float32(y.high) * y.scale))
    return FUNCTIONS[kind] if kind in ("exp", "gelu", "gelu_approximate") else None
