"""Which layouts may give back other bytes than there were is declared, and no other does."""

from __future__ import annotations

import numpy as np
import pytest

from w2e_gguf.blocks.table import TYPES, GgmlType


@pytest.mark.parametrize("row", TYPES.values(), ids=lambda row: row.name)
def test_random_bytes_come_back_unless_declared(row: GgmlType) -> None:
    random = np.random.default_rng(row.id)
    blocks = random.integers(0, 256, (1, 64, row.bytes), dtype=np.uint8)
    assert row.layout.pack is not None
    with np.errstate(all="ignore"):
        again = row.layout.pack(row.layout.unpack(blocks))
    assert np.array_equal(again, blocks) is not row.layout.redundant
