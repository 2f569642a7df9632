"""The unpacked arrays behind an encoding: codes, scale and offset, and their evaluation."""

from __future__ import annotations

from dataclasses import dataclass
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
            return parts.codes.astype(np.float32, copy=False)
        case Table():
            return codes.array()[parts.codes]
        case VectorTable():
            return signed_vectors(codes, parts).astype(np.float32)


def signed_vectors(codes: VectorTable, parts: Parts) -> NDArray[np.int8]:
    """The codebook entries with their signs, (rows, columns) int8."""
    rows = parts.codes.shape[0]
    values = codes.grid[parts.codes].reshape(rows, -1)
    if parts.signs is None:
        return values
    negative = np.unpackbits(parts.signs, axis=-1, bitorder="little").view(np.bool_)
    return np.where(negative, -values, values)


def spread(grid: NDArray[np.float32], columns: int, extent: int) -> NDArray[np.float32]:
    """A value per block repeated to a value per column: (rows, blocks) to (rows, columns)."""
    if extent in (0, columns) or grid.shape[-1] == 1:
        return np.broadcast_to(grid, (grid.shape[0], columns)) if grid.shape[-1] == 1 else grid
    if extent == 1:
        return grid
    return np.repeat(grid, extent, axis=-1)[:, :columns]


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
    columns = values.shape[-1]
    extent = 1 if encoding.block is None else encoding.block[-1]
    scale = spread(decode(encoding.scale, parts.scale), columns, extent)
    offset = _offset(encoding, parts, columns)
    kind = OffsetKind.BIAS if encoding.offset is None else encoding.offset.kind
    with np.errstate(all="ignore"):
        if offset is not None and kind.before_scale:
            values = values - offset
        values = values / scale if encoding.scale_divides else values * scale
        if offset is None or kind.before_scale:
            return values
        return values + offset if kind is OffsetKind.BIAS else values - offset


def _offset(encoding: Encoding, parts: Parts, columns: int) -> NDArray[np.float32] | None:
    offset = encoding.offset
    if offset is None:
        return None
    if offset.constant is not None:
        return np.full((1, 1), offset.constant, np.float32)
    if parts.offset is None or offset.encoding is None:
        return None
    block = encoding.block if offset.block is None else offset.block
    return spread(decode(offset.encoding, parts.offset), columns, 1 if block is None else block[-1])
