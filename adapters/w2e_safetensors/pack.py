"""Codes to the bytes of the canonical file: rows low bits first, padded to whole bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.plain import numpy_type
from w2e_bridge.numerics.bits import pack_rows
from w2e_safetensors.parts import Part

_GROUP = 8  # so many codes fill whole bytes, whatever their width


def packed(codes: AnyArray, part: Part) -> AnyArray:
    """The bytes of some rows of a part.

    Args:
        codes: (rows, columns) in the type that `Parts` has.
        part: what they are.

    Returns:
        (rows, row_bytes) uint8, or (rows, columns) in a type of whole bytes.
    """
    if part.codes is None:
        return codes
    typed = np.ascontiguousarray(codes).astype(numpy_type(Encoding(codes=part.codes)), copy=False)
    if part.bits % 8 == 0:
        return typed
    unsigned = typed.view(f"u{typed.itemsize}")
    if isinstance(part.codes, Integer) and part.codes.signed:
        unsigned = unsigned & unsigned.dtype.type((1 << part.bits) - 1)
    if part.bits in (1, 2, 4):
        return pack_rows(unsigned, part.bits)
    return _grouped(unsigned, part.bits) if part.bits <= 16 else _bit_by_bit(unsigned, part.bits)


def _grouped(codes: AnyArray, bits: int) -> NDArray[np.uint8]:
    """Eight codes become a word, of which `bits` bytes are used."""
    rows, columns = codes.shape
    spare = -columns % _GROUP
    whole = np.pad(codes, ((0, 0), (0, spare))) if spare else codes
    words = (
        _joined(whole.reshape(-1), bits) if bits < 8 else _shifted(whole.reshape(-1, _GROUP), bits)
    )
    # runs of bytes move faster than bytes
    runs = np.ascontiguousarray(words["codes"]).view(np.uint8).reshape(rows, -1)
    return np.ascontiguousarray(runs[:, : -(-columns * bits // 8)])


def _joined(codes: NDArray[np.uint8], bits: int) -> NDArray[np.void]:
    """Eight bytes to the low bits of a word: in three steps neighbours move together."""
    word = codes.view("<u8")
    for count in (1, 2, 4):
        lane, width = 8 * count, bits * count
        low = sum(((1 << width) - 1) << at for at in range(0, 64, 2 * lane))
        high = word >> np.uint64(lane - width)
        high &= np.uint64((low << width) & (1 << 64) - 1)
        word = word & np.uint64(low)
        word |= high
    return word.view([("codes", f"V{bits}"), ("rest", f"V{8 - bits}")])


def _shifted(codes: AnyArray, bits: int) -> NDArray[np.void]:
    """Eight codes of 9 to 15 bits to two words."""
    words = np.zeros((len(codes), 2), "<u8")
    for place in range(_GROUP):
        at, code = place * bits, codes[:, place].astype(np.uint64)
        words[:, at // 64] |= code << np.uint64(at % 64)
        if at % 64 + bits > 64:  # the code begins in the first word and ends in the second
            words[:, 1] |= code >> np.uint64(64 - at % 64)
    return words.view([("codes", f"V{bits}"), ("rest", f"V{16 - bits}")]).reshape(-1)


def _bit_by_bit(codes: AnyArray, bits: int) -> NDArray[np.uint8]:
    rows = codes.shape[0]
    octets = np.ascontiguousarray(codes).view(np.uint8).reshape(rows, -1, codes.itemsize)
    split = np.unpackbits(octets, axis=2, bitorder="little")[:, :, :bits]
    return np.packbits(split.reshape(rows, -1), axis=1, bitorder="little")
