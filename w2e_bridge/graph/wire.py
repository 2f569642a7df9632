"""Cuts the large arrays out of an ONNX file before it is parsed, so that opening a model reads no weights.

A protobuf message is a run of (tag, value) pairs, and what has a length can be skipped. The walk below
goes down to the tensors only, copies everything else, and leaves in place of a large array a note of where
in the file it is. The copy is small whatever the model's size, and a message of more than 2 GiB, which
protobuf itself can't parse, is no trouble.

Wire format: protobuf.dev/programming-guides/encoding; field numbers: onnx/onnx onnx/onnx.proto.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from w2e_bridge.errors import FormatError
from w2e_bridge.formats.source import Source

LARGE = 4096
"""Bytes from which an array stays in the file; whatever is shorter is copied without a look inside."""

_WINDOW = 1 << 16
_DEPTH = 100  # protobuf's own limit of nested messages
_COPIED = 1 << 30

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}

# Message -> field number -> message, of the fields that lead to tensors.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_DATA_TYPE, _RAW_DATA, _EXTERNAL_DATA = 2, 9, 13
# Packed floats are their own raw bytes: field number -> the data type for which that holds.
_RAW_FIELDS = {4: 1, 10: 11}  # float_data of FLOAT, double_data of DOUBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A model without its large arrays.

    Attributes:
        data: the bytes of the ModelProto.
        key: under this key of `external_data` a tensor says "offset:length" of its array in the file. It is
            made anew for each parse, so that no file can forge it.
    """

    data: bytes
    key: str


def skeleton(source: Source) -> Skeleton:
    """Read all of a model but its large arrays.

    Raises:
        FormatError: it is no protobuf message.
    """
    key = f"w2e-{os.urandom(16).hex()}"
    walk = _Walk(source=source, key=key)
    return Skeleton(data=walk.message("model", 0, source.size, 0), key=key)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """A field of a message: where its tag begins, its number, wire type and value."""

    at: int
    number: int
    wire: int
    start: int
    stop: int


@dataclass(slots=True, kw_only=True)
class _Walk:
    """Reads fields through a window of the file."""

    source: Source
    key: str
    base: int = 0
    window: bytes = b""
    copied: int = field(default=0)

    def message(self, kind: str, start: int, stop: int, depth: int) -> bytes:
        """The message in [start, stop) without its large arrays."""
        if stop - start < LARGE:
            return self.copy(start, stop)
        if depth > _DEPTH:
            raise self.error(start, f"messages nested deeper than {_DEPTH}")
        if kind == "tensor":
            return self.tensor(start, stop)
        pieces: list[bytes] = []
        pending = start  # all between here and the present field is copied as it is
        for item in self.fields(start, stop):
            child = _CHILDREN[kind].get(item.number)
            if child is None or item.wire != _LENGTH or item.stop - item.start < LARGE:
                continue
            pieces.append(self.copy(pending, item.at))
            pieces.append(
                _length_field(item.number, self.message(child, item.start, item.stop, depth + 1))
            )
            pending = item.stop
        pieces.append(self.copy(pending, stop))
        return b"".join(pieces)

    def tensor(self, start: int, stop: int) -> bytes:
        """A tensor; its array is replaced by a note where it is, if there is one as raw bytes."""
        fields = list(self.fields(start, stop))
        arrays = [item for item in fields if self.is_array(item, fields)]
        if len(arrays) != 1 or arrays[0].stop - arrays[0].start < LARGE:
            return self.copy(start, stop)
        (array,) = arrays
        value = f"{array.start}:{array.stop - array.start}"
        note = _length_field(1, self.key.encode()) + _length_field(2, value.encode())
        return (
            self.copy(start, array.at)
            + self.copy(array.stop, stop)
            + _length_field(_EXTERNAL_DATA, note)
        )

    def is_array(self, item: _Field, fields: list[_Field]) -> bool:
        """Whether the value of a tensor's field is the array, byte for byte."""
        if item.wire != _LENGTH:
            return False
        if item.number == _RAW_DATA:
            return True
        if item.number not in _RAW_FIELDS:
            return False
        types = [f for f in fields if f.number == _DATA_TYPE and f.wire == _VARINT]
        return bool(types) and self.varint(types[-1].start)[0] == _RAW_FIELDS[item.number]

    def fields(self, start: int, stop: int) -> Iterator[_Field]:
        """The fields of the message in [start, stop)."""
        at = start
        while at < stop:
            tag, after = self.varint(at)
            number, wire = tag >> 3, tag & 7
            if wire == _LENGTH:
                length, after = self.varint(after)
                end = after + length
            elif wire == _VARINT:
                end = self.varint(after)[1]
            else:
                end = after + _FIXED.get(wire, 0)
            if number == 0 or (wire not in _FIXED and wire not in (_VARINT, _LENGTH)):
                raise self.error(at, f"expected a protobuf field, found tag {tag}")
            if end > stop:
                what = f"field {number} has {end - after} bytes, of which {max(0, stop - after)} are there"
                raise self.error(at, what, self.source.cut_hint())
            yield _Field(at=at, number=number, wire=wire, start=after, stop=end)
            at = end

    def varint(self, at: int) -> tuple[int, int]:
        """The number at a place, and the place after it."""
        value = 0
        data, index = self.look(at)
        for shift, byte in enumerate(data[index : index + 10]):
            value |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:
                return value, at + shift + 1
        raise self.error(at, "expected a number, found more than 10 bytes or the end of the file")

    def look(self, at: int) -> tuple[bytes, int]:
        """A window of the file, and the index of a place in it; ten bytes are there if the file has them."""
        index = at - self.base
        if index < 0 or (
            index + 10 > len(self.window) and self.base + len(self.window) < self.source.size
        ):
            self.base, index = at, 0
            self.window = self.source.take(
                at, min(_WINDOW, max(0, self.source.size - at)), "the graph"
            )
        return self.window, index

    def copy(self, start: int, stop: int) -> bytes:
        """The bytes of [start, stop), within the limit of what protobuf can parse."""
        self.copied += stop - start
        if self.copied > _COPIED:
            raise self.error(start, "more than 1 GiB of graph without its arrays")
        return self.source.take(start, stop - start, "the graph")

    def error(self, at: int, problem: str, hint: str = "") -> FormatError:
        """A damaged message."""
        return self.source.error(at, f"no ONNX model: {problem}", hint)


def _length_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
