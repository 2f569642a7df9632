"""Blocks to try, and the oracle to judge them."""

from __future__ import annotations

from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.parts import Parts
from w2e_gguf.blocks.table import TYPES, GgmlType

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

BY_NAME = {row.name: row for row in TYPES.values()}

UNKNOWN_TO_ORACLE = {"Q8_1", "Q8_K", "Q1_0", "Q2_0", "I8", "I16", "I32", "I64", "F64"}
JUDGED = [row for row in TYPES.values() if row.name not in UNKNOWN_TO_ORACLE]

REDUNDANT = {"Q8_1", "Q8_K", "TQ1_0"}
"""Types with byte patterns that no quantizer writes and that don't come back."""

HALVES = (0x0000, 0x8000, 0x3C00, 0xBC00, 0x0001, 0x83FF, 0x7BFF, 0xFC00, 0x7C00, 0x7E01, 0xFD55)
"""float16: 0, -0, 1, -1, subnormal, largest, -inf, inf, two NaN with payload, one of them signalling."""


def random_blocks(row: GgmlType, rows: int, blocks: int, seed: int = 0) -> Bytes:
    """Random bytes, (rows, blocks, bytes)."""
    rng = np.random.default_rng([seed, row.id])
    return rng.integers(0, 256, (rows, blocks, row.bytes), dtype=np.uint8)


def half_fields(row: GgmlType) -> list[str]:
    """The fields of a block that are one float16."""
    struct = row.codec.struct
    halves = [name for name in struct.names or () if struct[name] == np.float16]
    return [*halves, "scattered"] if row.name == "IQ1_M" else halves


def with_half(row: GgmlType, packed: Bytes, name: str, bits: int) -> Bytes:
    """The same blocks with a float16 replaced by one of the given bits."""
    out = packed.copy()
    fields = out.reshape(-1).view(row.codec.struct)
    if name == "scattered":
        nibbles = np.array([bits >> 4 * index & 15 for index in range(4)], np.uint16)
        fields["scales"] = fields["scales"] & 0x0FFF | nibbles << 12
    else:
        fields[name] = np.uint16(bits).view(np.float16)
    return out


def oracle(row: GgmlType, packed: Bytes) -> Floats:
    """What gguf-py reads, (rows, columns)."""
    kind = gguf.GGMLQuantizationType(row.id)
    with np.errstate(all="ignore"):
        values: Floats = gguf.quants.dequantize(packed.reshape(len(packed), -1), kind)
    return values


def assert_same(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Every value has the bits of the other or both are NaN."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.float32
    equal = found.view(np.uint32) == np.ascontiguousarray(expected).view(np.uint32)
    assert np.all(equal | np.isnan(found) & np.isnan(expected))


def assert_same_parts(found: Parts | None, expected: Parts | None) -> None:
    """Every array has the same type, shape and bytes."""
    if found is None or expected is None:
        assert found is expected
        return
    for left, right in ((found.codes, expected.codes), (found.signs, expected.signs)):
        if left is None or right is None:
            assert left is right
        else:
            assert (left.dtype, left.shape) == (right.dtype, right.shape)
            assert left.tobytes() == right.tobytes()
    assert_same_parts(found.scale, expected.scale)
    assert_same_parts(found.offset, expected.offset)
