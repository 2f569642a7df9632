"""Keys and values of GGUF as `Model.metadata`, and back without loss.

Metadata is plain data that survives JSON: text, numbers, bools and tuples of them. What plain data
does not say, the type of each value and the order of the keys, is one further entry, `TYPES`: a
tuple of "type key", in the order of the file. What JSON can't say exactly is written as text and
known by its type: numbers that are not finite ("inf", "-inf", "nan"), integers beyond 2^53. Strings
that are no UTF-8 have the type "bytes" and are text with one character (U+0000 to U+00FF) for each
byte. Arrays of bools are 0 and 1.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.ir.model import MetadataValue
from w2e_gguf.values import BY_NAME, STRING, Scalar, Strings, Value, ValueType

TYPES = "gguf.types"
"""The entry that says types and order; no key of a file."""

_EXACT = 1 << 53  # JSON's numbers are doubles to most readers
_BYTES = "bytes"


class Metadata(Mapping[str, MetadataValue]):
    """The keys of a file, turned into plain data when asked for: a vocabulary is large."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)
        self._plain: dict[str, MetadataValue] = {}

    def __getitem__(self, key: str) -> MetadataValue:
        if key not in self._plain:
            self._plain[key] = self._types() if key == TYPES else plain(self._values[key])
        return self._plain[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._values
        yield TYPES

    def __len__(self) -> int:
        return len(self._values) + 1

    def _types(self) -> tuple[str, ...]:
        return tuple(f"{_label(value)} {key}" for key, value in self._values.items())


def plain(value: Value) -> MetadataValue:
    """A value as plain data."""
    data = value.data
    if isinstance(data, np.ndarray):
        return _numbers(data)
    if isinstance(data, Strings):
        return tuple(data if data.clean else map(_told, data))
    if isinstance(data, str):
        return data if value.clean else _told(data)
    return data if _sayable(data) else str(data)


def _numbers(items: NDArray[Any]) -> MetadataValue:
    numbers = items.tolist()
    if items.dtype.kind == "f" and not np.isfinite(items).all():
        return tuple(map(repr, numbers))
    if items.dtype.itemsize == 8 and items.dtype.kind in "iu" and not all(map(_sayable, numbers)):
        return tuple(map(str, numbers))
    return tuple(numbers)


def _sayable(number: float | bool) -> bool:
    return math.isfinite(number) if isinstance(number, float) else abs(number) <= _EXACT


def _told(string: str) -> str:
    return string.encode("utf-8", "surrogateescape").decode("latin-1")


def _label(value: Value) -> str:
    told = value.type is STRING and not value.clean
    return value.label.replace(STRING.name, _BYTES) if told else value.label


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """A key as it goes into a file.

    Attributes:
        key: the name.
        type: of the value, or of an array's items.
        array: whether it is an array.
        data: Python's own values; strings as bytes.
    """

    key: str
    type: ValueType
    array: bool
    data: Scalar | bytes | list[Scalar] | list[bytes]


def key_values(metadata: Mapping[str, Any]) -> list[KeyValue]:
    """The keys of a file out of metadata, in their order, each of its own type.

    An entry of no known type, or whose value is no longer of it, gets the type of gguf-py.

    Raises:
        UnsupportedError: a value that GGUF has no type for.
    """
    types = _known(metadata.get(TYPES, ()))
    names = [*types, *(key for key in metadata if key not in types and key != TYPES)]
    return [_key_value(key, metadata[key], types.get(key)) for key in names if key in metadata]


def _known(entries: Any) -> dict[str, str]:
    if not isinstance(entries, list | tuple):
        return {}
    pairs = (str(entry).partition(" ") for entry in entries)
    return {key: label for label, _, key in pairs if key}


def _key_value(key: str, value: Any, label: str | None) -> KeyValue:
    for name in (label, *_guesses(value)):
        found = None if name is None else _as(key, value, name)
        if found is not None:
            return found
    raise UnsupportedError(f"GGUF has no type for the metadata '{key}' ({type(value).__name__})")


def _as(key: str, value: Any, label: str) -> KeyValue | None:
    """The value with a type, or None where it is none of that type."""
    array = label.startswith("array[")
    name = label.removeprefix("array[").removesuffix("]")
    if array is not isinstance(value, list | tuple):
        return None
    try:
        data = [_item(name, one) for one in value] if array else _item(name, value)
    except (TypeError, ValueError, OverflowError, KeyError, struct.error):
        return None
    type_ = STRING if name == _BYTES else BY_NAME[name]
    return KeyValue(key=key, type=type_, array=array, data=cast("Any", data))


def _item(name: str, value: Any) -> Scalar | bytes:
    """A value of a type; an error of Python's where it is none."""
    type_ = STRING if name == _BYTES else BY_NAME[name]
    if type_ is STRING:
        if not isinstance(value, str):
            raise TypeError
        return value.encode("latin-1" if name == _BYTES else "utf-8")
    if type_.kind == "bool":
        if not isinstance(value, int) or value not in (0, 1):
            raise TypeError
        return bool(value)
    if isinstance(value, bool) or (isinstance(value, float) and type_.kind == "integer"):
        raise TypeError
    number = float(value) if type_.kind == "float" else int(value)
    type_.struct.pack(number)
    return number


def _guesses(value: Any) -> tuple[str, ...]:
    """Types that a value may have, the one that gguf-py gives it (`GGUFWriter`) first."""
    if not isinstance(value, list | tuple):
        return _GUESSES.get(type(value), ())
    kinds = {type(one) for one in value} or {str}
    names = _GUESSES.get(kinds.pop() if len(kinds) == 1 else float, ())
    return tuple(f"array[{name}]" for name in names if name != "uint32")


_GUESSES = {
    bool: ("bool",),
    int: ("uint32", "int32", "int64", "uint64"),
    float: ("float32", "float64"),
    str: ("string",),
}


def raw_keys(values: Mapping[str, Value], prefixes: tuple[str, ...]) -> dict[str, object]:
    """Keys with some prefixes, decoded in full: text, lists of it, numbers, arrays of numpy's."""
    return {key: value.decoded() for key, value in values.items() if key.startswith(prefixes)}
