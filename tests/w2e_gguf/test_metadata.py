"""Metadata says all that the keys say, through JSON too."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.w2e_gguf.maker import (
    BOOL,
    F32,
    F64,
    I64,
    STRING,
    U64,
    Recipe,
    header,
    items,
    key,
    string,
    text,
)
from w2e_bridge.errors import UnsupportedError
from w2e_gguf.metadata import TYPES, Metadata, key_values
from w2e_gguf.values import VALUE_TYPES, Strings, Value
from w2e_gguf.write import _value as packed

NUMBERS = [row for row in VALUE_TYPES.values() if row.code]


def read(path: Path, *keys: bytes) -> Metadata:
    return Metadata(header(Recipe(keys=keys).write(path)).keys)


def through_json(metadata: Metadata) -> dict[str, Any]:
    """The same after a trip through JSON that refuses what JSON has no word for."""
    told = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode("utf-8")
    plain: dict[str, Any] = json.loads(told)
    return plain


def test_keys_come_back_byte_for_byte(tmp_path: Path) -> None:
    keys = (
        text("z.first", "last"),
        text("a.empty", ""),
        key("a.bytes", STRING, string(b"caf\xe9")),
        items("a.tokens", STRING, 3, string(b"\xff") + string("é") + string("")),
        items("a.words", STRING, 2, string("x") + string("y z")),
        items("a.none", F32, 0, b""),
        key("a.nan", F32, struct.pack("<f", math.nan)),
        key("a.whole", F32, struct.pack("<f", 10000.0)),
        items("a.scores", F64, 3, struct.pack("<3d", -math.inf, 0.1, 3.0)),
        items("a.flags", BOOL, 2, b"\1\0"),
        key("a.flag", BOOL, b"\0"),
        key("a.huge", U64, struct.pack("<Q", (1 << 64) - 1)),
        items("a.huger", I64, 2, struct.pack("<2q", -(1 << 63), 5)),
    )
    metadata = read(tmp_path / "a.gguf", *keys)
    for form in (metadata, through_json(metadata)):
        found = [string(item.key) + packed(item) for item in key_values(form)]
        assert found == list(keys)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(data=st.data(), type_=st.sampled_from(NUMBERS), array=st.booleans())
def test_every_number_comes_back(data: st.DataObject, type_: Any, array: bool) -> None:
    raw = data.draw(st.binary(min_size=type_.struct.size, max_size=type_.struct.size))
    (number,) = type_.struct.unpack(raw)
    if type_.kind == "bool":
        number = bool(raw[0] & 1)
    if isinstance(number, float) and math.isnan(number):
        number = math.nan
    import numpy as np

    value = Value(
        type=type_, array=array, data=np.array([number], type_.dtype) if array else number
    )
    metadata = Metadata({"k": value})
    for form in (metadata, through_json(metadata)):
        (item,) = key_values(form)
        found = item.data[0] if isinstance(item.data, list) else item.data
        assert (item.type, item.array) == (type_, array)
        assert struct.pack("<d", found) == struct.pack("<d", number)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.binary(max_size=6), max_size=6))
def test_every_string_comes_back(raw: list[bytes]) -> None:
    from array import array

    data = b"".join(map(string, raw))
    starts = array("q", [sum(8 + len(one) for one in raw[:index]) for index in range(len(raw))])
    strings = Strings(data, starts, len(data))
    value = Value(type=VALUE_TYPES[STRING], array=True, data=strings)
    metadata = Metadata({"k": value})
    for form in (metadata, through_json(metadata)):
        (item,) = key_values(form)
        assert item.data == raw


def test_what_others_add_gets_the_type_of_gguf_py(tmp_path: Path) -> None:
    added = {
        "text": "x", "flag": True, "count": 7, "negative": -1, "large": 1 << 40, "ratio": 0.5,
        "words": ("a", "b"), "numbers": (1, -2), "wide": [1 << 35], "ratios": (0.5, 2),
        "flags": [True],
        "beyond": 1e300, "nothing": (),
    }  # fmt: skip
    metadata = {**read(tmp_path / "a.gguf", text("first", "1")), **added}
    found = {item.key: (item.type.name, item.array) for item in key_values(metadata)}
    assert found == {
        "first": ("string", False), "text": ("string", False), "flag": ("bool", False),
        "count": ("uint32", False), "negative": ("int32", False), "large": ("int64", False),
        "ratio": ("float32", False), "words": ("string", True), "numbers": ("int32", True),
        "wide": ("int64", True), "ratios": ("float32", True), "flags": ("bool", True),
        "beyond": ("float64", False), "nothing": ("string", True),
    }  # fmt: skip


def test_a_value_that_was_changed_gets_a_type_that_fits(tmp_path: Path) -> None:
    metadata = read(tmp_path / "a.gguf", key("a", BOOL, b"\1"), text("b", "x"))
    (a, b) = key_values({**metadata, "a": 300, "b": ("x", "y")})
    assert (a.type.name, a.data, b.type.name, b.array) == ("uint32", 300, "string", True)


def test_a_key_that_was_taken_out_stays_out(tmp_path: Path) -> None:
    metadata = dict(read(tmp_path / "a.gguf", text("a", "1"), text("b", "2")))
    del metadata["a"]
    assert [item.key for item in key_values(metadata)] == ["b"]


@pytest.mark.parametrize("value", [None, {"a": 1}, ((1,),), (1, "a"), 1 << 64, (1 << 63, -1)])
def test_what_gguf_has_no_type_for(value: Any) -> None:
    with pytest.raises(UnsupportedError, match="no type for the metadata 'odd'"):
        key_values({"odd": value})


@pytest.mark.parametrize(
    "types", [(), ("nonsense",), ("float99 a",), 7, ["array[ a"], ("uint8 b",)]
)
def test_types_are_not_trusted(types: Any) -> None:
    (item,) = key_values({"a": 1, TYPES: types})
    assert (item.key, item.type.name) == ("a", "uint32")
