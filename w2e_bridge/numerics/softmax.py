"""Tables of SOFTMAX and LOG_SOFTMAX: an entry for every distance of a code below its row's highest.

Sources: tensorflow/lite/kernels/activations.cc (`SoftmaxPrepare`, `LogSoftmaxPrepare`),
internal/optimized/optimized_ops.h (`PopulateSoftmaxLookupTable`), internal/reference/softmax.h,
internal/reference/integer_ops/log_softmax.h, internal/quantization_util.cc of LiteRT at commit f674577.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics import gemmlowp
from w2e_bridge.numerics.elementwise import multiplier_of
from w2e_bridge.numerics.fixed_point import divide_by_power, doubling_high_multiply, multiply
from w2e_bridge.numerics.lookup import Range, table_16
from w2e_bridge.numerics.unary import exp

DISTANCES = 256
DIFF_BITS, SUM_BITS, LOG_BITS = 5, 12, 4
"""Integer bits of scaled distances, of sums of exponentials, of logarithms of probabilities."""


def exponentials(scale: np.float32, beta: float) -> NDArray[np.float32]:
    """exp(-scale * beta * distance)."""
    factor = -scale * np.float32(beta)
    return exp(factor * np.arange(DISTANCES).astype(np.float32)).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fixed:
    """Exponentials in fixed point.

    Attributes:
        exponentials: without integer bits; 0 where a distance is too far to count.
        addends: the same with `SUM_BITS` integer bits.
        scaled: distances, negative, with `DIFF_BITS` integer bits.
        farthest: the last distance that counts.
        multiplier, shift: of distances.
    """

    exponentials: NDArray[np.int64]
    addends: NDArray[np.int64]
    scaled: NDArray[np.int64]
    farthest: int
    multiplier: int
    shift: int


def fixed(scale: np.float32, beta: float, *, once: bool = True) -> Fixed:
    """What the reference kernels compute with.

    Args:
        scale: of the input.
        beta: factor of the input.
        once: whether distances are scaled with a single rounding (SOFTMAX, LOG_SOFTMAX of uint8).
    """
    real = float(np.float32(beta)) * float(scale) * 2.0 ** (31 - DIFF_BITS)
    multiplier, shift = multiplier_of(min(real, 2.0**31 - 1))
    farthest = int(np.floor((2**DIFF_BITS - 1) * 2.0 ** (31 - DIFF_BITS) / 2.0**shift))
    distance = np.arange(DISTANCES, dtype=np.int64)
    counted = distance <= farthest
    near = -np.where(counted, distance, 0)
    number = np.asarray(multiplier, np.int64)
    if once:
        scaled = doubling_high_multiply(near << shift, number)
    else:
        scaled = multiply(near, number, shift)
    raw = np.where(counted, gemmlowp.exp_of_negative(scaled, DIFF_BITS), 0)
    return Fixed(
        exponentials=raw,
        addends=divide_by_power(raw, SUM_BITS),
        scaled=scaled,
        farthest=farthest,
        multiplier=multiplier,
        shift=shift,
    )


def reverse_multiplier(found: Fixed) -> tuple[int, int]:
    """What takes scaled distances back: `PreprocessLogSoftmaxScalingExp`."""
    return multiplier_of(float(1 << (31 - found.shift)) / found.multiplier)


def multiplier_16(scale: np.float32, beta: float) -> tuple[int, int]:
    """What takes distances of 16-bit codes to the codes of `exponentials_16`."""
    return multiplier_of(np.float64(scale * np.float32(beta)) / (10.0 / 65535.0))


def exponentials_16() -> NDArray[np.int16]:
    """`table_16` of exp over [-10, 0]."""
    x = Range(scale=np.float64(10.0 / 65535.0), zero=32767)
    return table_16(np.exp, x, Range(scale=np.float64(2.0 / 65535.0)))


def reciprocals_16() -> NDArray[np.int16]:
    """`table_16` of 1 / (1 + x) over [0, 1]."""
    x = Range(scale=np.float64(1.0 / 65535.0), zero=-32768)
    return table_16(lambda v: np.asarray(1 / (1 + v)), x, Range(scale=np.float64(2.0 / 65535.0)))
