"""Sub-byte codes packed into bytes, lowest bits first, each row padded to whole bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import UsageError


def packed_bytes(count: int, bits: int) -> int:
    """Bytes of a row of `count` codes of 1, 2, 4 or 8 bits."""
    return -(-count * bits // 8)


def pack_rows(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack unsigned codes, lowest bits first.

    Args:
        codes: (rows, count) uint8, each below 2**bits.
        bits: 1, 2, 4 or 8.

    Returns:
        (rows, ceil(count * bits / 8)) uint8; spare bits are 0.
    """
    if bits == 8:
        return codes
    if bits not in (1, 2, 4):
        raise UsageError(f"codes of {bits} bits have no byte-aligned packing")
    per_byte = 8 // bits
    spare = -codes.shape[-1] % per_byte
    if spare:
        codes = np.pad(codes, ((0, 0), (0, spare)))
    packed = np.ascontiguousarray(codes)
    width = bits
    while width < 8:
        packed = _pairs(packed, width)
        width *= 2
    return packed


def _pairs(codes: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    # Two neighbours read as one little-endian word: high code moves down onto the low one.
    words = codes.view("<u2")
    packed: NDArray[np.uint8] = (words | words >> np.uint16(8 - width)).astype(np.uint8)
    return packed
