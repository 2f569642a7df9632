"""Sums over chunks equal sums over the whole, and every odd number is counted right."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from w2e_bridge.fidelity.metrics import Difference, values
from w2e_bridge.ir.tensor import plain_tensor

FLOATS = arrays(np.float32, 24, elements=st.floats(-1e6, 1e6, width=32))


@settings(derandomize=True, max_examples=60)
@given(a=FLOATS, b=FLOATS, keep=arrays(np.bool_, 24), cut=st.integers(0, 24))
def test_against_the_definitions(
    a: NDArray[np.float32], b: NDArray[np.float32], keep: NDArray[np.bool_], cut: int
) -> None:
    b = np.where(keep, a, b)
    gap = Difference()
    gap.add(a[:cut], b[:cut])
    gap.add(a[cut:], b[cut:])
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert (gap.count, gap.equal) == (24, int((x == y).sum()))
    assert gap.max_abs == np.abs(x - y).max()
    assert gap.rms == pytest.approx(np.sqrt(np.mean((x - y) ** 2)))
    if gap.error and gap.signal:
        assert gap.snr_db == pytest.approx(10 * np.log10((x**2).sum() / ((x - y) ** 2).sum()))


@pytest.mark.parametrize(
    ("a", "b", "equal", "bits", "worst"),
    [
        (0.0, -0.0, 1, 0, 0.0),
        (math.nan, math.nan, 1, 1, 0.0),
        (math.inf, math.inf, 1, 1, 0.0),
        (math.inf, -math.inf, 0, 0, math.inf),
        (math.nan, 1.0, 0, 0, math.inf),
        (1.0, math.inf, 0, 0, math.inf),
    ],
)
def test_odd_numbers(a: float, b: float, equal: int, bits: int, worst: float) -> None:
    gap = Difference()
    gap.add(np.array([a], np.float32), np.array([b], np.float32))
    assert (gap.equal, gap.same_bits, gap.max_abs) == (equal, bits, worst)


def test_the_ratio_has_its_limits() -> None:
    gap = Difference()
    assert (gap.snr_db, gap.rms) == (math.inf, 0.0)
    gap.add(np.zeros(2, np.float32), np.ones(2, np.float32))
    assert gap.snr_db == -math.inf


def test_integers_and_doubles_stay_exact() -> None:
    big = np.array([[2**62, 2**62 + 1]])
    assert values(plain_tensor("x", big), 0, 1).tolist() == big.tolist()
    double = np.array([[1.0 + 2**-40]])
    assert values(plain_tensor("x", double), 0, 1).tolist() == double.tolist()
    gap = Difference()
    gap.add(big, big + 1)
    assert (gap.equal, gap.same_bits) == (0, 0)
