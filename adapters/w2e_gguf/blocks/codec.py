"""The codec of a type: the record that a block is, and the columns that make `Parts` of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from w2e_bridge.ir.parts import Parts
from w2e_gguf.blocks.columns import Column, Field
from w2e_gguf.blocks.fields import AnyArray, Bytes, Content, Fields, merge, put


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The columns of an encoding, in the form of `Parts`."""

    codes: Column
    signs: Column | None = None
    scale: Columns | None = None
    offset: Columns | None = None

    def unpack(self, fields: Fields) -> Parts:
        """Parts of n blocks, every array (n, …)."""
        return Parts(
            codes=self.codes.unpack(fields),
            signs=None if self.signs is None else self.signs.unpack(fields),
            scale=None if self.scale is None else self.scale.unpack(fields),
            offset=None if self.offset is None else self.offset.unpack(fields),
        )

    def pack(self, parts: Parts) -> Content:
        """What parts of (n, …) put into the fields."""
        content = self.codes.pack(parts.codes)
        if self.signs is not None and parts.signs is not None:
            merge(content, self.signs.pack(parts.signs))
        for columns, below in ((self.scale, parts.scale), (self.offset, parts.offset)):
            if columns is not None and below is not None:
                merge(content, columns.pack(below))
        return content


def field(name: str = "d") -> Columns:
    """Scales or offsets that are stored as they are, mostly ggml's `d`."""
    return Columns(codes=Field(name))


def scaled(codes: Column, name: str = "d") -> Columns:
    """Scales or offsets that are codes, with a scale of their own that is stored as it is."""
    return Columns(codes=codes, scale=field(name))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Codec:
    """How a block is packed.

    Attributes:
        struct: its record, byte for byte.
        columns: where the parts lie in it.
        derived: fields that only repeat what the others say, and what computes them from parts of
            (n, …).
    """

    struct: np.dtype[np.void]
    columns: Columns
    derived: tuple[tuple[str, Callable[[Parts], AnyArray]], ...] = ()

    def unpack(self, packed: Bytes) -> Parts:
        """(rows, blocks, bytes) to parts of (rows, …), which may be views of the bytes."""
        rows, blocks, _ = packed.shape
        fields = np.ascontiguousarray(packed).reshape(-1).view(self.struct)  # (rows * blocks,)

        def by_row(array: AnyArray) -> AnyArray:  # (rows * blocks, …) to (rows, blocks * …)
            return array.reshape(rows, blocks * math.prod(array.shape[1:]))

        return _each(self.columns.unpack(fields), by_row)

    def pack(self, parts: Parts, codes: int) -> Bytes:
        """Parts of (rows, …), `codes` codes in a block, to (rows, blocks, bytes)."""
        rows, blocks = parts.codes.shape[0], parts.codes.shape[1] // codes

        def by_block(array: AnyArray) -> AnyArray:  # (rows or 1, blocks * …) to (rows * blocks, …)
            full = np.broadcast_to(array, (rows, array.shape[1]))
            return full.reshape(rows * blocks, array.shape[1] // max(blocks, 1))

        split = _each(parts, by_block)
        fields = np.zeros(rows * blocks, self.struct)
        for name, values in self.columns.pack(split).items():
            put(fields, name, values)
        for name, derive in self.derived:
            put(fields, name, derive(split))
        return fields.view(np.uint8).reshape(rows, blocks, self.struct.itemsize)


def _each(parts: Parts, change: Callable[[AnyArray], AnyArray]) -> Parts:
    return Parts(
        codes=change(parts.codes),
        signs=None if parts.signs is None else change(parts.signs),
        scale=None if parts.scale is None else _each(parts.scale, change),
        offset=None if parts.offset is None else _each(parts.offset, change),
    )
