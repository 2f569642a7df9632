"""Columns against one-bit-at-a-time definitions."""

from __future__ import annotations

import numpy as np
import pytest

from w2e_gguf.blocks.columns import Column, Planes, SideBySide, Slices, joined
from w2e_gguf.blocks.fields import Fields, put, struct, take

ALL_BITS = (0, 1, 2, 3, 4, 5, 6, 7)


def _fields(*, n: int = 5) -> Fields:
    record = struct(a="16u1", b="<u2", c="3<u4", inner=(struct(d="u1", e="4u1"), 2))
    count = n * record.itemsize
    return np.random.default_rng(3).integers(0, 256, count, dtype=np.uint8).view(record)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("run", [1, 2, 4, 8, 16])
def test_planes(bits: int, run: int) -> None:
    fields = _fields()
    count = 8 // bits
    expected = [
        [
            int(block[start + j]) >> bits * plane & (1 << bits) - 1
            for start in range(0, 16, run)
            for plane in range(count)
            for j in range(run)
        ]
        for block in fields["a"]
    ]
    found = Planes("a", bits, run).unpack(fields)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("name", "bits", "shifts"),
    [
        ("a", 8, (0,)),
        ("a", 4, (4,)),
        ("a", 3, (0, 4)),
        ("a", 1, ALL_BITS),
        ("b", 9, (0,)),
        ("b", 3, (0, 3, 6, 9)),
        ("c", 7, (0, 7, 14, 21)),
        ("c", 4, (28,)),
        ("inner.e", 2, (0, 2, 4, 6)),
        ("inner.d", 8, (0,)),
    ],
)
def test_slices(name: str, bits: int, shifts: tuple[int, ...]) -> None:
    fields = _fields()
    words = take(fields, name).reshape(len(fields), -1)
    expected = [
        [int(word) >> shift & (1 << bits) - 1 for word in block for shift in shifts]
        for block in words
    ]
    found = Slices(name, bits, shifts).unpack(fields)
    assert found.dtype == (np.uint8 if bits <= 8 else np.uint16)
    np.testing.assert_array_equal(found, expected)


def test_joined_bits_make_signed_codes() -> None:
    low, high = Planes("a", 4, 16), Planes("a", 4, 8)
    codes = joined(low, high, low=-100).unpack(_fields())
    assert codes.dtype == np.int8
    expected = low.unpack(_fields()).astype(int) + 16 * high.unpack(_fields()).astype(int) - 100
    np.testing.assert_array_equal(codes, expected.astype(np.int8))


def test_joined_bits_make_wide_codes() -> None:
    fields = _fields()
    codes = joined(Slices("a", 8), Slices("a", 3, (5,))).unpack(fields)
    assert codes.dtype == np.uint16
    expected = fields["a"].astype(int) + 256 * (fields["a"] >> 5).astype(int)
    np.testing.assert_array_equal(codes, expected)


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (("a",), Planes("a", 2, 4)),
        (("a",), Slices("a", 1, ALL_BITS)),
        (("b",), Slices("b", 4, (12, 0, 4, 8))),
        (("a",), joined(Planes("a", 4, 16), low=-8)),
        (("a",), joined(Slices("a", 4, (4,)), Slices("a", 4, (0,)), low=-128)),
        (("c",), SideBySide((Slices("c", 7), Slices("c", 25, (7,))), (3, 3))),
        (("inner.e", "inner.d"), SideBySide((Slices("inner.e", 8), Slices("inner.d", 8)), (8, 2))),
    ],
)
def test_what_a_column_takes_it_puts_back(names: tuple[str, ...], column: Column) -> None:
    fields = _fields()
    again = np.zeros(len(fields), fields.dtype)
    content = column.pack(column.unpack(fields))
    assert set(content) == set(names)
    for name, values in content.items():
        put(again, name, values)
        np.testing.assert_array_equal(take(again, name), take(fields, name))
