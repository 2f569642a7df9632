"""The schema as records, and questions to it: what a table's fields are, which options an operator has."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType

from w2e_tflite import schema_table

IDENTIFIER = b"TFL3"
VERSION = 3
"""Of the schema; LiteRT refuses every other."""

SCALARS: Mapping[str, str] = MappingProxyType(
    {
        "bool": "u1", "i8": "i1", "u8": "u1", "i16": "<i2", "u16": "<u2", "i32": "<i4", "u32": "<u4",
        "i64": "<i8", "u64": "<u8", "f32": "<f4", "f64": "<f8",
    }
)  # fmt: skip
"""Scalar type to numpy's name for it in a file."""


class Shape(enum.Enum):
    """What a field holds: a number in place, or an offset of something elsewhere."""

    SCALAR = "scalar"
    STRING = "string"
    TABLE = "table"
    UNION = "union"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a table.

    Attributes:
        name: as in the schema.
        slot: number in the table; a union's own, the one before it is its type's.
        type: "i32", "str", or the name of an enumeration, table or union.
        shape: what that is.
        scalar: of numbers and enumerations their type in a file, as numpy has it.
        vector: whether it is a vector of them.
        default: what an absent number is.
        align: bytes that a vector is aligned to beyond its type, or 0.
    """

    name: str
    slot: int
    type: str
    shape: Shape
    scalar: str = ""
    vector: bool = False
    default: int = 0
    align: int = 0


@dataclass(frozen=True)
class Enumeration:
    """An enumeration.

    Attributes:
        name: as in the schema.
        scalar: its type in a file, as numpy has it.
        members: number to name.
    """

    name: str
    scalar: str
    members: Mapping[int, str]

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Name to number."""
        return MappingProxyType({name: number for number, name in self.members.items()})


@dataclass(frozen=True)
class Table:
    """A table: its fields in order of their slots."""

    name: str
    fields: tuple[Field, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        """Fields by name."""
        return MappingProxyType({field.name: field for field in self.fields})


def _rows(text: str) -> list[list[str]]:
    """Rows of words; a line that is indented goes on with the row before."""
    joined = text.replace("\n  ", " ")
    return [line.split() for line in joined.splitlines() if line]


@cache
def enums() -> Mapping[str, Enumeration]:
    """All enumerations."""
    found = {}
    for name, scalar, *members in _rows(schema_table.ENUMS):
        numbers: dict[int, str] = {}
        following = 0
        for member in members:
            text, _, number = member.partition("=")
            following = int(number) if number else following
            numbers[following] = text
            following += 1
        found[name] = Enumeration(name, SCALARS[scalar], MappingProxyType(numbers))
    return MappingProxyType(found)


@cache
def unions() -> Mapping[str, tuple[str, ...]]:
    """Name of each union to its tables, the first of which has the number 1."""
    return MappingProxyType({name: tuple(rest) for name, *rest in _rows(schema_table.UNIONS)})


@cache
def tables() -> Mapping[str, Table]:
    """All tables."""
    rows = _rows(schema_table.TABLES)
    return MappingProxyType({name: Table(name, _fields(words)) for name, *words in rows})


def _fields(words: list[str]) -> tuple[Field, ...]:
    fields, slot = [], 0
    for word in words:
        field = _field(word.removeprefix("-"), slot)
        slot = field.slot + 1
        if not word.startswith("-"):
            fields.append(field)
    return tuple(fields)


def _field(word: str, slot: int) -> Field:
    text, _, align = word.partition("@")
    text, _, default = text.partition("=")
    name, _, kind = text.partition(":")
    element = kind.strip("[]")
    shape, scalar = _shape(element)
    return Field(
        name=name,
        slot=slot + (shape is Shape.UNION),
        type=element,
        shape=shape,
        scalar=scalar,
        vector=kind != element,
        default=_default(default, element),
        align=int(align or 0),
    )


def _default(text: str, element: str) -> int:
    return enums()[element].numbers[text] if text.isidentifier() else int(text or 0)


def _shape(element: str) -> tuple[Shape, str]:
    if element in SCALARS:
        return Shape.SCALAR, SCALARS[element]
    if element in enums():
        return Shape.SCALAR, enums()[element].scalar
    if element in unions():
        return Shape.UNION, ""
    return (Shape.STRING if element == "str" else Shape.TABLE), ""


def operator_name(number: int) -> str | None:
    """A builtin operator's name: "CONV_2D"; None of a number that is none."""
    return enums()["BuiltinOperator"].members.get(number)


def operator_number(name: str) -> int:
    """The inverse of `operator_name`."""
    return enums()["BuiltinOperator"].numbers[name]


@cache
def options_of(operator: str) -> str | None:
    """The table of an operator's options: "Conv2DOptions" of "CONV_2D"; None where it has none."""
    return _options().get(_plain(operator))


@cache
def _options() -> Mapping[str, str]:
    named = {_plain(name.removesuffix("Options")): name for name in _options_tables()}
    return named | {_plain(operator): table for operator, table in _rows(schema_table.OPTIONS)}


def _options_tables() -> list[str]:
    return [name for union in ("BuiltinOptions", "BuiltinOptions2") for name in unions()[union]]


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def union_of(options: str) -> str:
    """Which of the two unions of options a table belongs to."""
    return "BuiltinOptions" if options in unions()["BuiltinOptions"] else "BuiltinOptions2"
