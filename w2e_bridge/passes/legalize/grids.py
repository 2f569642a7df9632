"""Which quantization numbers may go through on the way to another one: never off by more than a step of that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer

COARSEST = 2.0
"""Half a step twice as wide is a whole one: what is rounded so first, and then once more, is at most one
code from what is rounded once."""

COARSEST_MEAN = 1.5
"""The same where kernels are off by a little more than half a step: XNNPACK's bilinear weights have 11 bits."""


def ends(q: ActivationQuantization) -> tuple[float, float]:
    """The least and the largest number that codes of one scale say."""
    assert isinstance(q.codes, Integer)
    assert q.scale is not None
    zero = 0 if q.zero_point is None else int(q.zero_point)
    scale = float(q.scale)
    return (q.codes.low - zero) * scale, (q.codes.high - zero) * scale


def steps(a: ActivationQuantization, b: ActivationQuantization) -> float:
    """The step of one in steps of the other."""
    assert a.scale is not None
    assert b.scale is not None
    return float(a.scale) / float(b.scale)


def holds(a: ActivationQuantization, b: ActivationQuantization) -> bool:
    """Whether one says all numbers that the other does, at least as finely.

    Numbers that are computed from others (means of them) may be anywhere between: where the ends of `a`
    cut some of those off, what comes out is wrong.
    """
    (low, high), (least, largest) = ends(a), ends(b)
    room = float(a.scale) / 2  # type: ignore[arg-type]
    return steps(a, b) <= 1 and low <= least + room and high >= largest - room


def passes(through: ActivationQuantization, to: ActivationQuantization, *, bounded: bool) -> bool:
    """Whether results of a kernel may be rounded to its quantization before they are to another.

    Args:
        through: the kernel's.
        to: the other.
        bounded: whether no number lies outside of the first.
    """
    within = bounded or ends(through)[0] <= ends(to)[0] + float(through.scale)  # type: ignore[arg-type]
    return within and steps(through, to) <= COARSEST


def near(first: ActivationQuantization, last: ActivationQuantization) -> bool:
    """Whether means of numbers of one quantization may be rounded to either of two, and then to the last."""
    return holds(last, first) or steps(first, last) <= COARSEST_MEAN


def wide(q: ActivationQuantization) -> ActivationQuantization:
    """Codes of 16 bits that say the numbers of signed codes of 8, and 127 between each two of them.

    They have no zero point, since kernels of 16 bits take none: 128 * (q - z) is at most 128 * 255.
    """
    assert q.scale is not None
    scale = np.asarray(q.scale, np.float32) / np.float32(128)
    return replace(q, codes=Integer(bits=16, signed=True), scale=scale, zero_point=None)
