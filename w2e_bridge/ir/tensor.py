"""A tensor of the canonical model and the places its bytes can live."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.parts import Parts, decode

CHUNK_ELEMENTS = 1 << 21
"""Weights in a chunk: enough that two threads seldom wait for the interpreter's lock (a quarter of this
made Q4_K half as fast), few enough that a chunk's temporaries take some 20 MB."""


class Storage(Protocol):
    """Where the arrays of a tensor come from. Asking for shape or type never reads anything.

    A tensor is read as a matrix: the leading axes are flattened to rows, the last axis is the columns
    (a scalar or vector is one row).
    """

    @property
    def layout(self) -> Layout | None:
        """How the stored bytes are packed, or None where there are no packed bytes to be had."""

    def parts(self, start: int, stop: int) -> Parts:
        """The arrays of rows [start, stop). Scales and offsets come per row, (stop - start or 1, blocks)."""

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The packed bytes of rows [start, stop), flat; only where `layout` is not None."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A named array of weights and how it is stored.

    Attributes:
        name: as the source calls it (`blk.0.attn_q.weight`).
        shape: logical shape, row-major.
        dtype: logical type that the graph computes with ("float32", "int64", …).
        encoding: what the stored codes mean.
        storage: where they are.
        order: position in execution order; ties by name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: Encoding
    storage: Storage
    order: int = 0

    @property
    def columns(self) -> int:
        """Extent of the last axis, 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        """Extent of all other axes together."""
        return math.prod(self.shape[:-1]) if self.shape else 1

    @property
    def elements(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def label(self) -> str:
        """What people call the stored form: the layout's name (Q4_K) or the encoding spelled out."""
        layout = self.storage.layout
        return layout.label if layout is not None else str(self.encoding)

    @property
    def nbytes(self) -> int:
        """Bytes that the tensor takes as it is stored."""
        layout = self.storage.layout
        if layout is not None:
            return self.rows * layout.row_bytes(self.columns)
        return math.ceil(self.rows * self.columns * self.encoding.bits_per_weight(self.columns) / 8)

    def spans(self, elements: int = CHUNK_ELEMENTS) -> Iterator[tuple[int, int]]:
        """Row ranges of about `elements` weights that cover the tensor in order."""
        step = max(1, elements // max(1, self.columns))
        for start in range(0, self.rows, step):
            yield start, min(start + step, self.rows)

    def chunks(self, elements: int = CHUNK_ELEMENTS) -> Iterator[tuple[int, int, Parts]]:
        """(start row, stop row, parts) over the whole tensor, bounded in memory."""
        for start, stop in self.spans(elements):
            yield start, stop, self.storage.parts(start, stop)

    def decode_rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """float32 values of rows [start, stop), (rows, columns)."""
        return decode(self.encoding, self.storage.parts(start, stop))

    def dequantize(self) -> NDArray[np.float32]:
        """All values as float32 in the logical shape; allocates the whole tensor."""
        out = np.empty((self.rows, self.columns), np.float32)
        for start, stop, parts in self.chunks():
            out[start:stop] = decode(self.encoding, parts)
        return out.reshape(self.shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnedStorage:
    """Arrays in memory: codes of the whole tensor, scale and offset grids per row.

    Attributes:
        whole: parts of all rows; the grids' first axis is the rows or 1.
    """

    whole: Parts
    layout: Layout | None = field(default=None, init=False)

    def parts(self, start: int, stop: int) -> Parts:
        """Views of rows [start, stop)."""
        return _slice(self.whole, start, stop)

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Never called: there is no layout."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComputedStorage:
    """Arrays computed on demand from others (a rewrite of another storage, a rotary table).

    Attributes:
        compute: (start row, stop row) to parts of those rows.
    """

    compute: Callable[[int, int], Parts]
    layout: Layout | None = field(default=None, init=False)

    def parts(self, start: int, stop: int) -> Parts:
        """What `compute` says."""
        return self.compute(start, stop)

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Never called: there is no layout."""
        raise NotImplementedError


class ByteRange(Protocol):
    """Bytes of a file, read on demand."""

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `offset` of the range, as a fresh uint8 array."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedStorage:
    """A byte range of a file in a known layout, rows one after another.

    Attributes:
        layout: how rows are packed.
        columns: weights in a row.
        source: the bytes.
    """

    layout: Layout
    columns: int
    source: ByteRange

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The packed bytes of rows [start, stop)."""
        size = self.layout.row_bytes(self.columns)
        return self.source.read(start * size, (stop - start) * size)

    def parts(self, start: int, stop: int) -> Parts:
        """The unpacked arrays of rows [start, stop)."""
        blocks = self.raw(start, stop).reshape(stop - start, -1, self.layout.bytes)
        return self.layout.unpack(blocks)


def _slice(parts: Parts | None, start: int, stop: int) -> Parts:
    assert parts is not None
    one = parts.codes.shape[0] == 1
    return Parts(
        codes=parts.codes if one else parts.codes[start:stop],
        signs=None if parts.signs is None else parts.signs[start:stop],
        scale=None if parts.scale is None else _slice(parts.scale, start, stop),
        offset=None if parts.offset is None else _slice(parts.offset, start, stop),
    )


def plain_tensor(name: str, values: NDArray[np.generic], dtype: str | None = None) -> Tensor:
    """A tensor of plain numbers in memory; the encoding is that of the array's type."""
    from w2e_bridge.ir.plain import encoding_of

    array = np.ascontiguousarray(values).reshape(-1, values.shape[-1] if values.ndim else 1)
    encoding = encoding_of(str(values.dtype))
    storage = OwnedStorage(whole=Parts(codes=array))
    return Tensor(
        name=name,
        shape=tuple(values.shape),
        dtype=dtype or str(values.dtype),
        encoding=encoding,
        storage=storage,
    )
