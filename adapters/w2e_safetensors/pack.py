"""Codes to the bytes of the canonical file: rows low bits first, padded to whole bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
    unsigned = typed.view(f"u{typed.itemsize}") & typed.dtype.type(0).view(
        f"u{typed.itemsize}"
    ).dtype.type((1 << part.bits) - 1)
    if part.bits in (1, 2, 4):
        return pack_rows(unsigned, part.bits)
    return (
        _packed_words(unsigned, part.bits) if part.bits < 8 else _packed_bits(unsigned, part.bits)
    )


def _packed_words(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes of fewer than 8 bits: eight of them in a word, of which `bits` bytes are used."""
    rows, columns = codes.shape
    spare = -columns % _GROUP
    wide = np.pad(codes, ((0, 0), (0, spare))).reshape(-1, _GROUP).astype(np.uint64)
    words = np.zeros(len(wide), "<u8")
    for place in range(_GROUP):
        words |= wide[:, place] << np.uint64(place * bits)
    row = words.view(np.uint8).reshape(-1, 8)[:, :bits].reshape(rows, -1)
    return np.ascontiguousarray(row[:, : -(-columns * bits // 8)])


def _packed_bits(codes: AnyArray, bits: int) -> NDArray[np.uint8]:
    """Codes of 9 bits and more, bit by bit: there are few of them."""
    rows = codes.shape[0]
    size = codes.itemsize
    octets = np.ascontiguousarray(codes).view(np.uint8).reshape(rows, -1, size)
    split = np.unpackbits(octets, axis=2, bitorder="little")[:, :, :bits]
    return np.packbits(split.reshape(rows, -1), axis=1, bitorder="little")
