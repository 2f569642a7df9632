"""Encodings and quantizations as records of the manifest, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.activation import (
    ActivationMode,
    ActivationQuantization,
    Granularity,
    KVQuantization,
)
from w2e_bridge.ir.codes import CodeMap, Float, Integer, Table, VectorTable
from w2e_bridge.ir.encoding import Companion, Encoding, Offset, OffsetKind, Permutation
from w2e_bridge.protocol.manifest import (
    ActivationRecord,
    CacheRecord,
    CompanionRecord,
    EncodingRecord,
    OffsetRecord,
    PermutationRecord,
    TableRecord,
)
from w2e_bridge.protocol.values import array_of, array_record

_INTEGER = re.compile(r"(u?)int([1-9][0-9]?)")
_WIDEST = 64
_FLOATS = frozenset(
    {
        "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
        "float8_e5m2fnuz", "float8_e8m0fnu", "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn",
    }
)  # fmt: skip

Numbers = NDArray[np.generic]
Find = Callable[[str], Numbers]
"""The array of a stored table by its key: float32 (entries,) or int8 (entries, width)."""


@dataclass(slots=True)
class Tables:
    """The look-up tables of a file, each stored once.

    Attributes:
        keys: table to the key under which it is stored.
    """

    keys: dict[Table | VectorTable, str] = field(default_factory=dict)

    def record(self, table: Table | VectorTable) -> TableRecord:
        """A table as a record; it is stored under its name, or the next one that is free."""
        if table not in self.keys:
            taken, key, count = set(self.keys.values()), table.name, 1
            while key in taken:
                count += 1
                key = f"{table.name}#{count}"
            self.keys[table] = key
        key = self.keys[table]
        vectors = isinstance(table, VectorTable)
        return TableRecord(
            table=key,
            name=None if key == table.name else table.name,
            vectors=vectors,
            signs=isinstance(table, VectorTable) and table.signs,
        )

    def arrays(self) -> list[tuple[str, Numbers]]:
        """(key, numbers) of all tables, as they are stored."""
        return [
            (key, table.grid if isinstance(table, VectorTable) else table.array())
            for table, key in self.keys.items()
        ]


def codes_record(codes: CodeMap, tables: Tables) -> str | TableRecord:
    """A code map as a type's name or a table."""
    return str(codes) if isinstance(codes, Integer | Float) else tables.record(codes)


def encoding_record(encoding: Encoding, tables: Tables) -> EncodingRecord:
    """An encoding as a record."""
    return EncodingRecord(
        codes=codes_record(encoding.codes, tables),
        block=encoding.block,
        scale=None if encoding.scale is None else encoding_record(encoding.scale, tables),
        scale_divides=encoding.scale_divides,
        offset=None if encoding.offset is None else _offset_record(encoding.offset, tables),
        flat=encoding.flat,
        permutation=None
        if encoding.permutation is None
        else PermutationRecord(axis=encoding.permutation.axis, tensor=encoding.permutation.tensor),
        companions=tuple(
            CompanionRecord(kind=c.kind, tensor=c.tensor) for c in encoding.companions
        ),
        symmetric=encoding.symmetric,
        narrow_range=encoding.narrow_range,
    )


def _offset_record(offset: Offset, tables: Tables) -> OffsetRecord:
    return OffsetRecord(
        kind=offset.kind.value,
        encoding=None if offset.encoding is None else encoding_record(offset.encoding, tables),
        block=offset.block,
        constant=offset.constant,
    )


def codes_of(record: str | TableRecord, find: Find) -> CodeMap:
    """The code map of a record.

    Raises:
        ValueError: no type or table.
    """
    if isinstance(record, TableRecord):
        return _table_of(record, find(record.table))
    found = _INTEGER.fullmatch(record)
    if found is not None and int(found[2]) <= _WIDEST:
        return Integer(bits=int(found[2]), signed=not found[1])
    if record in _FLOATS:
        return Float(name=record)
    raise ValueError(f"{record[:40]!r} is no type of codes")


def _table_of(record: TableRecord, numbers: Numbers) -> Table | VectorTable:
    name = record.table if record.name is None else record.name
    if not numbers.size:
        raise ValueError(f"the table {name!r} is empty")
    if not record.vectors:
        if numbers.dtype != np.float32 or numbers.ndim != 1:
            raise ValueError(f"the table {name!r} is no list of float32")
        return Table(name=name, values=tuple(numbers.tolist()))
    if numbers.dtype != np.int8 or numbers.ndim != 2:
        raise ValueError(f"the table {name!r} is no matrix of int8")
    return VectorTable(
        name=name, width=numbers.shape[1], values=numbers.tobytes(), signs=record.signs
    )


def encoding_of(record: EncodingRecord, find: Find) -> Encoding:
    """The encoding of a record.

    Raises:
        ValueError: a field has a value that it can't have.
    """
    block = None if record.block is None else _extents(record.block)
    if (record.scale is not None) is not bool(block):
        raise ValueError("scales without blocks, or blocks without scales")
    return Encoding(
        codes=codes_of(record.codes, find),
        block=block,
        scale=None if record.scale is None else encoding_of(record.scale, find),
        scale_divides=record.scale_divides,
        offset=None if record.offset is None else _offset_of(record.offset, find),
        flat=record.flat,
        permutation=None
        if record.permutation is None
        else Permutation(axis=record.permutation.axis, tensor=record.permutation.tensor),
        companions=tuple(Companion(kind=c.kind, tensor=c.tensor) for c in record.companions),
        symmetric=record.symmetric,
        narrow_range=record.narrow_range,
    )


def _offset_of(record: OffsetRecord, find: Find) -> Offset:
    if (record.encoding is None) is (record.constant is None):
        raise ValueError("an offset is stored or constant, one of the two")
    return Offset(
        kind=OffsetKind(record.kind),
        encoding=None if record.encoding is None else encoding_of(record.encoding, find),
        block=None if record.block is None else _extents(record.block),
        constant=record.constant,
    )


def _extents(block: tuple[int, ...]) -> tuple[int, ...]:
    if any(extent < 0 for extent in block):
        raise ValueError(f"blocks of {list(block)[:8]}")
    return block


def activation_record(quantization: ActivationQuantization, tables: Tables) -> ActivationRecord:
    """A quantization of a value as a record."""
    q = quantization
    return ActivationRecord(
        codes=codes_record(q.codes, tables),
        mode=q.mode.value,
        granularity=q.granularity.value,
        scale=None if q.scale is None else array_record(q.scale),
        zero_point=None if q.zero_point is None else array_record(q.zero_point),
        axis=q.axis,
        group=q.group,
        second_level=q.second_level,
        narrow_range=q.narrow_range,
    )


def activation_of(record: ActivationRecord, find: Find) -> ActivationQuantization:
    """The quantization of a record; `ValueError` where a field has a value that it can't have."""
    return ActivationQuantization(
        codes=codes_of(record.codes, find),
        mode=ActivationMode(record.mode),
        granularity=Granularity(record.granularity),
        scale=None if record.scale is None else array_of(record.scale),
        zero_point=None if record.zero_point is None else array_of(record.zero_point),
        axis=record.axis,
        group=record.group,
        second_level=record.second_level,
        narrow_range=record.narrow_range,
    )


def cache_record(cache: KVQuantization, tables: Tables) -> CacheRecord:
    """The quantization of a layer's cache as a record."""
    key, value = activation_record(cache.key, tables), activation_record(cache.value, tables)
    return CacheRecord(layer=cache.layer, key=key, value=value)


def cache_of(record: CacheRecord, find: Find) -> KVQuantization:
    """The quantization of a record."""
    key, value = activation_of(record.key, find), activation_of(record.value, find)
    return KVQuantization(layer=record.layer, key=key, value=value)
