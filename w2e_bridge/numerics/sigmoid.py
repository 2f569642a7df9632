"""LOGISTIC and TANH of 16-bit codes, which TensorFlow Lite interpolates in one table.

Sources: tensorflow/lite/kernels/internal/common.h (`sigmoid_table_uint16`), activations.cc
(`SigmoidPrepare`, `TanhPrepare`), internal/reference/integer_ops/{logistic,tanh}.h; for scales that are
powers of two the optimized kernels compute with gemmlowp instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics import gemmlowp

INTEGER_BITS = 3
"""Of inputs that gemmlowp's functions take: 1/4096 is their unit."""

TABLE: NDArray[np.int32] = np.asarray((
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794,
    41432, 42064, 42688, 43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443,
    48964, 49475, 49975, 50464, 50942, 51409, 51865, 52311, 52745, 53169, 53581, 53983, 54374,
    54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433, 57724, 58007, 58280, 58544,
    58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110, 61279,
    61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990,
    63090, 63186, 63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030,
    64090, 64148, 64204, 64257, 64308, 64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652,
    64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900, 64926, 64950, 64974, 64997, 65019,
    65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208, 65221, 65234,
    65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360,
    65367, 65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433,
    65438, 65442, 65445, 65449, 65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476,
    65479, 65481, 65483, 65485, 65488, 65489, 65491, 65493, 65495, 65497, 65498, 65500, 65501,
    65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513, 65514, 65515, 65516,
    65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
    65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529,
    65529, 65530, 65530, 65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532,
    65532, 65532, 65532, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65534, 65534,
    65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535,
), np.int32)  # fmt: skip
"""1 / (1 + exp(-i / 24)) * 65536, nearly, for i from 0."""

LAST = 254
"""The last interval of the table; beyond it the function is at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How one of the two functions reads the table.

    Attributes:
        bits: of the position within an interval.
        highest: beyond the table, with those bits.
        shifts: exponents of two, relative to 1/4096, that a scale may have to be computed by shifts.
    """

    bits: int
    highest: int
    shifts: tuple[int, ...]


CURVES: Mapping[str, Curve] = {
    "logistic": Curve(bits=9, highest=0x7FFF << 10, shifts=(0,)),
    "tanh": Curve(bits=8, highest=0xFFFF << 8, shifts=(0, 1)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Codes to steps of 1/(3 * 4096): `floor(code * factor + nudge)`.

    Attributes:
        factor: exact in float64.
        nudge: one half, or 0 where nothing is rounded.
        power: the exponent of a scale that is computed by shifts, else None.
    """

    factor: float
    nudge: float
    power: int | None


def steps_of(kind: str, scale: np.float32) -> Steps:
    """How a scale's codes become steps of the table."""
    exponent = math.log2(float(scale))
    nearest = round(exponent)
    power = nearest + 15 - INTEGER_BITS
    if abs(exponent - nearest) < 1e-3 and power in CURVES[kind].shifts:
        return Steps(factor=float(3 << power), nudge=0.0, power=power)
    multiplier, shift = float(scale) * 4096.0 * 3.0, 0
    while multiplier <= 32767.0 / 2.0 and shift <= 30:
        multiplier, shift = multiplier * 2, shift + 1
    return Steps(
        factor=math.ldexp(int(multiplier), -shift), nudge=0.5 if shift else 0.0, power=None
    )


def by_table(kind: str, codes: NDArray[np.integer], steps: Steps) -> NDArray[np.int16]:
    """Codes of the function, scale 1/32768."""
    curve = CURVES[kind]
    step = np.floor(codes.astype(np.float64) * steps.factor + steps.nudge).astype(np.int64)
    whole, part = np.abs(step) >> curve.bits, np.abs(step) & ((1 << curve.bits) - 1)
    index = np.minimum(whole, LAST)
    slope = TABLE[index + 1] - TABLE[index]
    value = (TABLE[index].astype(np.int64) << curve.bits) + part * slope
    value = np.where(whole > LAST, curve.highest, value)
    if kind == "logistic":
        half = 1 << 9
        value = np.where(step >= 0, value + half, (1 << 25) - value + half - 1) >> 10
    else:
        middle, half = 1 << 23, 1 << 7
        value = np.where(step >= 0, value - middle + half, middle - value + half - 1) >> 8
    return value.astype(np.int16)


def by_shifts(kind: str, codes: NDArray[np.integer], power: int) -> NDArray[np.int16]:
    """What the optimized kernels compute where a scale is a power of two."""
    wide = codes.astype(np.int64)
    if kind == "logistic":
        return gemmlowp.logistic(wide, INTEGER_BITS, 16).astype(np.int16)
    raised = gemmlowp.clipped(wide << power, 16)
    return gemmlowp.tanh(raised, INTEGER_BITS, 16).astype(np.int16)
