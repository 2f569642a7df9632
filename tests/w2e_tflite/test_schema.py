"""The table of the schema against LiteRT's own generated code, row by row."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as generated

from w2e_tflite import schema
from w2e_tflite.schema import Shape

WIDTHS = {"Bool": "u1", "Int8": "i1", "Uint8": "u1", "Int16": "<i2", "Uint16": "<u2", "Int32": "<i4",
          "Uint32": "<u4", "Int64": "<i8", "Uint64": "<u8", "Float32": "<f4", "Float64": "<f8"}  # fmt: skip
BYTES = {"u1": 1, "i1": 1, "<i2": 2, "<u2": 2, "<i4": 4, "<u4": 4, "<i8": 8, "<u8": 8, "<f4": 4, "<f8": 8}  # fmt: skip
TABLES = [
    name
    for name, held in vars(generated).items()
    if inspect.isclass(held) and hasattr(held, "GetRootAs")
]


@dataclass
class Recorder:
    """Stands for a builder, and remembers what is asked of it."""

    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, arguments))


def recorded(function: str, *arguments: int) -> tuple[str, tuple[Any, ...]]:
    recorder = Recorder()
    getattr(generated, function)(recorder, *arguments)
    return recorder.calls[0]


def enumerations() -> dict[str, dict[int, str]]:
    found = {}
    for name, held in vars(generated).items():
        members = (
            {k: v for k, v in vars(held).items() if not k.startswith("_")}
            if inspect.isclass(held)
            else {}
        )
        if members and all(isinstance(v, int) for v in members.values()):
            found[name] = {number: key for key, number in members.items()}
    return found


def test_every_enumeration() -> None:
    theirs = {n: m for n, m in enumerations().items() if n not in schema.unions()}
    assert {name: dict(e.members) for name, e in schema.enums().items()} == theirs


def test_every_union() -> None:
    theirs = {name: enumerations()[name] for name in schema.unions()}
    ours = {
        name: {0: "NONE", **dict(enumerate(members, 1))}
        for name, members in schema.unions().items()
    }
    assert ours == theirs


def test_there_are_the_same_tables() -> None:
    assert set(schema.tables()) == set(TABLES)


def _adders(table: str) -> dict[str, str]:
    prefix = f"{table}Add"
    longer = [other for other in TABLES if other != table and other.startswith(prefix)]
    return {
        name.removeprefix(prefix).lower(): name
        for name in vars(generated)
        if name.startswith(prefix) and not any(name.startswith(other) for other in longer)
    }


def _plain(name: str) -> str:
    return name.replace("_", "")


@pytest.mark.parametrize("name", TABLES)
def test_every_table(name: str) -> None:
    table, adders = schema.tables()[name], _adders(name)
    unions = [f for f in table.fields if f.shape is Shape.UNION]
    expected = {_plain(f.name) for f in table.fields} | {_plain(f.name) + "type" for f in unions}
    assert expected == set(adders)
    for item in table.fields:
        method, (slot, _, default) = recorded(adders[_plain(item.name)], 0)
        kind = method.removeprefix("Prepend").removesuffix("Slot")
        assert slot == item.slot
        if item.shape is Shape.SCALAR and not item.vector:
            assert (WIDTHS[kind], int(default)) == (item.scalar, item.default), item
        else:
            assert kind == "UOffsetTRelative", item
    for item in unions:
        assert recorded(adders[_plain(item.name) + "type"], 0)[1][0] == item.slot - 1


@pytest.mark.parametrize("name", TABLES)
def test_every_vector(name: str) -> None:
    starts = {
        key.removeprefix(f"{name}Start").removesuffix("Vector").lower(): key
        for key in vars(generated)
        if key.startswith(f"{name}Start") and key.endswith("Vector")
    }
    vectors = {_plain(f.name): f for f in schema.tables()[name].fields if f.vector}
    assert vectors.keys() <= starts.keys()
    for key, item in vectors.items():
        width = recorded(starts[key], 1)[1][0]
        assert width == (BYTES[item.scalar] if item.shape is Shape.SCALAR else 4)


def test_options_of_operators() -> None:
    names = schema.enums()["BuiltinOperator"].members.values()
    every = set(schema.unions()["BuiltinOptions"]) | set(schema.unions()["BuiltinOptions2"])
    used = {schema.options_of(name) for name in names} - {None}
    assert used == every
    assert schema.options_of("CONV_2D") == "Conv2DOptions"
    assert schema.options_of("MAX_POOL_2D") == "Pool2DOptions"
    assert schema.options_of("TOPK_V2") == "TopKV2Options"
    assert schema.options_of("RELU") is None
    assert schema.union_of("Conv2DOptions") == "BuiltinOptions"
    assert schema.union_of("DilateOptions") == "BuiltinOptions2"


def test_force_align() -> None:
    aligned = {
        (table.name, item.name): item.align
        for table in schema.tables().values()
        for item in table.fields
        if item.align
    }
    assert aligned[("Buffer", "data")] == 16
    assert aligned[("Uint8Vector", "values")] == 4
