"""Which pixels a resized image is made of, as TensorFlow Lite's kernels and ONNX's Resize compute it.

All along one axis of `extent` pixels that becomes one of `size`. Sources: google-ai-edge/LiteRT,
tflite/kernels/internal/reference/{resize_nearest_neighbor,resize_bilinear}.h and
tflite/kernels/internal/optimized/optimized_ops.h; google/XNNPACK, src/indirection.c; onnx/onnx,
docs/Operators.md (Resize), in float32 as ONNX Runtime computes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Floats = NDArray[np.float32]

ONE, HALF = np.float32(1), np.float32(0.5)
FRACTION = 10
"""Bits behind the point of the integer kernel's coordinates."""
FINE_FRACTION = 11
"""Bits of XNNPACK's weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How positions in the result are positions in the source.

    Attributes:
        align_corners: the centres of the corner pixels fall together.
        half_pixel_centers: the corners of the images fall together; with neither, the first centres do.
    """

    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Blend:
    """Two pixels for each of the result, and how much the second one weighs.

    Attributes:
        low, high: their indices.
        weight: of `high`: integers in units of 2^-bits, or real numbers.
        bits: behind the point of integer weights.
    """

    low: Indices
    high: Indices
    weight: Indices | Floats
    bits: int = 0

    def same(self, other: Blend) -> bool:
        """Whether both come to the same numbers, the weights exactly."""
        mine, theirs = (np.asarray(b.weight, np.float64) / (1 << b.bits) for b in (self, other))
        far = np.where(self.high == other.high, 0.0, np.maximum(mine, theirs))
        return bool((self.low == other.low).all() and (mine == theirs).all() and not far.any())

    def reduced(self) -> Blend:
        """The same with as few bits as the weights need."""
        bits, weight = self.bits, np.asarray(self.weight, np.int64)
        while bits and not (weight & 1).any():
            bits, weight = bits - 1, weight >> 1
        return Blend(low=self.low, high=self.high, weight=weight, bits=bits)


def _scale(extent: int, size: int, aligned: bool) -> np.float32:
    less = int(aligned and size > 1)
    return np.float32(extent - less) / np.float32(size - less)


def _within(places: NDArray[Any], extent: int) -> Indices:
    result: Indices = np.clip(places.astype(np.int64), 0, extent - 1)
    return result


def nearest(extent: int, size: int, sampling: Sampling) -> Indices:
    """RESIZE_NEAREST_NEIGHBOR of all kernels but the one below."""
    scale = _scale(extent, size, sampling.align_corners)
    places = np.arange(size).astype(np.float32)
    if sampling.half_pixel_centers:
        places = places + HALF
    found = places * scale
    whole = np.floor(found + HALF) if sampling.align_corners else np.floor(found)
    return _within(whole, extent)


def nearest_of_bytes(extent: int, size: int, sampling: Sampling) -> Indices:
    """The default kernel for 8-bit codes: 16 bits behind the point, rounded up, where nothing is shifted."""
    if sampling.align_corners or sampling.half_pixel_centers:
        return nearest(extent, size, sampling)
    scale = (extent << 16) // size + 1
    return _within(np.arange(size, dtype=np.int64) * scale >> 16, extent)


def nearest_of_onnx(extent: int, size: int, mode: str, rounding: str) -> Indices | None:
    """Resize of mode "nearest"; None where the mode or rounding is another than TensorFlow Lite has.

    Args:
        extent: of the source.
        size: of the result.
        mode: `coordinate_transformation_mode`.
        rounding: `nearest_mode`.
    """
    places = np.arange(size).astype(np.float32)
    scale = np.float32(size) / np.float32(extent)
    if mode == "asymmetric":
        found = places / scale
    elif mode == "half_pixel" or (mode == "pytorch_half_pixel" and size > 1):
        found = (places + HALF) / scale - HALF
    elif mode in ("align_corners", "pytorch_half_pixel"):
        found = places * np.float32(extent - 1) / np.float32(max(1, size - 1))
        found = found if size > 1 else np.zeros(1, np.float32)
    else:
        return None
    ways = {
        "floor": np.floor(found),
        "ceil": np.ceil(found),
        "round_prefer_floor": np.ceil(found - HALF),
        "round_prefer_ceil": np.floor(found + HALF),
    }
    if rounding not in ways:
        return None
    return _within(ways[rounding], extent)


def blend_of_onnx(extent: int, size: int, mode: str) -> Blend | None:
    """Resize of mode "linear" with one of the three coordinates that TensorFlow Lite has."""
    places = np.arange(size).astype(np.float32)
    scale = np.float32(size) / np.float32(extent)
    if mode == "asymmetric":
        found = places / scale
    elif mode == "half_pixel":
        found = (places + HALF) / scale - HALF
    elif mode == "align_corners" and size > 1:
        found = places * np.float32(extent - 1) / np.float32(size - 1)
    else:
        return None
    found = np.clip(found, np.float32(0), np.float32(extent - 1))
    low = found.astype(np.int64)
    high = np.minimum(low + 1, extent - 1)
    return Blend(low=low, high=high, weight=found - low.astype(np.float32))


def blend_of_integers(extent: int, size: int, sampling: Sampling) -> Blend:
    """RESIZE_BILINEAR of signed codes by the kernel without real numbers."""
    less = int(sampling.align_corners and size > 1)
    scale = ((extent - less << FRACTION) + (size - less) // 2) // (size - less)
    found = np.arange(size, dtype=np.int64) * scale
    if sampling.half_pixel_centers:
        found = found + scale // 2 - (1 << FRACTION - 1)
    # Numbers below zero are divided towards zero.
    low = np.maximum(_towards_zero(found), 0)
    high = np.minimum(_towards_zero(found + (1 << FRACTION) - 1), extent - 1)
    weight = np.where(low == high, 0, found - (low << FRACTION))
    return Blend(low=np.minimum(low, extent - 1), high=high, weight=weight, bits=FRACTION)


def _towards_zero(numbers: Indices) -> Indices:
    result: Indices = np.sign(numbers) * (np.abs(numbers) >> FRACTION)
    return result


def blend_of_reals(extent: int, size: int, sampling: Sampling) -> Blend:
    """RESIZE_BILINEAR of float32 and of unsigned codes by the reference kernel."""
    scale = _scale(extent, size, sampling.align_corners)
    places = np.arange(size).astype(np.float32)
    found = (places + HALF) * scale - HALF if sampling.half_pixel_centers else places * scale
    low = np.maximum(np.floor(found).astype(np.int64), 0)
    high = np.minimum(np.ceil(found).astype(np.int64), extent - 1)
    weight = (found - low.astype(np.float32)).astype(np.float32)
    return Blend(low=np.minimum(low, extent - 1), high=high, weight=weight)


def blend_of_xnnpack(extent: int, size: int, sampling: Sampling) -> Blend:
    """RESIZE_BILINEAR of 8-bit codes by XNNPACK."""
    scale = _scale(extent, size, sampling.align_corners)
    found = np.arange(size).astype(np.float32) * scale
    if sampling.half_pixel_centers:
        found = np.maximum(found + (HALF * scale - HALF), np.float32(0))
    found = np.minimum(found, np.float32(extent - 1))
    low = found.astype(np.int64)
    high = np.minimum(low + 1, extent - 1)
    weight = np.rint((found - low.astype(np.float32)) * np.float32(1 << FINE_FRACTION))
    return Blend(low=low, high=high, weight=weight.astype(np.int64), bits=FINE_FRACTION)
