"""The rows against gguf-py's tables and against the core's idea of an encoding."""

from __future__ import annotations

import subprocess
import sys

import gguf
import numpy as np
import pytest

from tests.w2e_gguf.blocks.samples import random_blocks
from w2e_bridge.ir.codes import CodeMap, Integer, Table, VectorTable
from w2e_bridge.ir.encoding import WHOLE, Encoding
from w2e_bridge.ir.parts import Parts
from w2e_gguf.blocks.table import TYPES, GgmlType

ROWS = list(TYPES.values())

NOT_THE_BITS_OF_THE_ENCODING = {
    "IQ2_XXS", "IQ2_XS", "IQ3_XXS",  # eight signs in seven bits
    "TQ1_0",  # five codes in a byte
    "Q8_1", "Q8_K",  # sums
}  # fmt: skip


def _id(row: GgmlType) -> str:
    return row.name


def test_ids_and_names_are_those_of_gguf_py() -> None:
    ours = {row.id: row.name for row in ROWS if row.name != "Q2_0"}
    assert ours == {int(kind): kind.name for kind in gguf.GGMLQuantizationType}
    assert TYPES[42].name == "Q2_0"
    assert list(TYPES) == sorted(TYPES)


def test_sizes_are_those_of_gguf_py() -> None:
    sizes = {row.id: (row.elements, row.bytes) for row in ROWS}
    assert sizes.pop(42) == (64, 18)  # ggml-org/llama.cpp ggml/src/ggml-common.h block_q2_0
    assert sizes == {int(kind): size for kind, size in gguf.GGML_QUANT_SIZES.items()}


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_the_layout_says_what_the_row_says(row: GgmlType) -> None:
    layout = row.layout
    assert layout is row.layout
    assert (layout.name, layout.label) == (f"ggml.{row.name.lower()}", row.name)
    assert (layout.elements, layout.bytes) == (row.elements, row.bytes)
    bits = layout.encoding.bits_per_weight(row.elements)
    if row.name in NOT_THE_BITS_OF_THE_ENCODING:
        assert bits * row.elements != row.bytes * 8
    else:
        assert bits * row.elements == row.bytes * 8


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_every_field_is_packed(row: GgmlType) -> None:
    struct = row.codec.struct
    leaves = {
        f"{name}.{inner}" if inner else name
        for name in struct.names or ()
        for inner in struct[name].base.names or ("",)
    }
    parts = row.codec.columns.unpack(np.zeros(1, struct))
    assert leaves == {*row.codec.columns.pack(parts), *(name for name, _ in row.codec.derived)}


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_parts_have_the_shapes_and_types_of_the_encoding(row: GgmlType) -> None:
    packed = random_blocks(row, 3, 4)
    _check(row.layout.encoding, row.layout.unpack(packed), 4 * row.elements)


def _check(encoding: Encoding, parts: Parts, columns: int) -> None:
    codes = encoding.codes
    width = codes.width if isinstance(codes, VectorTable) else 1
    assert parts.codes.shape == (3, columns // width)
    assert parts.codes.flags.c_contiguous
    _check_range(codes, parts)
    signed = isinstance(codes, VectorTable) and codes.signs
    assert (parts.signs is not None) == signed
    if parts.signs is not None:
        assert parts.signs.dtype == np.dtype(np.uint8)
        assert parts.signs.shape == (3, columns // 8)
    assert (parts.scale is None) == (encoding.scale is None)
    if encoding.scale is not None and parts.scale is not None:
        assert encoding.row_block is not None
        assert encoding.row_block != WHOLE
        _check(encoding.scale, parts.scale, columns // encoding.row_block)
    offset = encoding.offset
    stored = offset is not None and offset.encoding is not None
    assert (parts.offset is not None) == stored
    if offset is not None and offset.encoding is not None and parts.offset is not None:
        (extent,) = offset.block or encoding.block or (1,)
        _check(offset.encoding, parts.offset, columns // extent)


def _check_range(codes: CodeMap, parts: Parts) -> None:
    if isinstance(codes, Integer):
        kind = np.dtype(f"{'i' if codes.signed else 'u'}{max(1, codes.bits // 8)}")
        assert parts.codes.dtype == kind
        assert codes.low <= parts.codes.min()
        assert parts.codes.max() <= codes.high
    elif isinstance(codes, Table):
        assert parts.codes.dtype == np.uint8
        assert parts.codes.max() < len(codes.values)
    elif isinstance(codes, VectorTable):
        assert parts.codes.dtype == (np.uint8 if codes.bits <= 8 else np.uint16)
        assert parts.codes.max() < len(codes.grid)
    else:
        assert parts.codes.dtype.name == codes.name


def test_a_file_of_q4_0_loads_no_codebook_and_no_ml_dtypes() -> None:
    script = """
import sys
import numpy as np
from w2e_gguf.blocks import codebooks, table
table.TYPES[2].layout.unpack(np.zeros((1, 1, 18), np.uint8))
assert codebooks.grids.cache_info().currsize == 0
assert "ml_dtypes" not in sys.modules
table.TYPES[16].layout
assert codebooks.grids.cache_info().currsize == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True)
