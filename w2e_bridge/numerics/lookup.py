"""Look-up tables of unary functions over codes, as TensorFlow Lite and XNNPACK fill them.

A table of 8-bit codes has an entry for every code, lowest code first. A table of 16-bit codes has 513
entries, 128 codes apart, and codes between them are interpolated.
Sources: tensorflow/lite/kernels/internal/common.h (`LUTPopulateInt8`, `LUTPopulateInt16`, `LUTLookup`);
google/XNNPACK src/reference/unary-elementwise.cc, src/xnnpack/reference-utils.h.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

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
    return np.asarray(whole + np.trunc((x - whole) * 2), x.dtype)


def all_codes(dtype: str) -> NDArray[np.int64]:
    """Every code of a type, lowest first."""
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1, dtype=np.int64)


def saturated(numbers: Reals | NDArray[np.int64], dtype: str) -> NDArray[np.generic]:
    """Numbers as codes of a type, the nearest where they lie outside."""
    info = np.iinfo(dtype)
    return np.clip(np.nan_to_num(numbers), info.min, info.max).astype(dtype)


def table_8(
    function: Function, scale: np.float32, zero: int, out_scale: np.float32, out_zero: int, dtype: str
) -> NDArray[np.generic]:
    """`LUTPopulate` of 8-bit codes: a code for every code of `dtype`, lowest first."""
    real = scale * (all_codes(dtype) - zero).astype(np.float32)
    with np.errstate(all="ignore"):
        steps = half_away(function(real) * (np.float32(1) / out_scale))
        return saturated(np.asarray(steps + np.float32(out_zero)), dtype)


def table_8_even(
    function: Function, scale: np.float32, zero: int, out_scale: np.float32, out_zero: int, dtype: str
) -> NDArray[np.generic]:
    """XNNPACK's table of 8-bit codes: halves to even, and the zero point added before rounding."""
    real = (all_codes(dtype) - zero).astype(np.float32) * scale
    with np.errstate(all="ignore"):
        steps = function(real) * (np.float32(1) / out_scale) + np.float32(out_zero)
        return saturated(np.rint(steps), dtype)


def table_16(
    function: Function,
    scale: np.floating,
    zero: int,
    out_scale: np.floating,
    out_zero: int,
) -> NDArray[np.int16]:
    """`LUTPopulate` of 16-bit codes: 513 codes; the scales' type is the one computed in."""
    real = type(scale)
    low, high = scale * real(-32768 - zero), scale * real(32767 - zero)
    out_low, out_high = out_scale * real(-32768 - out_zero), out_scale * real(32767 - out_zero)
    step = (high - low) / real(STEPS)
    factor = real(65536) / (out_high - out_low)
    index = np.arange(STEPS).astype(real)
    with np.errstate(all="ignore"):
        value = function(low + index * step) * factor
        middle = function(low + index * step + step / real(2)) * factor
        following = function(low + (index + real(1)) * step) * factor
        sample = half_away(value)
        straight = half_away((following + sample) / real(2))
        bias = half_away((straight - half_away(middle)) / real(2))
        last = half_away(function(np.asarray([high], real)) * factor)
    entries = np.concatenate([sample - bias, last])
    return np.clip(entries, -32768, 32767).astype(np.int16)


def slopes(table: NDArray[np.int16]) -> NDArray[np.int16]:
    """Differences of neighbours, which a kernel keeps in 16 bits (they wrap)."""
    return np.diff(table.astype(np.int32)).astype(np.int16)


def interpolated(table: NDArray[np.int16]) -> NDArray[np.int16]:
    """`LUTLookup` of every 16-bit code, lowest first."""
    base, slope = table[:-1, None].astype(np.int32), slopes(table)[:, None].astype(np.int32)
    within = np.arange(WIDTH, dtype=np.int32)
    return (base + ((slope * within + 64) >> 7)).astype(np.int16).reshape(-1)
