"""Look-up tables of unary functions over codes, as TensorFlow Lite and XNNPACK fill them.

A table of 8-bit codes has an entry for every code, lowest code first. A table of 16-bit codes has 513
entries, 128 codes apart, and codes between them are interpolated.
Sources: tensorflow/lite/kernels/internal/common.h (`LUTPopulateInt8`, `LUTPopulateInt16`, `LUTLookup`);
google/XNNPACK src/reference/unary-elementwise.cc, src/xnnpack/reference-utils.h.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics.elementwise import Affine

Reals = NDArray[np.floating]
Function = Callable[[Reals], Reals]
"""Of real numbers, in the type that it is given."""

STEPS = 512
"""Intervals of a table of 16-bit codes."""

WIDTH = 2**16 // STEPS
"""Codes in an interval."""


def half_away(x: Reals) -> Reals:
    """C's `round`: to the nearest whole number, halves away from zero."""
    # floor(|x| + 0.5) would take the number just below a half up: the sum is rounded.
    whole = np.trunc(x)
    with np.errstate(invalid="ignore"):
        part = np.trunc((x - whole) * 2)
    return np.asarray(np.where(np.isinf(x), x, whole + part), x.dtype)


def saturated(numbers: Reals | NDArray[np.int64], dtype: str) -> NDArray[np.integer]:
    """Numbers as codes of a type, the nearest where they lie outside."""
    info = np.iinfo(dtype)
    return np.asarray(np.clip(np.nan_to_num(numbers), info.min, info.max)).astype(dtype)


def table_8(function: Function, x: Affine, y: Affine) -> NDArray[np.integer]:
    """`LUTPopulate` of 8-bit codes: a code of `y` for every code of `x`, lowest first."""
    real = x.scale * x.centred(x.all()).astype(np.float32)
    with np.errstate(all="ignore"):
        steps = half_away(function(real) * (np.float32(1) / y.scale))
        return saturated(np.asarray(steps + np.float32(y.zero)), y.type)


def table_8_even(function: Function, x: Affine, y: Affine) -> NDArray[np.integer]:
    """XNNPACK's table of 8-bit codes: halves to even, and the zero point added before rounding."""
    real = x.scale * x.centred(x.all()).astype(np.float32)
    with np.errstate(all="ignore"):
        steps = function(real) * (np.float32(1) / y.scale) + np.float32(y.zero)
        return saturated(np.rint(steps), y.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Real numbers that 16-bit codes stand for.

    Attributes:
        scale: of the type that is computed in.
        zero: zero point.
    """

    scale: np.float32 | np.float64
    zero: int = 0

    def number(self, value: float) -> Reals:
        """A number of that type."""
        found: Reals = np.asarray(value).astype(type(self.scale))
        return found

    def code(self, code: int) -> Reals:
        """What a code stands for."""
        return np.asarray(self.number(float(self.scale)) * self.number(code - self.zero))


def table_16(function: Function, x: Range, y: Range) -> NDArray[np.int16]:
    """`LUTPopulate` of 16-bit codes: 513 codes of `y`."""
    low, high, two = x.code(-32768), x.code(32767), x.number(2)
    step = (high - low) / x.number(STEPS)
    factor = x.number(65536) / (y.code(32767) - y.code(-32768))
    index: Reals = np.arange(STEPS).astype(type(x.scale))
    with np.errstate(all="ignore"):
        value = function(low + index * step) * factor
        middle = function(low + index * step + step / two) * factor
        following = function(low + (index + x.number(1)) * step) * factor
        sample = half_away(value)
        straight = half_away((following + sample) / two)
        bias = half_away((straight - half_away(middle)) / two)
        last = half_away(function(high.reshape(1)) * factor)
        entries = np.concatenate([sample - bias, last])
    return saturated(entries, "int16").astype(np.int16)


def slopes(table: NDArray[np.int16]) -> NDArray[np.int16]:
    """Differences of neighbours, which a kernel keeps in 16 bits (they wrap)."""
    return np.diff(table.astype(np.int32)).astype(np.int16)


def interpolated(table: NDArray[np.int16]) -> NDArray[np.int16]:
    """`LUTLookup` of every 16-bit code, lowest first."""
    base, slope = table[:-1, None].astype(np.int32), slopes(table)[:, None].astype(np.int32)
    within = np.arange(WIDTH, dtype=np.int32)
    return np.asarray(base + ((slope * within + 64) >> 7)).astype(np.int16).reshape(-1)
