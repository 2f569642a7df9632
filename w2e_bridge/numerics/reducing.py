"""Numbers that reductions of codes multiply by.

Sources: tensorflow/lite/kernels/reduce.cc, internal/reference/reduce.h (`QuantizedMeanOrSum`) of LiteRT at
commit f674577; google/XNNPACK src/operators/reduce-nd.c at commit 75db3c0.
"""

from __future__ import annotations

import numpy as np

from w2e_bridge.numerics.elementwise import Affine, multiplier_of


def mean_multiplier(x: Affine, y: Affine, count: int) -> tuple[int, int]:
    """(m, shift) of the reference kernels: the division by `count` is part of it."""
    multiplier, shift = multiplier_of(np.float64(x.scale) / np.float64(y.scale))
    left = min(count.bit_length() - 1, 32, 31 + shift)
    return (multiplier << left) // count, shift - left


def sum_multiplier(x: Affine, y: Affine) -> tuple[int, int]:
    """(m, shift) of a sum."""
    return multiplier_of(np.float64(x.scale) / np.float64(y.scale))


def product_multiplier(x: Affine, y: Affine, count: int) -> tuple[int, int]:
    """(m, shift) of every step of a product of `count` factors."""
    return multiplier_of(np.float64(x.scale) / np.float64(y.scale) ** (1.0 / count))


def line(x: Affine, y: Affine, count: int, *, mean: bool) -> tuple[np.float32, np.float32]:
    """(factor, start) of XNNPACK: a code is `sum * factor + start`, of the sum of the codes themselves."""
    factor = np.float32(x.scale / y.scale)
    if mean:
        factor = np.float32(factor * (np.float32(1) / np.float32(count)))
    return factor, np.float32(np.float32(y.zero) - np.float32(count * x.zero) * factor)
