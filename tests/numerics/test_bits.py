from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2e_bridge.errors import UsageError
from w2e_bridge.graph.unpack import unpack
from w2e_bridge.numerics.bits import pack_rows, packed_bytes


@given(bits=st.sampled_from([1, 2, 4, 8]), count=st.integers(1, 70), seed=st.integers(0, 2**31))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_rows_pack_and_unpack(bits: int, count: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 1 << bits, (3, count), dtype=np.uint8)
    packed = pack_rows(codes, bits)
    assert packed.shape == (3, packed_bytes(count, bits))
    assert np.array_equal(unpack(packed, bits)[:, :count], codes)


def test_lowest_bits_come_first_and_spare_bits_are_zero() -> None:
    assert pack_rows(np.array([[1, 2, 3]], np.uint8), 4).tolist() == [[0x21, 0x03]]
    assert pack_rows(np.array([[1, 2, 3, 0, 1]], np.uint8), 2).tolist() == [[0b00_11_10_01, 1]]


def test_odd_widths_are_refused() -> None:
    with pytest.raises(UsageError, match="3 bits"):
        pack_rows(np.zeros((1, 8), np.uint8), 3)
