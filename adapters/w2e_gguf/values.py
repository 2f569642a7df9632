"""The value types of GGUF's keys: their numbers in the file, how they are read and written.

Numbers and sizes: ggml-org/ggml `docs/gguf.md`, `enum gguf_metadata_value_type`.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

Kind = Literal["integer", "float", "bool", "string", "array"]


@dataclass(frozen=True, kw_only=True)
class ValueType:
    """A row of the table of value types.

    Attributes:
        id: number in the file.
        name: ours: "uint32".
        kind: what Python knows it as.
        code: letter of `struct` for one value, "" of strings and arrays.
    """

    id: int
    name: str
    kind: Kind
    code: str = ""

    @cached_property
    def struct(self) -> struct.Struct:
        """Reads and writes one value."""
        return struct.Struct("<" + self.code)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of an array of them; a byte of bools."""
        return np.dtype("u1" if self.kind == "bool" else "<" + self.code)

    @property
    def least(self) -> int:
        """Bytes that a value takes at least."""
        return {"string": 8, "array": 12}.get(self.kind) or self.struct.size


_ROWS = (
    ValueType(id=0, name="uint8", kind="integer", code="B"),
    ValueType(id=1, name="int8", kind="integer", code="b"),
    ValueType(id=2, name="uint16", kind="integer", code="H"),
    ValueType(id=3, name="int16", kind="integer", code="h"),
    ValueType(id=4, name="uint32", kind="integer", code="I"),
    ValueType(id=5, name="int32", kind="integer", code="i"),
    ValueType(id=6, name="float32", kind="float", code="f"),
    ValueType(id=7, name="bool", kind="bool", code="B"),
    ValueType(id=8, name="string", kind="string"),
    ValueType(id=9, name="array", kind="array"),
    ValueType(id=10, name="uint64", kind="integer", code="Q"),
    ValueType(id=11, name="int64", kind="integer", code="q"),
    ValueType(id=12, name="float64", kind="float", code="d"),
)

VALUE_TYPES = {row.id: row for row in _ROWS}
"""Number in the file to row."""
BY_NAME = {row.name: row for row in _ROWS}
"""Name to row."""
STRING, ARRAY, BOOL = BY_NAME["string"], BY_NAME["array"], BY_NAME["bool"]
LENGTH = struct.Struct("<Q")
"""What stands before every string."""


def text(data: bytes) -> str:
    """A string of the file; bytes that are no UTF-8 become lone surrogates: none is lost."""
    return str(data, "utf-8", "surrogateescape")


def is_utf8(data: bytes) -> bool:
    """Whether bytes are valid UTF-8."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class Strings(Sequence[str]):
    """An array of strings, decoded when asked for and then kept: vocabularies are large."""

    def __init__(self, data: bytes, starts: array[int], stop: int) -> None:
        """An array within a header.

        Args:
            data: the header.
            starts: where the length of each string stands.
            stop: where the last string ends.
        """
        self._data, self._starts, self._stop = data, starts, stop

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        return self.decoded[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.decoded)

    @cached_property
    def decoded(self) -> list[str]:
        """All of them, see `text`. Not to be changed."""
        pieces = text(self._joined).split("\0") if len(self) else []
        if len(pieces) == len(self):
            return pieces
        stops = [*self._starts, self._stop][1:]  # a string has a zero in it
        return [text(self._data[a + 8 : b]) for a, b in zip(self._starts, stops, strict=True)]

    @cached_property
    def clean(self) -> bool:
        """Whether all of them are UTF-8."""
        return is_utf8(self._joined)

    @property
    def _joined(self) -> bytes:
        """All of them with a zero between them, beyond which no sequence of UTF-8 goes on.

        Made by dropping lengths instead of cutting out strings, which is several times faster.
        """
        if not len(self):
            return b""
        first = self._starts[0]
        joined = np.frombuffer(self._data, np.uint8, self._stop - first, first).copy()
        lengths = np.frombuffer(self._starts, np.int64) - first
        keep = np.ones(len(joined), np.bool_)
        for place in range(1, LENGTH.size):
            keep[lengths + place] = False
        joined[lengths] = 0
        return joined[keep][1:].tobytes()


Scalar = int | float | bool | str
Raw = Scalar | NDArray[Any] | Strings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Value:
    """A value with its type.

    Attributes:
        type: of the value, or of an array's items.
        array: whether it is an array.
        data: a number, bool or string; of an array numpy's (bools as bytes) or `Strings`.
        offset: where it stands in the file.
    """

    type: ValueType
    array: bool
    data: Raw
    offset: int = 0

    @property
    def label(self) -> str:
        """The type as text: "uint32", "array[string]"."""
        return f"array[{self.type.name}]" if self.array else self.type.name

    @property
    def clean(self) -> bool:
        """Whether all text in it is UTF-8."""
        if isinstance(self.data, Strings):
            return self.data.clean
        return not isinstance(self.data, str) or is_utf8(
            self.data.encode("utf-8", "surrogateescape")
        )

    def decoded(self) -> Scalar | NDArray[Any] | list[str]:
        """The value with all strings decoded; bools as such."""
        if isinstance(self.data, Strings):
            return self.data.decoded
        if isinstance(self.data, np.ndarray) and self.type is BOOL:
            return self.data.astype(np.bool_)
        return self.data
