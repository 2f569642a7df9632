"""Shifts and masks over arrays of unsigned codes."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from w2e_gguf.blocks.fields import AnyArray


def mask(bits: int) -> int:
    """The lowest `bits` bits set."""
    return (1 << bits) - 1


def unsigned(bits: int) -> np.dtype[Any]:
    """The smallest unsigned type of at least `bits` bits, at most 32."""
    return np.dtype(np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32)


def left(codes: AnyArray, by: int) -> AnyArray:
    """`code << by` of contiguous codes that lose no bit by it."""
    words = _words(codes)
    return _like(words << words.dtype.type(by), codes)


def right(codes: AnyArray, by: int, bits: int) -> AnyArray:
    """The `bits` bits of contiguous codes from bit `by` on."""
    words = _words(codes)
    shifted = words >> words.dtype.type(by)
    ones = mask(bits).to_bytes(codes.itemsize, "little") * (words.itemsize // codes.itemsize)
    shifted &= words.dtype.type(int.from_bytes(ones, "little"))
    return _like(shifted, codes)


def slices(words: AnyArray, bits: int, shifts: tuple[int, ...]) -> AnyArray:
    """The `bits` bits from each of the shifts on, (…) to (…, shifts)."""
    if words.dtype == np.uint8 and len(shifts) > 1:
        table = _slices_of_bytes(bits, shifts)
        return np.take(table, words).view(np.uint8).reshape(*words.shape, len(shifts))
    return _slices(words, bits, shifts)


def _slices(words: AnyArray, bits: int, shifts: tuple[int, ...]) -> AnyArray:
    word = words.dtype.type
    out = np.empty((*words.shape, len(shifts)), unsigned(bits))
    for index, shift in enumerate(shifts):
        out[..., index] = (words >> word(shift)) & word(mask(bits))
    return out


@lru_cache(maxsize=32)
def _slices_of_bytes(bits: int, shifts: tuple[int, ...]) -> AnyArray:
    """The slices of each of the 256 bytes side by side in one word, (256,)."""
    table = _slices(np.arange(256, dtype=np.uint8), bits, shifts)
    return table.view(f"u{len(shifts)}").reshape(256)


def _words(codes: AnyArray) -> AnyArray:
    # eight bytes at a time: numpy's shifts of bytes are many times slower than those of words
    return codes.reshape(-1).view(f"u{math.gcd(codes.nbytes, 8)}")


def _like(words: AnyArray, codes: AnyArray) -> AnyArray:
    return words.view(codes.dtype).reshape(codes.shape)
