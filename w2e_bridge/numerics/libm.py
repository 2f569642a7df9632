"""float32 functions as the C library of most Linux systems computes them, bit for bit.

LiteRT fills its tables with `tanhf`, `expm1f` and `erfcf` of the system. glibc up to 2.40 has those of
SunPro's fdlibm, which are up to two units of the last place off; since 2.41 they are correctly rounded.
One entry in some thousands of a table of 16-bit codes tells the two apart. The older ones are kept here,
so that a table is the same wherever it is made. `expf` and `logf` are those since glibc 2.27.
Sources: glibc, sysdeps/ieee754/flt-32/{s_erff,s_expm1f,s_tanhf}.c before 2.41 (fdlibm, 1993);
ARM-software/optimized-routines, math/{expf,logf}.c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Single = NDArray[np.float32]

EXP_STEPS = 32
EXP = tuple(
    map(float.fromhex, ("0x1.c6af84b912394p-5", "0x1.ebfce50fac4f3p-3", "0x1.62e42ff0c52d6p-1"))
)

LOG = tuple(
    map(float.fromhex, ("-0x1.00ea348b88334p-2", "0x1.5575b0be00b6ap-2", "-0x1.ffffef20a4123p-2"))
)
LOG_CENTRES = np.asarray([[float.fromhex(number) for number in pair.split()] for pair in (
    "0x1.661ec79f8f3bep+0 -0x1.57bf7808caadep-2", "0x1.571ed4aaf883dp+0 -0x1.2bef0a7c06ddbp-2",
    "0x1.49539f0f010bp+0 -0x1.01eae7f513a67p-2", "0x1.3c995b0b80385p+0 -0x1.b31d8a68224e9p-3",
    "0x1.30d190c8864a5p+0 -0x1.6574f0ac07758p-3", "0x1.25e227b0b8eap+0 -0x1.1aa2bc79c81p-3",
    "0x1.1bb4a4a1a343fp+0 -0x1.a4e76ce8c0e5ep-4", "0x1.12358f08ae5bap+0 -0x1.1973c5a611cccp-4",
    "0x1.0953f419900a7p+0 -0x1.252f438e10c1ep-5", "0x1p+0 0x0p+0",
    "0x1.e608cfd9a47acp-1 0x1.aa5aa5df25984p-5", "0x1.ca4b31f026aap-1 0x1.c5e53aa362eb4p-4",
    "0x1.b2036576afce6p-1 0x1.526e57720db08p-3", "0x1.9c2d163a1aa2dp-1 0x1.bc2860d22477p-3",
    "0x1.886e6037841edp-1 0x1.1058bc8a07ee1p-2", "0x1.767dcf5534862p-1 0x1.4043057b6ee09p-2",
)])  # fmt: skip
"""1 / c and log(c)."""

# expm1 on the primary range.
LN2_HIGH, LN2_LOW, PER_LN2 = (
    np.float32(0.69313812256),
    np.float32(9.0580006145e-06),
    np.float32(1.4426950216),
)
EXPM1 = (
    1.0,
    -3.3333335072e-02,
    1.5873016091e-03,
    -7.9365076090e-05,
    4.0082177293e-06,
    -2.0109921195e-07,
)

# erfc: a quotient of polynomials on each range of |x|.
ERF_ONE = np.float32(0.84506291151)
NEAR = (
    (1.2837916613e-01, -3.2504209876e-01, -2.8481749818e-02, -5.7702702470e-03, -2.3763017452e-05),
    (
        1.0,
        3.9791721106e-01,
        6.5022252500e-02,
        5.0813062117e-03,
        1.3249473704e-04,
        -3.9602282413e-06,
    ),
)  # below 0.84375
MIDDLE = (
    (-2.3621185683e-03, 4.1485610604e-01, -3.7220788002e-01, 3.1834661961e-01, -1.1089469492e-01,
     3.5478305072e-02, -2.1663755178e-03),
    (1.0, 1.0642088205e-01, 5.4039794207e-01, 7.1828655899e-02, 1.2617121637e-01, 1.3637083583e-02,
     1.1984500103e-02),
)  # below 1.25  # fmt: skip
FAR = (
    (-9.8649440333e-03, -6.9385856390e-01, -1.0558626175e01, -6.2375331879e01, -1.6239666748e02,
     -1.8460508728e02, -8.1287437439e01, -9.8143291473e00),
    (1.0, 1.9651271820e01, 1.3765776062e02, 4.3456588745e02, 6.4538726807e02, 4.2900814819e02,
     1.0863500214e02, 6.5702495575e00, -6.0424413532e-02),
)  # below 1 / 0.35  # fmt: skip
FARTHEST = (
    (-9.8649431020e-03, -7.9928326607e-01, -1.7757955551e01, -1.6063638306e02, -6.3756646729e02,
     -1.0250950928e03, -4.8351919556e02),
    (1.0, 3.0338060379e01, 3.2579251099e02, 1.5367296143e03, 3.1998581543e03, 2.5530502930e03,
     4.7452853394e02, -2.2440952301e01),
)  # below 28  # fmt: skip


def _polynomial(x: Single, coefficients: Sequence[float]) -> Single:
    result: Single = np.full(x.shape, coefficients[-1], np.float32)
    for coefficient in reversed(coefficients[:-1]):
        result = np.float32(coefficient) + x * result
    return result


def _quotient(x: Single, pair: tuple[Sequence[float], Sequence[float]]) -> Single:
    return _polynomial(x, pair[0]) / _polynomial(x, pair[1])


def expf(x: Single) -> Single:
    """The exponential: 2**(k/32) times a polynomial, in float64."""
    with np.errstate(all="ignore"):
        wide = np.clip(x.astype(np.float64), -1000, 1000) * (EXP_STEPS / math.log(2))
        step = np.rint(wide)
        rest = wide - step
        cubic, square, linear = (c / EXP_STEPS**n for c, n in zip(EXP, (3, 2, 1), strict=True))
        value = (cubic * rest + square) * (rest * rest) + (linear * rest + 1)
        result: Single = (value * np.exp2(step / EXP_STEPS)).astype(np.float32)
        return result


def logf(x: Single) -> Single:
    """The natural logarithm of numbers above 0: that of one of 16 centres, and a polynomial, in float64."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    # Centres lie between 0x1.66p-1 and twice that.
    small = mantissa < float.fromhex("0x1.66p-1")
    number = np.where(small, mantissa * 2, mantissa)
    power = np.where(small, exponent - 1, exponent)
    offset = np.float32(number).view(np.int32) - np.float32(float.fromhex("0x1.66p-1")).view(
        np.int32
    )
    inverse, log = LOG_CENTRES[offset >> 19].T
    rest = number * inverse - 1
    start = log + power * math.log(2)
    square = rest * rest
    value = LOG[0] * square + (LOG[1] * rest + LOG[2])
    result: Single = (value * square + (start + rest)).astype(np.float32)
    return result


def expm1f(x: Single) -> Single:
    """exp(x) - 1."""
    with np.errstate(all="ignore"):
        x = np.asarray(x, np.float32)
        size = np.abs(x)
        half = np.where(x >= 0, np.float32(0.5), np.float32(-0.5))
        power = np.trunc(PER_LN2 * x + half)
        power = np.where(size < np.float32(1.0397207), np.where(x >= 0, 1, -1), power)
        power = np.where(size <= np.float32(0.34657359), 0, power).astype(np.float32)
        high, low = x - power * LN2_HIGH, power * LN2_LOW
        rest = np.where(power == 0, x, high - low).astype(np.float32)
        lost = np.where(power == 0, 0, (high - rest) - low).astype(np.float32)
        result = _expm1(rest, lost, power.astype(np.int32))
        result = np.where(size < np.float32(2.0**-25), x, result)
        result = np.where(x <= np.float32(-18.714973), np.float32(-1), result)
        return np.where(x > np.float32(88.721679), np.float32(np.inf), result).astype(np.float32)


def _expm1(x: Single, lost: Single, power: NDArray[np.int32]) -> Single:
    one, two, half = np.float32(1), np.float32(2), np.float32(0.5)
    halved = half * x
    square = x * halved
    series = _polynomial(square, EXPM1)
    t = np.float32(3) - series * halved
    e = square * ((series - t) / (np.float32(6) - x * t))
    alone = x - (x * e - square)
    e = (x * (e - lost) - lost) - square
    below = half * (x - e) - half
    above = np.where(x < np.float32(-0.25), -two * (e - (x + half)), one + two * (x - e))
    small = np.ldexp(one - (e - x), power) - one
    left = np.ldexp(one, -np.clip(power, -100, 100))
    middle = np.ldexp((one - left) - (e - x), power)
    large = np.ldexp((x - (e + left)) + one, power)
    result = np.where(power < 23, middle, large)
    result = np.where((power <= -2) | (power > 56), small, result)
    for number, value in ((1, above), (-1, below), (0, alone)):
        result = np.where(power == number, value, result)
    return result.astype(np.float32)


def tanhf(x: Single) -> Single:
    """The hyperbolic tangent."""
    with np.errstate(all="ignore"):
        x = np.asarray(x, np.float32)
        size, one, two = np.abs(x), np.float32(1), np.float32(2)
        above, below = expm1f(two * size), expm1f(-two * size)
        value = np.where(size >= 1, one - two / (above + two), -below / (below + two))
        value = np.where(size >= 22, one, value)
        value = np.where(size < np.float32(2.0**-55), size, value)
        return np.copysign(value, x).astype(np.float32)


def erfcf(x: Single) -> Single:
    """The complement of the error function."""
    with np.errstate(all="ignore"):
        x = np.asarray(x, np.float32)
        size, one, two = np.abs(x), np.float32(1), np.float32(2)
        half = np.float32(0.5)
        product = x * _quotient(np.asarray(x * x, np.float32), NEAR)
        near = np.where(x < np.float32(0.25), one - (x + product), half - (product + (x - half)))
        ratio = _quotient(np.asarray(size - one, np.float32), MIDDLE)
        middle = np.where(x >= 0, (one - ERF_ONE) - ratio, one + (ERF_ONE + ratio))
        inverse = np.asarray(one / (size * size), np.float32)
        far = np.where(
            size < np.float32(2.857142686843872),
            _quotient(inverse, FAR),
            _quotient(inverse, FARTHEST),
        )
        short = (size.view(np.int32) & np.int32(-8192)).view(np.float32)
        tail = expf(-short * short - np.float32(0.5625)) * expf(
            (short - size) * (short + size) + far
        )
        tail = np.where(x > 0, tail / size, two - tail / size)
        tail = np.where(x <= -6, two, np.where(x >= 28, np.float32(0), tail))
        result = np.where(size < np.float32(1.25), middle, tail)
        return np.where(size < np.float32(0.84375), near, result).astype(np.float32)
