"""The unpacked arrays behind an encoding: codes, scale and offset, and their evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.codes import CodeMap, Float, Integer, Table, VectorTable
from w2e_bridge.ir.encoding import Encoding, OffsetKind

AnyArray = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """The arrays of some rows of a tensor, every tensor seen as a matrix of (rows, columns).

    Attributes:
        codes: (rows, columns), one code an element in the smallest numpy type that holds it (int8,
            uint8, int16, …; floats in their own type); of a `VectorTable` (rows, columns / width),
            unsigned.
        signs: of a `VectorTable` with signs: (rows, columns / 8) uint8, bit i (lowest first) set where
            weight i of the eight is negative; else None.
        scale: parts of the scales, codes (rows or 1, blocks).
        offset: parts of the offsets, likewise; None where there is none or it is a constant.
    """

    codes: AnyArray
    signs: NDArray[np.uint8] | None = None
    scale: Parts | None = None
    offset: Parts | None = None


def numbers(codes: CodeMap, parts: Parts) -> NDArray[np.float32]:
    """What the codes mean before scaling, as float32, (rows, columns)."""
    match codes:
        case Integer() | Float():
            if parts.codes.dtype == np.float16:
                return _of_halves().take(parts.codes.view(np.uint16), mode="clip")
            with np.errstate(all="ignore"):
                return parts.codes.astype(np.float32, copy=False)
        case Table():
            return np.take(codes.array(), parts.codes)
        case VectorTable():
            return signed_vectors(codes, parts).astype(np.float32)


@cache
def _of_halves() -> NDArray[np.float32]:
    """The float32 of each float16, by its bits: numpy computes one after another, subnormal ones in 20 ns."""
    with np.errstate(all="ignore"):
        return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def signed_vectors(codes: VectorTable, parts: Parts) -> NDArray[np.int8]:
    """The codebook entries with their signs, (rows, columns) int8."""
    rows = parts.codes.shape[0]
    # An entry of 1, 2, 4 or 8 bytes is looked up as one integer.
    entries = codes.grid.view(f"u{codes.width}").reshape(-1)
    values: NDArray[np.int8] = np.take(entries, parts.codes).view(np.int8).reshape(rows, -1)
    if parts.signs is None:
        return values
    negative = -np.unpackbits(parts.signs, axis=-1, bitorder="little").view(np.int8)  # 0 or -1
    values ^= negative
    values -= negative
    return values


def decode(encoding: Encoding, parts: Parts) -> NDArray[np.float32]:
    """The float32 values of some rows, in the evaluation order that is part of the encoding.

    Args:
        encoding: how they are stored.
        parts: their arrays, (rows, columns).

    Returns:
        (rows, columns) float32; each product and sum rounded once. Overflow and NaN as IEEE 754 has it.
    """
    values = numbers(encoding.codes, parts)
    if encoding.scale is None or parts.scale is None:
        return values
    if isinstance(encoding.codes, Float):
        values = values.copy()  # it may be the stored array itself
    extent = 1 if encoding.block is None else encoding.block[-1]
    scale = decode(encoding.scale, parts.scale)
    offset, own = _offset(encoding, parts)
    before = encoding.offset is not None and encoding.offset.kind.before_scale
    negative = encoding.offset is not None and encoding.offset.kind is OffsetKind.NEGATIVE_BIAS
    with np.errstate(all="ignore"):
        if offset is not None and before:
            _by_block(np.subtract, values, offset, own)
        _by_block(np.divide if encoding.scale_divides else np.multiply, values, scale, extent)
        if offset is not None and not before:
            _by_block(np.subtract if negative else np.add, values, offset, own)
    return values


def _by_block(
    operation: np.ufunc, values: NDArray[np.float32], grid: NDArray[np.float32], extent: int
) -> None:
    """Values op= grid, where each grid value serves `extent` columns; in place, nothing repeated."""
    columns = values.shape[-1]
    if extent in (0, 1, columns) or grid.shape[-1] == 1:
        operation(values, grid, out=values)
    elif columns % extent == 0:
        blocks = values.reshape(values.shape[0], -1, extent)  # a view
        operation(blocks, grid[..., None], out=blocks)
    else:  # the last block is short
        operation(values, np.repeat(grid, extent, axis=-1)[:, :columns], out=values)


def _offset(encoding: Encoding, parts: Parts) -> tuple[NDArray[np.float32] | None, int]:
    """The offsets and the columns that each serves."""
    offset = encoding.offset
    if offset is None:
        return None, 1
    if offset.constant is not None:
        return np.full((1, 1), offset.constant, np.float32), 1
    if parts.offset is None or offset.encoding is None:
        return None, 1
    block = encoding.block if offset.block is None else offset.block
    return decode(offset.encoding, parts.offset), 1 if block is None else block[-1]
