"""Tables of a file as records: what the reader gives and the writer takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from w2e_tflite.schema import Field, tables


class Bytes(Protocol):
    """A vector of bytes that may still be in a file."""

    @property
    def nbytes(self) -> int:
        """Length."""

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `offset`, as a fresh uint8 array."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """Bytes in memory."""

    data: bytes

    @property
    def nbytes(self) -> int:
        """Length."""
        return len(self.data)

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """A copy."""
        return np.frombuffer(self.data, np.uint8, count, offset).copy()


Value = Any
"""A number, text, `Bytes`, an array of numbers, a tuple of texts, a record or a tuple of them: what the
schema says; the accessors of `Record` give each with its type."""


@dataclass(slots=True, kw_only=True, eq=False)
class Record:
    """A table of a file. What is absent reads as the schema's default, an empty vector or None.

    Attributes:
        kind: the table's name: "Tensor".
        values: fields that are there, by name; a union's type has the union's name and `_type`.
        offset: of the table in the file; 0 of one that was made.
    """

    kind: str
    values: dict[str, Value] = field(default_factory=dict)
    offset: int = 0

    def _field(self, name: str) -> Field:
        return tables()[self.kind].by_name[name]

    def integer(self, name: str) -> int:
        """A whole number, truth value or number of an enumeration."""
        return int(self.values.get(name, self._field(name).default))

    def number(self, name: str) -> float:
        """A real number."""
        return float(self.values.get(name, self._field(name).default))

    def text(self, name: str) -> str:
        """A string, "" where it is absent."""
        return str(self.values.get(name, ""))

    def array(self, name: str) -> NDArray[Any] | None:
        """A vector of numbers, None where it is absent."""
        return self.values.get(name)

    def integers(self, name: str) -> tuple[int, ...]:
        """A vector of whole numbers, () where it is absent."""
        found = self.values.get(name)
        return () if found is None else tuple(map(int, found))

    def bytes(self, name: str) -> Bytes | None:
        """A vector of bytes, None where it is absent."""
        return self.values.get(name)

    def record(self, name: str) -> Record | None:
        """A table, or what is in a union; None where it is absent."""
        return self.values.get(name)

    def records(self, name: str) -> Sequence[Record]:
        """A vector of tables, empty where it is absent."""
        found: Sequence[Record] = self.values.get(name, ())
        return found

    def union_type(self, name: str) -> int:
        """The number that says which table is in a union."""
        return int(self.values.get(f"{name}_type", 0))


def make(kind: str, values: Mapping[str, Value]) -> Record:
    """A record without the fields that are None."""
    return Record(kind=kind, values={name: v for name, v in values.items() if v is not None})
