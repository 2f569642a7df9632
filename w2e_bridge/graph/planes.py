"""Lazy storages over bytes: rows of packed codes, and grids of scales and offsets behind them.

Low bits come first, in ONNX (onnx/onnx docs/docsource/technical/int4.md), in ONNX Runtime's contributed
operators (docs/ContribOperators.md, MatMulNBits) and in the canonical file alike. Nothing here is shared
with the code that packs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.graph.unpack import unpack
from w2e_bridge.ir.codes import CodeMap, Integer
from w2e_bridge.ir.encoding import WHOLE, Encoding
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import ByteRange, OwnedStorage, PackedStorage, Storage

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrayRange:
    """Bytes in memory as a `ByteRange`.

    Attributes:
        data: uint8, (bytes,).
    """

    data: Bytes

    def read(self, offset: int, count: int) -> Bytes:
        """A copy of `count` bytes from `offset`."""
        return self.data[offset : offset + count].copy()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matrix:
    """Codes in a byte range, row after row, low bits first.

    Attributes:
        source: the bytes.
        codes: what a code is, for its width and type.
        columns: codes in a row.
        row_bits: bits from the start of a row to that of the next; rows may be padded to whole bytes, or
            follow each other within a byte.
        width: bits that a code takes in the bytes, where that is not the code's own width.
    """

    source: ByteRange
    codes: CodeMap
    columns: int
    row_bits: int
    width: int = 0

    def rows(self, start: int, stop: int) -> AnyArray:
        """Rows [start, stop) in the smallest numpy type that holds a code, (rows, columns)."""
        count = stop - start
        first, last = start * self.row_bits, stop * self.row_bits
        low = first // 8
        packed = self.source.read(low, -(-last // 8) - low)
        width = self.width or self.codes.bits
        if self.row_bits % 8 == 0:
            values = unpack(packed.reshape(count, self.row_bits // 8), width)[:, : self.columns]
        else:  # rows share bytes, so that they have no padding
            flat = unpack(packed.reshape(1, -1), width, skip=first % 8)
            values = flat[:, : count * self.columns]
        return _typed(np.ascontiguousarray(values), self.codes).reshape(count, self.columns)


def _typed(codes: AnyArray, kind: CodeMap) -> AnyArray:
    target = numpy_type(Encoding(codes=kind))
    if not isinstance(kind, Integer) or not kind.signed or kind.bits == 8 * target.itemsize:
        return codes.view(target) if codes.itemsize == target.itemsize else codes.astype(target)
    half = target.type(1 << (kind.bits - 1))  # two's complement of fewer bits than the type has
    signed: AnyArray = codes.astype(target)
    return np.asarray((signed ^ half) - half)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Scales or offsets, one for each block, and perhaps scales of their own.

    Attributes:
        matrix: a row for each combination of blocks on the leading axes, a column for each block of the last.
        leading: extents of the leading axes of the blocked array.
        extents: of a block on those axes, `WHOLE` = the whole axis.
        scale: of the scales. offset: likewise.
    """

    matrix: Matrix
    leading: tuple[int, ...]
    extents: tuple[int, ...]
    scale: Grid | None = None
    offset: Grid | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Blocks on the leading axes."""
        return blocks(self.leading, self.extents)

    def take(self, rows: NDArray[np.int64]) -> Parts:
        """Parts for rows of the blocked array, given by number; one row where all have the same."""
        index = self.index(rows)
        if index.size and (index == index[0]).all():
            index = index[:1]
        low = int(index.min(initial=0))
        part = self.matrix.rows(low, int(index.max(initial=-1)) + 1)
        there = part.shape[0] == index.size and bool((np.diff(index) == 1).all())
        return Parts(
            codes=part if there else part[index - low],
            scale=None if self.scale is None else self.scale.take(index),
            offset=None if self.offset is None else self.offset.take(index),
        )

    def index(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which row of the grid belongs to each row of the blocked array."""
        shape = self.shape
        if math.prod(shape) == 1:
            return np.zeros_like(rows)
        if shape == self.leading:
            return rows
        place = np.unravel_index(rows, self.leading)
        pairs = zip(place, self.extents, strict=True)
        inside = [at // extent if extent else np.zeros_like(at) for at, extent in pairs]
        return np.asarray(np.ravel_multi_index(inside, shape), np.int64)


def blocks(shape: Sequence[int], extents: Sequence[int]) -> tuple[int, ...]:
    """How many blocks cover each axis; the last one may be short."""
    return tuple(
        -(-n // e) if e != WHOLE else min(n, 1) for n, e in zip(shape, extents, strict=True)
    )


def padded(block: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Block extents for all axes: those that an encoding doesn't name have extent 1."""
    named = (block or ())[-rank:] if rank else ()
    return (1,) * (rank - len(named)) + named


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GridStorage:
    """Codes with grids of scales and offsets, all of them read when asked for.

    Attributes:
        codes: a row for each row of the tensor.
        scale: grid of the scales, or None.
        offset: grid of the offsets, or None.
        signs: of a vector table.
    """

    codes: Matrix
    scale: Grid | None = None
    offset: Grid | None = None
    signs: Matrix | None = None
    layout: Layout | None = field(default=None, init=False)

    def parts(self, start: int, stop: int) -> Parts:
        """The arrays of rows [start, stop)."""
        rows = np.arange(start, stop)
        return Parts(
            codes=self.codes.rows(start, stop),
            signs=None if self.signs is None else self.signs.rows(start, stop),
            scale=None if self.scale is None else self.scale.take(rows),
            offset=None if self.offset is None else self.offset.take(rows),
        )

    def raw(self, start: int, stop: int) -> Bytes:
        """Never called: there is no layout."""
        raise NotImplementedError


_BITS, _EMPTY = 1 << 63, 1 << 24


def sane(shape: Sequence[int]) -> bool:
    """Whether there can be an array of a shape: extents, sizes in bits and walks over rows stay bounded."""
    size = math.prod(extent or 1 for extent in shape)
    return all(n >= 0 for n in shape) and size * 64 < _BITS and (0 not in shape or size <= _EMPTY)


PLAIN_PREFIX = "plain."
"""Of the names of layouts of plain numbers, which say no more than the encoding does."""


def plain_layout(dtype: str) -> Layout | None:
    """Plain numbers of whole bytes one after another; None of types that share bytes."""
    encoding = PLAIN[dtype]
    kind = numpy_type(encoding)
    if encoding.codes.bits != 8 * kind.itemsize:
        return None
    size = kind.itemsize

    def unpack_plain(packed: Bytes) -> Parts:
        return Parts(codes=np.ascontiguousarray(packed).reshape(packed.shape[0], -1).view(kind))

    def pack_plain(parts: Parts) -> Bytes:
        codes = np.ascontiguousarray(parts.codes, kind)
        return codes.view(np.uint8).reshape(*codes.shape, size)

    return Layout(
        name=PLAIN_PREFIX + dtype,
        label=dtype,
        encoding=encoding,
        elements=1,
        bytes=size,
        unpack=unpack_plain,
        pack=pack_plain,
    )


def stored_width(dtype: str) -> int:
    """Bits that an element takes in an ONNX tensor: a bool is a byte."""
    return 8 if dtype == "bool" else PLAIN[dtype].codes.bits


def plain_matrix(source: ByteRange, dtype: str, columns: int) -> Matrix:
    """The numbers of an ONNX tensor: one after another, rows not padded."""
    width = stored_width(dtype)
    codes = PLAIN[dtype].codes
    return Matrix(
        source=source, codes=codes, columns=columns, row_bits=columns * width, width=width
    )


def plain_storage(source: ByteRange, dtype: str, shape: tuple[int, ...]) -> Storage:
    """The storage of an ONNX tensor."""
    columns = shape[-1] if shape else 1
    if 0 in shape:
        rows = math.prod(shape[:-1])
        empty = np.empty((rows, columns), numpy_type(PLAIN[dtype]))
        return OwnedStorage(whole=Parts(codes=empty))
    layout = plain_layout(dtype)
    if layout is not None:
        return PackedStorage(layout=layout, columns=columns, source=source)
    return GridStorage(codes=plain_matrix(source, dtype, columns))
