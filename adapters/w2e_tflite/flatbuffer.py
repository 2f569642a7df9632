"""A TensorFlow Lite file to records, in which nothing is trusted.

The layout is google/flatbuffers' (docs/source/internals.md): a table begins with the distance back to its
vtable, which says where each field is; everything else is reached by unsigned distances forward, so that
nothing can contain itself. Tables and vectors may be shared, though, so that a small file could mean an
endless one: each place is read once, and all vectors together are not longer than the file allows.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.formats.source import FileRange, Source
from w2e_tflite.record import Record
from w2e_tflite.schema import IDENTIFIER, Field, Shape, tables, unions

_BLOCK = 1 << 16
_BLOCKS = 64
_OVERLAP = 4
"""Bytes of vectors that may be read for each byte of the file; a writer shares a few, never most."""
_SPARE = 1 << 20

_FORMATS = {
    "u1": struct.Struct("<B"), "i1": struct.Struct("<b"), "<i2": struct.Struct("<h"),
    "<u2": struct.Struct("<H"), "<i4": struct.Struct("<i"), "<u4": struct.Struct("<I"),
    "<i8": struct.Struct("<q"), "<u8": struct.Struct("<Q"), "<f4": struct.Struct("<f"),
    "<f8": struct.Struct("<d"),
}  # fmt: skip
SIZES = {scalar: form.size for scalar, form in _FORMATS.items()}
"""Bytes of the scalar types."""

_U16, _U32, _I32 = "<u2", "<u4", "<i4"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A file that was read.

    Attributes:
        root: the record of the model.
        end: where the last of what it refers to ends; what stands behind is no part of it.
    """

    root: Record
    end: int


def read(source: Source) -> Opened:
    """Read all tables of a file; vectors of bytes stay in it.

    Raises:
        FormatError: damaged, cut, hostile or no TensorFlow Lite file.
    """
    head = source.take(0, 8, "the header")
    if head[4:] != IDENTIFIER:
        raise source.error(4, f"expected the identifier {IDENTIFIER!r}, found {head[4:]!r}")
    reader = _Reader(source=source, budget=_OVERLAP * source.size + _SPARE)
    root = reader.table(reader.follow(0, "root"), "Model")
    return Opened(root=root, end=reader.end)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """A file with the blocks of it that were read last.

    Attributes:
        source: the file.
        budget: bytes of vectors that may still be read.
        end: the end of what was read so far.
    """

    source: Source
    budget: int
    end: int = 8
    _blocks: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    _tables: dict[tuple[int, str], Record] = field(default_factory=dict)
    _vectors: dict[tuple[int, str], Any] = field(default_factory=dict)

    def number(self, offset: int, scalar: str, what: str) -> Any:
        """A number at a place."""
        form = _FORMATS[scalar]
        block, at = divmod(offset, _BLOCK)
        if offset < 0 or offset + form.size > self.source.size or at + form.size > _BLOCK:
            return form.unpack(self.source.take(offset, form.size, what))[0]
        return form.unpack_from(self._block(block), at)[0]

    def _block(self, index: int) -> bytes:
        found = self._blocks.get(index)
        if found is None:
            start = index * _BLOCK
            size = min(_BLOCK, self.source.size - start)
            found = self._blocks[index] = self.source.take(start, size, "tables")
            if len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(index)
        return found

    def follow(self, offset: int, what: str) -> int:
        """Where the distance at a place leads."""
        distance = self.number(offset, _U32, what)
        target = int(offset + distance)
        if not distance or target + 4 > self.source.size:
            problem = f"{what}: expected a place in the file, found {target:#x}"
            raise self.source.error(offset, problem, self.source.cut_hint())
        return target

    def spend(self, count: int, offset: int, what: str) -> None:
        """Count bytes of a vector, which must be in the file."""
        self.source.require(offset, count, what)
        self.end = max(self.end, offset + count)
        self.budget -= count
        if self.budget < 0:
            problem = f"{what}: vectors overlap: together they are many times as long as the file"
            raise self.source.error(offset, problem)

    def table(self, offset: int, kind: str) -> Record:
        """The table at a place."""
        found = self._tables.get((offset, kind))
        if found is not None:
            return found
        slots = self._slots(offset, kind)
        record = Record(kind=kind, offset=offset)
        for item in tables()[kind].fields:
            if slots.get(item.slot) is not None:
                self._read_field(record, item, slots)
        self._tables[offset, kind] = record
        return record

    def _slots(self, offset: int, kind: str) -> dict[int, int]:
        """Slots that are there, and where in the file their fields are."""
        start = offset - self.number(offset, _I32, kind)
        if start < 0 or start + 4 > self.source.size:
            raise self.source.error(offset, f"{kind}: expected a vtable, found none at {start:#x}")
        size, extent = (self.number(start + at, _U16, f"{kind}: vtable") for at in (0, 2))
        if size < 4 or size % 2 or extent < 4 or start + size > self.source.size:
            raise self.source.error(start, f"{kind}: a vtable of {size} bytes for {extent}")
        self.source.require(offset, extent, kind)
        self.end = max(self.end, offset + extent, start + size)
        slots = {}
        for slot in range((size - 4) // 2):
            place = self.number(start + 4 + 2 * slot, _U16, f"{kind}: vtable")
            if place:
                slots[slot] = offset + place
                if place >= extent:
                    problem = f"{kind}: field {slot} at byte {place} of a table of {extent}"
                    raise self.source.error(start, problem)
        return slots

    def _read_field(self, record: Record, item: Field, slots: dict[int, int]) -> None:
        offset, what = slots[item.slot], f"{record.kind}.{item.name}"
        if item.shape is Shape.SCALAR and not item.vector:
            record.values[item.name] = self.number(offset, item.scalar, what)
            return
        kind = item.type
        if item.shape is Shape.UNION:
            place = slots.get(item.slot - 1)
            number = 0 if place is None else self.number(place, "u1", f"{what}_type")
            record.values[f"{item.name}_type"] = number
            members = unions()[item.type]
            if not 0 < number <= len(members):
                return  # of a newer schema; whoever needs it says so
            kind = members[number - 1]
        target = self.follow(offset, what)
        record.values[item.name] = self._value(target, item, kind, what)

    def _value(self, target: int, item: Field, kind: str, what: str) -> Any:
        if item.vector:
            return self._shared(target, f"[{kind}]", lambda: self._vector(target, item, what))
        if item.shape is Shape.STRING:
            return self._shared(target, kind, lambda: self._text(target, what))
        return self.table(target, kind)

    def _shared(self, target: int, kind: str, read_it: Callable[[], Any]) -> Any:
        key = (target, kind)
        if key not in self._vectors:
            self._vectors[key] = read_it()
        return self._vectors[key]

    def _text(self, target: int, what: str) -> str:
        count = self.number(target, _U32, what)
        self.spend(count, target + 4, what)
        return self.source.take(target + 4, count, what).decode("utf-8", "replace")

    def _vector(self, target: int, item: Field, what: str) -> Any:
        count, start = self.number(target, _U32, what), target + 4
        if item.type == "u8":
            self.source.require(start, count, what)
            self.end = max(self.end, start + count)
            return FileRange(source=self.source, offset=start, nbytes=count, what=what)
        size = SIZES[item.scalar] if item.shape is Shape.SCALAR else 4
        self.spend(count * size, start, what)
        if item.shape is Shape.SCALAR:
            return self._numbers(start, count, item.scalar, what)
        places = [self.follow(start + 4 * index, what) for index in range(count)]
        if item.shape is Shape.STRING:
            return tuple(self._text(place, what) for place in places)
        return tuple(self.table(place, item.type) for place in places)

    def _numbers(self, start: int, count: int, scalar: str, what: str) -> NDArray[Any]:
        data = self.source.take(start, count * SIZES[scalar], what)
        return np.frombuffer(data, scalar)
