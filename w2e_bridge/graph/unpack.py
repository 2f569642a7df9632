"""Codes out of packed bytes, lowest bits first, for every width there is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.parts import AnyArray

Bytes = NDArray[np.uint8]

_GROUP = 8  # so many codes fill whole bytes, whatever their width


def unpack(packed: Bytes, width: int, skip: int = 0) -> AnyArray:
    """Unsigned codes of `width` bits, low bits first; a rest of bits too few for a code is left out.

    Args:
        packed: (rows, bytes) uint8.
        width: of a code.
        skip: bits before the first code of each row.

    Returns:
        (rows, codes) in the smallest unsigned type.
    """
    if width % 8 == 0:
        return packed.view(f"<u{width // 8}")
    if width in (1, 2, 4) and skip % width == 0:
        return _of_bytes(packed, width)[:, skip // width :]
    if skip or width > 16 or not packed.size:
        return _bit_by_bit(packed, width, skip)
    return _grouped(packed, width)


def _of_bytes(packed: Bytes, width: int) -> Bytes:
    """The codes of each byte, in as many bytes: its halves move apart, and theirs, until codes are alone."""
    count = 8 // width
    word = np.ascontiguousarray(packed).astype(f"<u{count}")
    codes = count // 2
    while codes:
        lane, bits = 8 * codes, width * codes
        kept = sum(((1 << bits) - 1) << at for at in range(0, 8 * count, lane))
        word |= word << word.dtype.type(lane - bits)
        word &= word.dtype.type(kept)
        codes //= 2
    return word.view(np.uint8).reshape(packed.shape[0], packed.shape[1] * count)


def _grouped(packed: Bytes, width: int) -> AnyArray:
    """Eight codes are `width` bytes: these become a word, and the word the codes."""
    rows, size = packed.shape
    spare = -size % width
    whole = np.pad(packed, ((0, 0), (0, spare))) if spare else np.ascontiguousarray(packed)
    words = np.zeros(whole.size // width, [("codes", f"V{width}"), ("rest", f"V{16 - width}")])
    words["codes"] = whole.reshape(-1).view(f"V{width}")  # runs of bytes move faster than bytes
    codes = _spread(words, width) if width < 8 else _shifted(words, width)
    return codes.reshape(rows, (size + spare) // width * _GROUP)[:, : size * 8 // width]


def _spread(words: NDArray[np.void], width: int) -> Bytes:
    """Eight codes of fewer than 8 bits in the low bits of a word, to the eight bytes of a word.

    In three steps the word's halves move apart: 4 codes to 32 bits, 2 to 16, 1 to 8.
    """
    word = np.ascontiguousarray(words.view("<u8").reshape(-1, 2)[:, 0])
    for codes in (4, 2, 1):
        lane, bits = 8 * codes, width * codes
        low = sum(((1 << bits) - 1) << at for at in range(0, 64, 2 * lane))
        high = word & np.uint64((low << bits) & (1 << 64) - 1)
        high <<= np.uint64(lane - bits)
        word &= np.uint64(low)
        word |= high
    return word.view(np.uint8)


def _shifted(words: NDArray[np.void], width: int) -> AnyArray:
    """Eight codes of 9 to 15 bits, each cut out of the four bytes that it begins in."""
    count, mask = len(words), np.uint32((1 << width) - 1)
    codes = np.empty((count, _GROUP), np.uint16)
    for place in range(_GROUP):
        first = min(place * width // 8, 12)  # the last of the four bytes is the last of the word
        four: NDArray[np.uint32] = np.ndarray((count,), "<u4", words, first, (16,))
        codes[:, place] = four >> np.uint32(place * width - 8 * first) & mask
    return codes


def _bit_by_bit(packed: Bytes, width: int, skip: int) -> AnyArray:
    rows = packed.shape[0]
    bits = np.unpackbits(packed, axis=1, bitorder="little")[:, skip:]
    count = bits.shape[1] // width
    grouped = bits[:, : count * width].reshape(rows, count, width)
    size = 1 << (-(-width // 8) - 1).bit_length()  # bytes of the numpy type
    wide = np.zeros((rows, count, size), np.uint8)
    part = np.packbits(grouped, axis=2, bitorder="little")
    wide[:, :, : part.shape[2]] = part
    joined: AnyArray = wide.view(f"<u{size}")
    return joined.reshape(rows, count)
