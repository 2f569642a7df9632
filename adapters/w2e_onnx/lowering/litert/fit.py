"""Scales with which ONNX Runtime's quantized operators give the very codes that a table asks for.

QLinearAdd, QLinearMul and QLinearLeakyRelu compute in float32: with the model's own scales they
miss a few of a kernel's 65536 results by one, near halves. The scales that they are given need not
be the model's: a few steps of the last place away there are nearly always some with which every
result is right. What is found is checked against every pair of codes and every order in which the
operators may add on x86 (onnxruntime/core/mlas/lib: qladd.cpp, intrinsics/avx2/qladd_avx2.cpp,
qlmul.cpp; qlinear_lookup_table.cc of the contrib operators), with and without fused multiplication.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import divide_by_power

Table = NDArray[np.int64]
"""Codes from 0 on by codes from 0 on."""

Reals = NDArray[np.float32]

TRIES = 1024
STEPS = 12.0
"""How many scales are tried, and how far from the right ones, in steps of the last place."""

CHUNK = 32
"""Pairs of codes that are looked at together: most scales fail soon."""

NARROW = 2.0**-9
"""Results farther than this from a half are right anyway, if they are small."""

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The codes that stand along the rows and the columns of a table."""


def addition(
    table: Table, places: Places, ratios: tuple[float, float], zeros: tuple[int, int, int]
) -> tuple[np.float32, np.float32] | None:
    """Scales for QLinearAdd with an output scale of 1.

    Args:
        table: wanted codes, (rows, columns): first operand's code by second operand's.
        places: codes that the operands can have.
        ratios: of their scales to the output's; of what is subtracted negative.
        zeros: zero points of both and of the output (as uint8 codes).

    Returns:
        The scales of both operands, or None where none were found.
    """
    a, b, zero = (ratios[0], zeros[0]), (ratios[1], zeros[1]), zeros[2]
    x = places[0].astype(np.float64)[:, None]
    y = places[1].astype(np.float64)
    real = (x - a[1]) * a[0] + (y - b[1]) * b[0] + zero
    size = zero + 255 * (abs(a[0]) + abs(b[0]))
    near = _near(real, max(NARROW, size * 2.0**-18))
    rows, columns = np.nonzero(near)
    first, second = _around(a[0], 1), _around(b[0], 2)
    for start in range(0, rows.size, CHUNK):
        i, j = rows[start : start + CHUNK], columns[start : start + CHUNK]
        good = np.ones(first.size, bool)
        for result in _sums((x[i], y[j][:, None]), (first, second), zeros):
            good &= (_saturated(result) == table[i, j][:, None]).all(axis=0)
        first, second = first[good], second[good]
        if not first.size:
            return None
    return np.float32(first[0]), np.float32(second[0])


def _near(real: NDArray[np.float64], width: float) -> NDArray[np.bool_]:
    """Where a result may fall to either side of a half."""
    away = np.abs(real - np.floor(real) - 0.5)
    return np.asarray((away < width) & (real > -1) & (real < 256))


def _around(real: float, seed: int) -> Reals:
    """A number and others some steps of the last place away; the same in every run."""
    deviation = np.random.default_rng(seed).normal(size=TRIES) * STEPS
    steps = np.concatenate([[0], np.rint(deviation)]).astype(np.int32)
    return (np.float32(real).reshape(1).view(np.int32) + steps).view(np.float32)


def _saturated(result: Reals) -> Table:
    return np.clip(np.rint(result), 0, 255).astype(np.int64)


def _sums(
    codes: tuple[NDArray[np.float64], NDArray[np.float64]],
    scales: tuple[Reals, Reals],
    zeros: tuple[int, int, int],
) -> Iterator[Reals]:
    """What the ways to add come to, (pairs, scales); products are exact in float64."""
    single, double = np.float32, np.float64
    p, q = (c * s.astype(double) for c, s in zip(codes, scales, strict=True))
    rounded_p, rounded_q = p.astype(single), q.astype(single)
    for part in _constants(scales, zeros):
        wide = part.astype(double)
        fused_q = (q + wide).astype(single)
        yield (p + fused_q.astype(double)).astype(single)
        yield (part + rounded_p) + rounded_q
        yield (p + (part + rounded_q).astype(double)).astype(single)
        yield (q + (part + rounded_p).astype(double)).astype(single)
        yield (q + (p + wide).astype(single).astype(double)).astype(single)


def _constants(scales: tuple[Reals, Reals], zeros: tuple[int, int, int]) -> Iterator[Reals]:
    """The part of a sum that no code changes, as compilers may order it."""
    single, double = np.float32, np.float64
    a, b = (s.astype(double) * z for s, z in zip(scales, zeros, strict=False))
    first, second = a.astype(single), b.astype(single)
    zero = single(zeros[2])
    yield zero - (first + second)
    yield zero - (a + second.astype(double)).astype(single)
    yield zero - (b + first.astype(double)).astype(single)


def multiplication(
    table: Table, places: Places, ratio: float, zeros: tuple[int, int, int]
) -> np.float32 | None:
    """A scale for QLinearMul's first operand, the others' being 1; arguments as for `addition`."""
    x, y = places[0][:, None], places[1]
    product = ((x - zeros[0]) * (y - zeros[1])).astype(np.float64)
    real = product * ratio + zeros[2]
    near = _near(real, max(NARROW, 65025 * ratio * 2.0**-18))
    wanted, exact = table[near][:, None], product[near][:, None]
    scales = _around(ratio, 1)
    fused = (exact * scales.astype(np.float64) + zeros[2]).astype(np.float32)
    plain = (exact * scales.astype(np.float64)).astype(np.float32) + np.float32(zeros[2])
    good = np.logical_and(*((_saturated(r) == wanted).all(axis=0) for r in (fused, plain)))
    return np.float32(scales[np.argmax(good)]) if good.any() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """Two straight lines that meet in zero.

    Attributes:
        scale: of the numbers above, with an output scale of 1.
        alpha: factor of that below.
        bounded: whether results beyond the table's ends have to be cut off.
    """

    scale: np.float32
    alpha: np.float32
    bounded: bool = False


def rectifier(table: Table, zero: int, out_zero: int) -> Slopes | None:
    """What QLinearLeakyRelu has to be given, before bounds at the table's ends.

    Args:
        table: wanted codes, (256,).
        zero: the input's zero point (as uint8 codes).
        out_zero: the output's.
    """
    low, high = int(table.min()), int(table.max())
    codes, wanted, ends = np.arange(256) - zero, table - out_zero, (low - out_zero, high - out_zero)
    above = _slopes(codes[codes > 0], wanted[codes > 0], ends)
    below = _slopes(codes[codes < 0], wanted[codes < 0], ends)
    both = (max(above[0], below[0]), min(above[1], below[1]))
    for span, alpha in ((both, 1.0), (above, 0.0), (above, None)):
        scale = np.float32(_middle(*span))
        slope = alpha if alpha is not None or scale == 0 else _middle(*below) / np.float64(scale)
        factor = np.float32(slope or 0.0)
        real = codes.astype(np.float32) * scale
        real = np.where(real >= 0, real, factor * real)
        got = np.clip(np.rint(np.clip(real, -(2.0**20), 2.0**20)) + out_zero, 0, 255)
        if np.array_equal(np.clip(got, low, high), table):
            return Slopes(scale=scale, alpha=factor, bounded=not np.array_equal(got, table))
    return None


def _slopes(x: NDArray[np.int64], wanted: Table, ends: tuple[int, int]) -> tuple[float, float]:
    """Least and greatest slope that take numbers to the wanted ones; past the ends all is right."""
    if not x.size:
        return -np.inf, np.inf
    lower = np.where(wanted == ends[0], -np.inf, wanted - 0.5) / x
    upper = np.where(wanted == ends[1], np.inf, wanted + 0.5) / x
    return float(np.minimum(lower, upper).max()), float(np.maximum(lower, upper).min())


def _middle(least: float, most: float) -> float:
    if np.isinf(least) and np.isinf(most):
        return 1.0
    if np.isinf(most):
        return least + abs(least) + 1
    return most - abs(most) - 1 if np.isinf(least) else (least + most) / 2


def rounded_line(x: NDArray[np.int64], high: Table, shift: int) -> tuple[np.float32, ...] | None:
    """Float32 numbers by which whole ones are multiplied, and rounded after each, as a kernel does.

    Args:
        x: whole numbers.
        high: what the kernel's first multiplication makes of them.
        shift: bits by which it shifts that right, halves away from zero.

    Returns:
        One number or, with a shift, two; None where the results would differ.
    """
    known = x != 0
    ends = int(high.min()) - 1, int(high.max()) + 1
    scale = np.float32(_middle(*_slopes(x[known], high[known], ends)))
    made = np.rint(x.astype(np.float32) * scale)
    if not np.array_equal(made, high):
        return None
    if not shift:
        return (scale,)
    # A little more than the power of two: halves are rounded to even.
    last = np.float32(2.0**-shift) * np.float32(1 + 2.0**-20)
    right = np.array_equal(np.rint(made * last), divide_by_power(high, shift))
    return (scale, last) if right else None


def divisor(numbers: Reals, wanted: Table, most: int) -> np.float32 | None:
    """The scale with which QuantizeLinear makes the wanted codes of numbers above 0.

    Args:
        numbers: of any size.
        wanted: codes minus zero point.
        most: the greatest of them that there is.
    """
    upper = np.where(wanted == 0, np.inf, numbers / np.maximum(wanted - 0.5, 0.5)).min()
    lower = np.where(wanted == most, 0, numbers / (wanted + 0.5)).max()
    found = np.float32(_middle(float(lower), float(upper)))
    if not found > 0:
        return None
    got = np.minimum(np.rint(numbers / found), most)
    return found if np.array_equal(got, wanted) else None
