"""Where the numbers of a block lie: columns, each with both directions.

A column takes one kind of number (codes, signs, scales, …) out of the fields of many blocks and puts
it back; a field that several columns share gets the bits of all. So the layout of a type is data, and
what packs it cannot drift from what unpacks it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from w2e_gguf.blocks.bits import left, right, slices, unsigned
from w2e_gguf.blocks.fields import AnyArray, Bytes, Content, Fields, merge, take


class Column(Protocol):
    """One kind of number in a block."""

    def unpack(self, fields: Fields) -> AnyArray:
        """The numbers of n blocks, (n, …)."""

    def pack(self, values: AnyArray) -> Content:
        """What (n, …) numbers put into the fields."""


class CodeColumn(Column, Protocol):
    """A column of unsigned codes, unpacked to an array of its own."""

    @property
    def bits(self) -> int:
        """Width of a code."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field whose numbers are stored as they are."""

    name: str

    def unpack(self, fields: Fields) -> AnyArray:
        """The field itself, (n, …)."""
        return take(fields, self.name)

    def pack(self, values: AnyArray) -> Content:
        """The numbers themselves."""
        return {self.name: values}


@dataclass(frozen=True, slots=True)
class Planes:
    """Codes in bit planes, as vector units like them.

    The bytes come in runs: the lowest bits of a run of bytes belong to as many codes, the next bits
    to as many codes after those. With bits=4 and run=16 byte j holds the codes j and j + 16.

    Attributes:
        name: the field, of bytes.
        bits: of each code, 1, 2 or 4.
        run: bytes in a run.
    """

    name: str
    bits: int
    run: int

    def unpack(self, fields: Fields) -> Bytes:
        """The codes, (n, bytes * 8 / bits)."""
        packed = take(fields, self.name)  # (n, bytes)
        planes = np.empty((packed.size // self.run, self._count), self._item)
        for index in range(self._count):
            plane = right(packed.reshape(-1), self.bits * index, self.bits)
            planes[:, index] = plane.view(self._item)
        return planes.view(np.uint8).reshape(len(packed), packed.shape[1] * self._count)

    def pack(self, values: AnyArray) -> Content:
        """The planes on top of each other."""
        codes = np.ascontiguousarray(values, np.uint8).reshape(-1)
        planes = codes.view(self._item).reshape(-1, self._count)
        packed = np.zeros(len(planes) * self.run, np.uint8)
        for index in range(self._count):
            plane = np.ascontiguousarray(planes[:, index]).view(np.uint8)
            packed |= left(plane, self.bits * index)
        return {self.name: packed}

    @property
    def _count(self) -> int:
        return 8 // self.bits

    @property
    def _item(self) -> str:
        return f"V{self.run}"


@dataclass(frozen=True, slots=True)
class Slices:
    """Codes as slices of words.

    Attributes:
        name: the field, of unsigned words.
        bits: of each code.
        shifts: lowest bit of each code of a word, in the order of the codes.
    """

    name: str
    bits: int
    shifts: tuple[int, ...] = (0,)

    def unpack(self, fields: Fields) -> AnyArray:
        """The codes, (n, words * shifts), in the smallest type."""
        codes = slices(take(fields, self.name), self.bits, self.shifts)
        return codes.reshape(len(codes), math.prod(codes.shape[1:]))

    def pack(self, values: AnyArray) -> Content:
        """The words, zero where other columns have their bits."""
        word = unsigned(max(self.shifts) + self.bits)
        codes = np.asarray(values).astype(word, copy=False).reshape(-1, len(self.shifts))
        words = np.zeros(len(codes), word)
        for index, shift in enumerate(self.shifts):
            words |= codes[:, index] << word.type(shift)
        return {self.name: words}


@dataclass(frozen=True, slots=True)
class Joined:
    """Codes of at most 16 bits whose bits lie in several columns, lowest bits first.

    Attributes:
        columns: where the bits are.
        low: what the stored zero stands for; negative where signed codes are stored from zero up.
    """

    columns: tuple[CodeColumn, ...]
    low: int = 0

    @property
    def bits(self) -> int:
        """Width of a code."""
        return sum(column.bits for column in self.columns)

    def unpack(self, fields: Fields) -> AnyArray:
        """The codes, (n, …)."""
        word = unsigned(self.bits)
        first, *others = self.columns
        codes = first.unpack(fields).astype(word, copy=False)
        at = first.bits
        for column in others:
            codes |= left(column.unpack(fields).astype(word, copy=False), at)
            at += column.bits
        if self.low:
            codes = codes.view(np.int8)
            codes += np.int8(self.low)
        return codes

    def pack(self, values: AnyArray) -> Content:
        """Its bits to each column."""
        codes = np.ascontiguousarray(values, unsigned(self.bits))
        if self.low:
            codes = codes + codes.dtype.type(-self.low)  # wraps as two's complement does
        content: Content = {}
        at = 0
        for column in self.columns:
            merge(content, column.pack(right(codes, at, column.bits)))
            at += column.bits
        return content


@dataclass(frozen=True, slots=True)
class SideBySide:
    """The numbers of one column, then those of the next.

    Attributes:
        columns: in the order of their numbers.
        widths: how many numbers of a block each of them has.
    """

    columns: tuple[Column, ...]
    widths: tuple[int, ...]

    def unpack(self, fields: Fields) -> AnyArray:
        """The numbers, (n, sum of the widths)."""
        return np.concatenate([column.unpack(fields) for column in self.columns], axis=1)

    def pack(self, values: AnyArray) -> Content:
        """Its share to each column."""
        content: Content = {}
        start = 0
        for column, width in zip(self.columns, self.widths, strict=True):
            merge(content, column.pack(values[:, start : start + width]))
            start += width
        return content


def joined(*columns: CodeColumn, low: int = 0) -> Joined:
    """`Joined` without the tuple."""
    return Joined(columns, low)
