"""Bytes unpacked and packed again."""

from __future__ import annotations

from dataclasses import replace

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.w2e_gguf.blocks.samples import (
    BY_NAME,
    HALVES,
    REDUNDANT,
    Bytes,
    assert_same,
    assert_same_parts,
    half_fields,
    random_blocks,
    with_half,
)
from w2e_bridge.ir.parts import Parts, decode
from w2e_gguf.blocks.table import TYPES, GgmlType

QUANTIZED_BY_ORACLE = (
    "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4",
)  # fmt: skip


def _id(row: GgmlType) -> str:
    return row.name


def _again(row: GgmlType, packed: Bytes) -> Bytes:
    assert row.layout.pack is not None
    return row.layout.pack(row.layout.unpack(packed))


@pytest.mark.parametrize("row", [r for r in TYPES.values() if r.name not in REDUNDANT], ids=_id)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_byte_comes_back(row: GgmlType, data: st.DataObject) -> None:
    rows, blocks = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 5))
    packed = random_blocks(row, rows, blocks, data.draw(st.integers(0, 999)))
    for name in half_fields(row):
        packed = with_half(row, packed, name, data.draw(st.sampled_from(HALVES)))
    np.testing.assert_array_equal(_again(row, packed), packed)


@pytest.mark.parametrize("name", QUANTIZED_BY_ORACLE)
@pytest.mark.parametrize("scale", [0.0, 1e-7, 1.0, 1e3])
def test_what_gguf_py_quantizes_comes_back(name: str, scale: float) -> None:
    row = BY_NAME[name]
    weights = np.random.default_rng(7).standard_normal((4, 512)).astype(np.float32)
    with np.errstate(all="ignore"):
        kind = gguf.GGMLQuantizationType(row.id)
        packed = gguf.quants.quantize(weights * np.float32(scale), kind).reshape(4, -1, row.bytes)
    np.testing.assert_array_equal(_again(row, packed), packed)


def test_tq1_0_bytes_fall_into_the_groups_that_are_written() -> None:
    row = BY_NAME["TQ1_0"]
    packed = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], row.bytes, axis=2)
    packed[..., -2:] = (0, 0x3C)
    again = _again(row, packed)
    five, four = again[:, 0, :48], again[:, 0, 48:52]
    assert len(np.unique(five)) == 3**5
    assert len(np.unique(four)) == 3**4
    assert (five == five[:, :1]).all()
    encoding = row.layout.encoding
    assert_same(
        decode(encoding, row.layout.unpack(again)), decode(encoding, row.layout.unpack(packed))
    )
    np.testing.assert_array_equal(_again(row, again), again)


@pytest.mark.parametrize(("name", "field", "group"), [("Q8_1", "s", 32), ("Q8_K", "bsums", 16)])
def test_sums_are_computed_as_the_quantizer_does(name: str, field: str, group: int) -> None:
    row = BY_NAME[name]
    packed = random_blocks(row, 2, 3)
    fields = packed.reshape(-1).view(row.codec.struct)
    fields["d"] = (0.5, -0.25, 0.0, 1e-3, 3e30, 7.0)
    again = _again(row, packed).reshape(-1).view(row.codec.struct)
    sums = fields["qs"].astype(np.int32).reshape(6, -1, group).sum(axis=2)
    expected = sums[:, 0].astype(np.float32) * fields["d"] if name == "Q8_1" else sums
    np.testing.assert_array_equal(again[field], expected)
    fields[field] = expected
    np.testing.assert_array_equal(_again(row, packed), packed)


@pytest.mark.parametrize("row", TYPES.values(), ids=_id)
def test_the_input_is_left_alone(row: GgmlType) -> None:
    packed = random_blocks(row, 1, 1)
    packed.setflags(write=False)
    parts = row.layout.unpack(packed)
    twin = row.layout.unpack(packed.copy())
    _again(row, packed)
    assert_same_parts(parts, twin)
    np.testing.assert_array_equal(packed, random_blocks(row, 1, 1))


@pytest.mark.parametrize("row", TYPES.values(), ids=_id)
def test_strides_do_not_matter(row: GgmlType) -> None:
    packed = random_blocks(row, 6, 4)
    sparse = packed[::2, 1:]
    assert_same_parts(row.layout.unpack(sparse), row.layout.unpack(sparse.copy()))


def test_one_row_of_scales_serves_all_rows() -> None:
    layout = BY_NAME["Q4_0"].layout
    parts = layout.unpack(random_blocks(BY_NAME["Q4_0"], 3, 4))
    assert parts.scale is not None
    assert layout.pack is not None
    first = parts.scale.codes[:1]
    packed = layout.pack(replace(parts, scale=Parts(codes=first)))
    again = layout.unpack(packed)
    assert again.scale is not None
    np.testing.assert_array_equal(again.codes, parts.codes)
    np.testing.assert_array_equal(
        again.scale.codes.view(np.uint16), np.repeat(first.view(np.uint16), 3, axis=0)
    )


def test_codes_and_scales_are_cast_to_the_type_of_the_field() -> None:
    layout = BY_NAME["Q4_0"].layout
    codes = np.arange(-8, 8, dtype=np.int64).repeat(2).reshape(1, 32)
    scale = np.array([[0.1]], np.float64)
    assert layout.pack is not None
    again = layout.unpack(layout.pack(Parts(codes=codes, scale=Parts(codes=scale))))
    assert again.scale is not None
    np.testing.assert_array_equal(again.codes, codes)
    assert again.scale.codes[0, 0] == np.float16(0.1)
