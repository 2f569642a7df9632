"""The header of a GGUF file: keys and values, and the directory of tensors.

Own reader, because nothing in a file may be trusted: every count, length and offset is held against
the bytes that are left before anything is allocated or repeated. Layout: ggml-org/ggml
`docs/gguf.md`; what is refused beyond it: ggml-org/llama.cpp `ggml/src/gguf.cpp`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any

import numpy as np

from w2e_bridge.errors import FormatError
from w2e_bridge.formats.source import Source
from w2e_gguf.blocks.table import TYPES, GgmlType
from w2e_gguf.values import (
    ARRAY,
    BOOL,
    LENGTH,
    STRING,
    VALUE_TYPES,
    Raw,
    Strings,
    Value,
    ValueType,
    text,
)

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32

_FIRST_READ = 1 << 18
_LARGEST_HEADER = 100_000_000
"""Bytes; the largest vocabularies take 20 MB."""
_LARGEST_ALIGNMENT = 1 << 20
_MOST_KEYS = 1 << 16
_MOST_TENSORS = 1 << 17
_MOST_STRINGS = 1 << 22
"""In an array; the largest vocabularies have 2^18 tokens and 2^19 merges."""
_LONGEST_NAME = (1 << 16) - 1
_LONGEST_SHOWN = 80
_MOST_AXES = 4
_MOST_ELEMENTS = (1 << 63) - 1
_LEAST_KEY = 8 + 1 + 4 + 1
_LEAST_TENSOR = 8 + 1 + 4 + 4 + 8

_COUNTS, _U32, _ARRAY_HEAD, _END = Struct("<QQ"), Struct("<I"), Struct("<IQ"), Struct("<IQ")
_SHAPES = tuple(Struct(f"<{axes}Q") for axes in range(_MOST_AXES + 1))
_DAMAGED = "the file is damaged: fetch it again"
_OLDER = (b"lmgg", b"fmgg", b"tjgg", b"algg")
"""How GGML, GGMF, GGJT and GGLA files begin, which came before GGUF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """An entry of the directory.

    Attributes:
        name: as in the file.
        type: of its blocks.
        shape: row-major, the file's dimensions reversed.
        offset: of its data from the start of the file.
    """

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    offset: int

    @property
    def columns(self) -> int:
        """Extent of the last axis, 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def nbytes(self) -> int:
        """Bytes of its data."""
        return math.prod(self.shape) // self.type.elements * self.type.bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """All that stands before the data.

    Attributes:
        version: of the format.
        alignment: of the tensors' data.
        keys: in the order of the file.
        tensors: likewise.
    """

    version: int
    alignment: int
    keys: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]


def read_header(source: Source) -> Header:
    """Read the header and hold it against the file.

    Raises:
        FormatError: the file is no GGUF, is cut, or says something that can't be.
    """
    version = _version(source)
    cursor = _Cursor(source, 8)
    tensors, keys = cursor.unpack(_COUNTS, "counts of tensors and keys")
    cursor.expect(keys, _LEAST_KEY, _MOST_KEYS, "keys")
    cursor.expect(tensors, _LEAST_TENSOR, _MOST_TENSORS, "tensors")
    values = _keys(cursor, keys)
    alignment = _alignment(source, values.get(ALIGNMENT))
    directory = tuple(_tensor(cursor) for _ in range(tensors))
    start = -(-cursor.at // alignment) * alignment
    placed = _placed(source, directory, start, alignment)
    return Header(version=version, alignment=alignment, keys=values, tensors=placed)


def _version(source: Source) -> int:
    magic = source.take(0, 4, "magic")
    if magic in _OLDER:
        hint = "convert it with llama.cpp's convert_llama_ggml_to_gguf.py"
        raise source.error(0, f"a file of ggml from before GGUF ({magic!r})", hint)
    if magic != MAGIC:
        raise source.error(0, f"expected {MAGIC!r}, found {magic!r}")
    data = source.take(4, 4, "version")
    version = int.from_bytes(data, "little")
    if int.from_bytes(data, "big") in (1, *VERSIONS):
        hint = "convert it with gguf-py's gguf-convert-endian"
        raise source.error(4, "a big-endian file; only little-endian ones can be read", hint)
    if version == 1:
        hint = "convert the original model again, or rewrite the file with an older llama.cpp"
        raise source.error(4, "GGUF version 1; only 2 and 3 can be read", hint)
    if version not in VERSIONS:
        raise source.error(4, f"GGUF version {version}; only 2 and 3 are known")
    return version


class _Cursor:
    """A place in the header; reads more of the file as it goes."""

    def __init__(self, source: Source, at: int) -> None:
        self.source, self.at = source, at
        self.data = source.take(0, min(source.size, _FIRST_READ), "header")

    def error(self, at: int, problem: str, name: str = "", hint: str = "") -> FormatError:
        return self.source.error(at, problem, hint, _short(name))

    def hint(self, count: int) -> str:
        """Why so many items or bytes are not there."""
        return _DAMAGED if count > self.source.size else self.source.cut_hint()

    def need(self, count: int, what: str) -> None:
        """Have `count` bytes at the cursor in `data`."""
        stop = self.at + count
        if stop <= len(self.data):
            return
        if count > self.source.size:
            raise self.error(self.at, f"{what}: impossible length {count}", hint=_DAMAGED)
        self.source.require(self.at, count, what)
        if stop > _LARGEST_HEADER:
            problem = f"{what}: the header is longer than {_LARGEST_HEADER} bytes"
            raise self.error(self.at, problem)
        total = min(self.source.size, max(stop, 2 * len(self.data)), _LARGEST_HEADER)
        self.data += self.source.take(len(self.data), total - len(self.data), "header")

    def unpack(self, fields: Struct, what: str) -> tuple[Any, ...]:
        self.need(fields.size, what)
        values = fields.unpack_from(self.data, self.at)
        self.at += fields.size
        return values

    def expect(self, count: int, least: int, most: int, what: str) -> None:
        """Refuse a count of items that can't all be there."""
        left = self.source.size - self.at
        if count * least > left:
            problem = f"{count} {what} announced, but only {left} bytes are left"
            raise self.error(self.at, problem, hint=self.hint(count))
        if count > most:
            raise self.error(self.at, f"{count} {what} announced, expected at most {most}")

    def string(self, what: str) -> bytes:
        (length,) = self.unpack(LENGTH, what)
        self.need(length, what)
        self.at += length
        return self.data[self.at - length : self.at]

    def name(self, what: str) -> str:
        """A key or the name of a tensor: short, not empty, and text that can be shown."""
        at = self.at
        data = self.string(what)
        if not 0 < len(data) <= _LONGEST_NAME:
            raise self.error(at, f"{what} has {len(data)} bytes, not 1 to {_LONGEST_NAME}")
        name = text(data)
        if not name.isprintable():  # nor are the surrogates that stand for what is no UTF-8
            raise self.error(at, f"{what} is no text: {data[:40]!r}")
        return name


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…"


def _keys(cursor: _Cursor, count: int) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for _ in range(count):
        at = cursor.at
        key = cursor.name("a key")
        if key in found:
            raise cursor.error(at, "the key is there twice", key)
        found[key] = _value(cursor, key)
    return found


def _value(cursor: _Cursor, key: str) -> Value:
    type_ = _value_type(cursor, key)
    at = cursor.at
    if type_ is not ARRAY:
        data = _scalar(cursor, type_, key)
        return Value(type=type_, array=False, data=data, offset=at)
    number, count = cursor.unpack(_ARRAY_HEAD, f"array of '{_short(key)}'")
    item = VALUE_TYPES.get(number)
    if item is None or item is ARRAY:
        what = "arrays" if item is ARRAY else f"type {number}"
        raise cursor.error(at, f"an array of {what}, which llama.cpp refuses too", key)
    left = cursor.source.size - cursor.at
    if count * item.least > left:
        problem = f"an array of {count} {item.name} values, but only {left} bytes are left"
        raise cursor.error(at, problem, key, cursor.hint(count))
    return Value(type=item, array=True, data=_items(cursor, item, count, key), offset=at)


def _value_type(cursor: _Cursor, key: str) -> ValueType:
    at = cursor.at
    (number,) = cursor.unpack(_U32, f"type of '{_short(key)}'")
    if number not in VALUE_TYPES:
        raise cursor.error(at, f"unknown type of value {number}", key)
    return VALUE_TYPES[number]


def _scalar(cursor: _Cursor, type_: ValueType, key: str) -> Raw:
    if type_ is STRING:
        return text(cursor.string(f"value of '{_short(key)}'"))
    at = cursor.at
    (number,) = cursor.unpack(type_.struct, f"value of '{_short(key)}'")
    if type_ is BOOL and number > 1:
        raise cursor.error(at, f"expected a bool, 0 or 1, found {number}", key)
    return bool(number) if type_ is BOOL else number


def _items(cursor: _Cursor, item: ValueType, count: int, key: str) -> Raw:
    if item is STRING:
        return _strings(cursor, count, key)
    size = count * item.struct.size
    cursor.need(size, f"array of '{_short(key)}'")
    at = cursor.at
    cursor.at += size
    # A copy, because where it stands in the header it may not be aligned.
    items = np.frombuffer(cursor.data, item.dtype, count, at).copy()
    if item is BOOL and count and items.max() > 1:
        raise cursor.error(at, "expected bools, 0 or 1, found other bytes", key)
    return items


def _strings(cursor: _Cursor, count: int, key: str) -> Strings:
    if count > _MOST_STRINGS:
        raise cursor.error(
            cursor.at, f"expected at most {_MOST_STRINGS} strings, found {count}", key
        )
    starts: array[int] = array("q")
    while True:
        stop = _walk(cursor.data, cursor.at, count, starts)
        if stop > len(cursor.data):  # within a string: have all of it, then go over it again
            cursor.at = starts.pop()
        elif len(starts) < count:  # before the length of the next one
            cursor.at, stop = stop, stop + LENGTH.size
        else:
            cursor.at = stop
            return Strings(cursor.data, starts, stop)
        cursor.need(stop - cursor.at, f"string {len(starts)} of '{_short(key)}'")


def _walk(data: bytes, at: int, count: int, starts: array[int]) -> int:
    """Add where strings start until there are `count` or the data ends; where the last ends."""
    unpack, append, last = LENGTH.unpack_from, starts.append, len(data) - 8
    for _ in range(count - len(starts)):
        if at > last:
            break
        append(at)
        at += 8 + unpack(data, at)[0]
    return at


def _alignment(source: Source, value: Value | None) -> int:
    if value is None:
        return DEFAULT_ALIGNMENT
    number = value.data
    if value.label != "uint32" or not isinstance(number, int):
        raise source.error(value.offset, f"expected uint32, found {value.label}", tensor=ALIGNMENT)
    if not 1 <= number <= _LARGEST_ALIGNMENT or number & (number - 1):
        problem = f"expected a power of two up to {_LARGEST_ALIGNMENT}, found {number}"
        raise source.error(value.offset, problem, tensor=ALIGNMENT)
    return number


def _tensor(cursor: _Cursor) -> TensorInfo:
    """An entry; its offset still counts from the start of the data."""
    at = cursor.at
    name = cursor.name("the name of a tensor")

    def error(problem: str) -> FormatError:
        return cursor.error(at, problem, name)

    (axes,) = cursor.unpack(_U32, f"axes of '{_short(name)}'")
    if axes > _MOST_AXES:
        raise error(f"expected at most {_MOST_AXES} axes, found {axes}")
    shape = cursor.unpack(_SHAPES[axes], f"shape of '{_short(name)}'")[::-1]
    if 0 in shape or math.prod(shape) > _MOST_ELEMENTS:
        raise error(f"impossible shape {list(shape)}")
    number, offset = cursor.unpack(_END, f"type and offset of '{_short(name)}'")
    if number not in TYPES:
        raise error(f"unknown ggml type {number}")
    info = TensorInfo(name=name, type=TYPES[number], shape=shape, offset=offset)
    if info.columns % info.type.elements:
        raise error(
            f"rows of {info.columns} weights are no whole blocks of {info.type.name} "
            f"({info.type.elements} each)"
        )
    return info


def _placed(
    source: Source, directory: tuple[TensorInfo, ...], start: int, alignment: int
) -> tuple[TensorInfo, ...]:
    """The entries with offsets from the start of the file, each aligned, inside, and by itself."""
    repeated = _repeated(directory)
    if repeated:
        raise source.error(None, "two tensors have this name", tensor=_short(repeated))
    placed = tuple(
        TensorInfo(name=i.name, type=i.type, shape=i.shape, offset=start + i.offset)
        for i in directory
    )
    end, before = start, ""
    for info in sorted(placed, key=lambda i: i.offset):
        if (info.offset - start) % alignment:
            problem = f"data at {info.offset - start} of the data, not aligned to {alignment}"
            raise source.error(info.offset, problem, tensor=_short(info.name))
        if info.offset < end:
            raise source.error(
                info.offset, f"overlaps with '{_short(before)}'", tensor=_short(info.name)
            )
        end, before = info.offset + info.nbytes, info.name
        if end > source.size:
            problem = f"data expected up to {end}, but the file ends at {source.size}"
            raise source.error(info.offset, problem, source.cut_hint(), _short(info.name))
    return placed


def _repeated(directory: tuple[TensorInfo, ...]) -> str:
    seen: set[str] = set()
    for info in directory:
        if info.name in seen:
            return info.name
        seen.add(info.name)
    return ""
