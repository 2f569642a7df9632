from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.samples import make_parts
from tests.graph.support import AnyArray
from w2e_bridge.graph.planes import (
    ArrayRange,
    Grid,
    Matrix,
    blocks,
    padded,
    plain_layout,
    plain_storage,
    sane,
)
from w2e_bridge.graph.unpack import unpack
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding
from w2e_bridge.ir.plain import PLAIN


def bitwise(packed: AnyArray, width: int, skip: int) -> list[list[int]]:
    """Codes of rows, bit by bit as the words of the format say: low bits first."""
    out = []
    for row in packed.tolist():
        bits = [byte >> place & 1 for byte in row for place in range(8)][skip:]
        codes = [bits[at : at + width] for at in range(0, len(bits) - width + 1, width)]
        out.append([sum(bit << place for place, bit in enumerate(code)) for code in codes])
    return out


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(1, 16), st.integers(0, 7), st.integers(0, 9), st.integers(0, 3))
def test_unpack_is_bit_by_bit(width: int, skip: int, size: int, rows: int) -> None:
    packed = np.random.default_rng(size).integers(0, 256, (rows, size)).astype(np.uint8)
    if width % 8 == 0 and (skip or size % (width // 8)):
        return  # whole bytes are never cut
    assert unpack(packed, width, skip).tolist() == bitwise(packed, width, skip)


@pytest.mark.parametrize("columns", [1, 3, 8])
@pytest.mark.parametrize("bits", [2, 4])
def test_rows_that_share_a_byte(bits: int, columns: int) -> None:
    codes = np.random.default_rng(1).integers(-(1 << bits - 1), 1 << bits - 1, (5, columns))
    flat = codes.reshape(-1) & (1 << bits) - 1
    stream = sum(int(code) << place * bits for place, code in enumerate(flat))
    data = np.frombuffer(stream.to_bytes(-(-flat.size * bits // 8), "little"), np.uint8)
    kind = Integer(bits=bits, signed=True)
    matrix = Matrix(
        source=ArrayRange(data=data), codes=kind, columns=columns, row_bits=columns * bits
    )
    assert matrix.rows(0, 5).tolist() == codes.tolist()
    assert matrix.rows(2, 4).tolist() == codes[2:4].tolist()
    assert matrix.rows(0, 5).dtype == np.int8


def test_floats_that_share_a_byte() -> None:
    data = np.array([0x21, 0xF0], np.uint8)
    matrix = Matrix(
        source=ArrayRange(data=data), codes=Float(name="float4_e2m1fn"), columns=2, row_bits=8
    )
    assert matrix.rows(0, 2).astype(np.float32).tolist() == [[0.5, 1.0], [0.0, -6.0]]


@settings(derandomize=True, max_examples=80, deadline=None)
@given(
    st.sampled_from([(4, 6), (6, 4, 5), (3, 2, 4, 3), (1, 7)]),
    st.lists(st.sampled_from([WHOLE, 1, 2, 3]), min_size=1, max_size=4),
    st.integers(0, 50),
)
def test_grid_rows_follow_the_blocks(shape: tuple[int, ...], block: list[int], seed: int) -> None:
    extents = padded(tuple(block[: len(shape)]), len(shape))
    small = blocks(shape, extents)
    numbers = np.arange(np.prod(small), dtype=np.float32)
    matrix = Matrix(
        source=ArrayRange(data=numbers.view(np.uint8)),
        codes=Float(name="float32"),
        columns=small[-1],
        row_bits=32 * small[-1],
    )
    grid = Grid(matrix=matrix, leading=shape[:-1], extents=extents[:-1])
    encoding = Encoding(codes=Integer(bits=4), block=extents, scale=FLOAT32)
    parts = make_parts(encoding, shape, 0)  # has the shape that is wanted
    rows = parts.codes.shape[0]
    start = seed % rows
    wide = numbers.reshape(small)
    for axis, extent in enumerate(extents[:-1]):
        wide = np.repeat(wide, extent or shape[axis], axis=axis)
        wide = np.take(wide, range(shape[axis]), axis=axis)
    expected = wide.reshape(rows, small[-1])[start:]
    found = grid.take(np.arange(start, rows)).codes
    assert found.shape[0] in (1, rows - start)
    assert np.array_equal(np.broadcast_to(found, expected.shape), expected)


@pytest.mark.parametrize("dtype", [d for d in PLAIN if plain_layout(d) is not None])
def test_plain_layouts_pack_what_they_unpack(dtype: str) -> None:
    layout = plain_layout(dtype)
    assert layout is not None
    assert layout.pack is not None
    raw = np.random.default_rng(0).integers(0, 256, (3, 5, layout.bytes)).astype(np.uint8)
    assert np.array_equal(layout.pack(layout.unpack(raw)), raw)


def test_an_empty_array_has_no_rows_to_read() -> None:
    storage = plain_storage(ArrayRange(data=np.empty(0, np.uint8)), "int4", (0, 3))
    assert storage.parts(0, 0).codes.shape == (0, 3)


@pytest.mark.parametrize(
    ("shape", "fine"),
    [
        ((), True),
        ((0, 5), True),
        ((-1,), False),
        ((1 << 40, 1 << 30), False),
        ((0, 1 << 40), False),
    ],
)
def test_shapes_that_there_can_be(shape: tuple[int, ...], fine: bool) -> None:
    assert sane(shape) is fine
