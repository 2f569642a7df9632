"""Decoded blocks against gguf-py, and against plain definitions where it has none."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.w2e_gguf.blocks.samples import (
    BY_NAME,
    HALVES,
    JUDGED,
    UNKNOWN_TO_ORACLE,
    Bytes,
    assert_same,
    half_fields,
    oracle,
    random_blocks,
    with_half,
)
from w2e_bridge.ir.parts import decode
from w2e_gguf.blocks.table import TYPES, GgmlType


def _id(row: GgmlType) -> str:
    return row.name


@pytest.mark.parametrize("row", JUDGED, ids=_id)
def test_random_bytes_decode_as_gguf_py_decodes_them(row: GgmlType) -> None:
    packed = random_blocks(row, 3, 4 if row.elements > 1 else 64)
    assert_same(decode(row.layout.encoding, row.layout.unpack(packed)), oracle(row, packed))


@pytest.mark.parametrize("row", [row for row in JUDGED if half_fields(row)], ids=_id)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_scale_decodes_as_gguf_py_decodes_it(row: GgmlType, data: st.DataObject) -> None:
    packed = random_blocks(row, 2, 2, data.draw(st.integers(0, 999)))
    for name in half_fields(row):
        packed = with_half(row, packed, name, data.draw(st.sampled_from(HALVES)))
    assert_same(decode(row.layout.encoding, row.layout.unpack(packed)), oracle(row, packed))


@pytest.mark.parametrize("name", ["MXFP4", "NVFP4"])
def test_every_byte_of_an_eight_bit_scale(name: str) -> None:
    row = BY_NAME[name]
    packed = random_blocks(row, 1, 256)
    packed[0, :, : 1 if name == "MXFP4" else 4] = np.arange(256)[:, None]
    assert_same(decode(row.layout.encoding, row.layout.unpack(packed)), oracle(row, packed))


Values = Sequence[float]


def _q8_1(block: bytes) -> Values:
    d, _, *codes = struct.unpack("<ff32b", block)
    return [float(np.float32(code) * np.float32(d)) for code in codes]


def _q8_k(block: bytes) -> Values:
    d, *codes = struct.unpack("<f256b", block[:260])
    return [float(np.float32(code) * np.float32(d)) for code in codes]


def _q1_0(block: bytes) -> Values:
    (d,) = struct.unpack("<e", block[:2])
    return [d if block[2 + j // 8] >> j % 8 & 1 else -d for j in range(128)]


def _q2_0(block: bytes) -> Values:
    (d,) = struct.unpack("<e", block[:2])
    return [((block[2 + j // 4] >> 2 * (j % 4) & 3) - 1) * d for j in range(64)]


DEFINITIONS: dict[str, Callable[[bytes], Values]] = {
    "Q8_1": _q8_1,
    "Q8_K": _q8_k,
    "Q1_0": _q1_0,
    "Q2_0": _q2_0,
    "I8": lambda block: struct.unpack("<b", block),
    "I16": lambda block: struct.unpack("<h", block),
    "I32": lambda block: struct.unpack("<i", block),
    "I64": lambda block: struct.unpack("<q", block),
    "F64": lambda block: struct.unpack("<d", block),
}


def _finite(row: GgmlType, packed: Bytes) -> Bytes:
    # Scales of moderate size, so that Python's floats have no trouble with them.
    fields = packed.reshape(-1).view(row.codec.struct)
    for name in row.codec.struct.names or ():
        if row.codec.struct[name].kind == "f":
            fields[name] = np.linspace(-3, 3, len(fields))
    return packed


@pytest.mark.parametrize("name", DEFINITIONS)
def test_types_unknown_to_gguf_py_decode_by_definition(name: str) -> None:
    row = BY_NAME[name]
    packed = _finite(row, random_blocks(row, 2, 5))
    expected = [[DEFINITIONS[name](block.tobytes()) for block in line] for line in packed]
    with np.errstate(over="ignore"):
        found = decode(row.layout.encoding, row.layout.unpack(packed))
    assert_same(found, np.array(expected).astype(np.float32).reshape(2, -1))


def test_every_type_has_a_judge() -> None:
    assert set(DEFINITIONS) == UNKNOWN_TO_ORACLE
    assert len(JUDGED) + len(DEFINITIONS) == len(TYPES)
