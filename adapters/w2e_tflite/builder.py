"""Records to the bytes of a flatbuffer, front to back, with room for large buffers behind.

Tables come first, so that their size is known before any weight is read; the data of buffers follows, each
aligned, and is written by whoever has it. Where that ends beyond what distances of 31 bits reach, buffers
say their place in the file instead (schema.fbs, `Buffer.offset`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from w2e_tflite.record import Bytes, Record
from w2e_tflite.schema import IDENTIFIER, Field, Shape, tables, unions

ALIGNMENT = 16
"""Of the data of buffers: schema.fbs, `force_align`."""

LARGEST = (1 << 31) - 1
"""Bytes of a flatbuffer: google/flatbuffers, FLATBUFFERS_MAX_BUFFER_SIZE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """A vector of bytes whose data is written by others.

    Attributes:
        nbytes: length.
    """

    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A file without the data of its large buffers.

    Attributes:
        head: small parts: (offset, bytes).
        places: where the data of each `Later` begins, by its identity.
        nbytes: length of the file.
    """

    head: tuple[tuple[int, bytes], ...]
    places: dict[int, int]
    nbytes: int


def build(model: Record, limit: int = LARGEST) -> Built:
    """Lay out a file.

    Args:
        model: the root table.
        limit: length from which buffers lie outside of the flatbuffer.
    """
    built = _Writer(outside=False).build(model)
    return built if built.nbytes <= limit else _Writer(outside=True).build(model)


@dataclass(slots=True, kw_only=True)
class _Writer:
    """A file in the making.

    Attributes:
        outside: whether buffers lie outside of the flatbuffer.
        data: the tables so far.
        vtables: those that are there, by content.
        later: (place of the field that refers to it, vector) in order.
    """

    outside: bool
    data: bytearray = field(default_factory=bytearray)
    vtables: dict[bytes, int] = field(default_factory=dict)
    later: list[tuple[int, Later]] = field(default_factory=list)

    def build(self, model: Record) -> Built:
        """The whole file."""
        self.data += bytes(4) + IDENTIFIER
        self._point(0, self._table(model))
        head, places, end = [], dict[int, int](), len(self.data)
        for place, vector in self.later:
            start = places.get(id(vector))
            if start is None:
                start = places[id(vector)] = _padded(end + 4, ALIGNMENT)
                end = start + vector.nbytes
                if not self.outside:
                    head.append((start - 4, struct.pack("<I", vector.nbytes)))
            if self.outside:
                struct.pack_into("<Q", self.data, place, start)
            else:
                self._point(place, start - 4)
        return Built(head=((0, bytes(self.data)), *head), places=places, nbytes=_padded(end, 4))

    def _point(self, place: int, target: int) -> None:
        """Write the distance from a place to what it refers to; 32 bits hold it or it isn't wanted."""
        struct.pack_into("<I", self.data, place, (target - place) & 0xFFFFFFFF)

    def _table(self, record: Record) -> int:
        """Append a table and all below it; where it begins."""
        fields = _present(record, outside=self.outside)
        places, size = _inside(fields)
        align = max([4, *(_size(item) for item in fields)])
        vtable = self._vtable(places, size)
        start = self._pad(align)
        self.data += bytes(size)
        struct.pack_into("<i", self.data, start, start - vtable)
        for item in fields:
            self._field(record, item, start + places[item.slot])
        return start

    def _vtable(self, places: dict[int, int], size: int) -> int:
        slots = max(places, default=-1) + 1
        words = [4 + 2 * slots, size, *(places.get(slot, 0) for slot in range(slots))]
        content = struct.pack(f"<{len(words)}H", *words)
        if content not in self.vtables:
            self.vtables[content] = self._pad(2)
            self.data += content
        return self.vtables[content]

    def _pad(self, align: int, ahead: int = 0) -> int:
        """Fill up so that `ahead` bytes on is aligned; where the end is."""
        self.data += bytes(-(len(self.data) + ahead) % align)
        return len(self.data)

    def _field(self, record: Record, item: Field, place: int) -> None:
        value = record.values[item.name]
        if isinstance(value, Later):
            self.later.append((place, value))
        elif item.shape is Shape.SCALAR and not item.vector:
            self.data[place : place + _size(item)] = np.asarray(value).astype(item.scalar).tobytes()
        else:
            self._point(place, self._behind(item, value))

    def _behind(self, item: Field, value: Any) -> int:
        """Append what a field refers to; where it begins."""
        if not item.vector:
            return self._text(value) if item.shape is Shape.STRING else self._table(value)
        if item.shape is Shape.SCALAR:
            return self._numbers(item, value)
        start = self._pad(4)
        self.data += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for index, one in enumerate(value):
            element = self._text(one) if item.shape is Shape.STRING else self._table(one)
            self._point(start + 4 + 4 * index, element)
        return start

    def _text(self, text: str) -> int:
        start, data = self._pad(4), text.encode("utf-8", "replace")
        self.data += struct.pack("<I", len(data)) + data + b"\0"
        return start

    def _numbers(self, item: Field, value: Any) -> int:
        width = np.dtype(item.scalar).itemsize
        start = self._pad(max(4, width, item.align), ahead=4)
        self.data += struct.pack("<I", _length(value)) + _bytes(item, value)
        return start


def _present(record: Record, *, outside: bool) -> list[Field]:
    """The fields of a table that are written: not those at their defaults."""
    table, later = tables()[record.kind], record.values.get("data")
    if outside and isinstance(later, Later):
        record.values |= {"offset": later, "size": later.nbytes}
        return [table.by_name["offset"], table.by_name["size"]]
    fields = []
    for item in table.fields:
        value = record.values.get(item.name)
        if value is None:
            continue
        if item.shape is Shape.UNION:
            record.values[f"{item.name}_type"] = unions()[item.type].index(value.kind) + 1
            fields.append(_type_of(item))
        if item.vector or item.shape is not Shape.SCALAR or value != item.default:
            fields.append(item)
    return fields


def _type_of(item: Field) -> Field:
    """The field before a union that says which table it is."""
    return replace(
        item, name=f"{item.name}_type", slot=item.slot - 1, shape=Shape.SCALAR, scalar="u1"
    )


def _size(item: Field) -> int:
    if item.vector or item.shape is not Shape.SCALAR:
        return 4
    return np.dtype(item.scalar).itemsize


def _inside(fields: Sequence[Field]) -> tuple[dict[int, int], int]:
    """Where the fields of a table are in it, widest first, and how long it is."""
    places, at = dict[int, int](), 4
    for item in sorted(fields, key=lambda item: (-_size(item), item.slot)):
        at = _padded(at, _size(item))
        places[item.slot] = at
        at += _size(item)
    return places, _padded(at, 4)


def _padded(offset: int, align: int) -> int:
    return -(-offset // align) * align


def _length(value: Any) -> int:
    return value.nbytes if hasattr(value, "read") else len(value)


def _bytes(item: Field, value: Bytes | Any) -> bytes:
    if hasattr(value, "read"):
        return bytes(value.read(0, value.nbytes))
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return bytes(np.ascontiguousarray(value).astype(item.scalar).tobytes())
