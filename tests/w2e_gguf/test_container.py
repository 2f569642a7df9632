"""The reader of headers: what gguf-py writes is read, what no writer writes is refused."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.w2e_gguf.maker import (
    ARRAY,
    BOOL,
    F32,
    I32,
    STRING,
    U8,
    U32,
    U64,
    Recipe,
    header,
    items,
    key,
    number,
    small,
    string,
    tensor,
    text,
)
from w2e_bridge.errors import FormatError
from w2e_gguf import container
from w2e_gguf.container import Header

Type = gguf.GGUFValueType

SCALARS: dict[Any, Any] = {
    Type.UINT8: 255,
    Type.INT8: -128,
    Type.UINT16: 65535,
    Type.INT16: -32768,
    Type.UINT32: (1 << 32) - 1,
    Type.INT32: -(1 << 31),
    Type.FLOAT32: 0.5,
    Type.BOOL: True,
    Type.STRING: "Grüße\n",
    Type.UINT64: (1 << 64) - 1,
    Type.INT64: -(1 << 63),
    Type.FLOAT64: math.pi,
}


def plain(head: Header) -> dict[str, tuple[str, Any]]:
    """Types and values of all keys."""
    found = {}
    for name, value in head.keys.items():
        data = value.decoded()
        found[name] = (value.label, data.tolist() if isinstance(data, np.ndarray) else data)
    return found


def test_reads_every_type_that_gguf_py_writes(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    for type_, value in SCALARS.items():
        writer.add_key_value(f"one.{type_.name}", value, type_)
        writer.add_key_value(f"many.{type_.name}", [value] * 3, Type.ARRAY, sub_type=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    expected: dict[str, tuple[str, Any]] = {"general.architecture": ("string", "llama")}
    for type_, value in SCALARS.items():
        label = type_.name.lower()
        expected[f"one.{type_.name}"] = (label, value)
        expected[f"many.{type_.name}"] = (f"array[{label}]", [value] * 3)
    assert plain(header(tmp_path / "a.gguf")) == expected


def test_reads_the_directory_that_gguf_py_writes(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    values: dict[str, Any] = {
        "float": np.arange(6, dtype=np.float32).reshape(2, 3),
        "half": np.ones((2, 2, 2, 5), np.float16),
        "int": np.arange(4, dtype=np.int64),
    }
    blocks = np.arange(2 * 2 * 18, dtype=np.uint8).reshape(2, 36)
    for name, array in values.items():
        writer.add_tensor(name, array)
    writer.add_tensor("blocks", blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    finish(writer)
    data = (tmp_path / "a.gguf").read_bytes()
    head = header(tmp_path / "a.gguf")
    assert [(i.name, i.shape) for i in head.tensors] == [
        ("float", (2, 3)), ("half", (2, 2, 2, 5)), ("int", (4,)), ("blocks", (2, 64)),
    ]  # fmt: skip
    for info, array in zip(head.tensors, [*values.values(), blocks], strict=True):
        assert data[info.offset : info.offset + info.nbytes] == array.tobytes()


def finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("alignment", [8, 32, 64, 4096])
def test_alignments_of_gguf_py(tmp_path: Path, alignment: int) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(alignment)
    for name in "ab":
        writer.add_tensor(name, np.full(3, ord(name), np.float32))
    finish(writer)
    head = header(tmp_path / "a.gguf")
    data = (tmp_path / "a.gguf").read_bytes()
    assert head.alignment == alignment
    assert head.tensors[1].offset % alignment == 0
    for info in head.tensors:
        values = np.frombuffer(data, np.float32, 3, info.offset)
        assert (values == ord(info.name)).all()


def test_alignment_of_one(tmp_path: Path) -> None:
    recipe = Recipe(
        keys=(number("general.alignment", 1),),
        tensors=(tensor("a", [1]), tensor("b", [1], offset=4)),
        data=bytes(8),
        alignment=1,
    )
    head = header(recipe.write(tmp_path / "a.gguf"))
    assert [i.offset for i in head.tensors] == [len(recipe.bytes()) - 8, len(recipe.bytes()) - 4]


@pytest.mark.parametrize("version", [2, 3])
def test_versions_two_and_three_are_one_layout(tmp_path: Path, version: int) -> None:
    head = header(replace(small(), version=version).write(tmp_path / "a.gguf"))
    assert head.version == version
    assert plain(head) == {
        "general.architecture": ("string", "llama"),
        "llama.block_count": ("uint32", 1),
        "llama.flag": ("bool", True),
        "llama.big": ("float64", 2.5),
        "llama.words": ("array[string]", ["a", "", "héllo"]),
        "llama.numbers": ("array[int32]", [-1, 7]),
    }
    assert [(i.name, i.shape, i.type.name) for i in head.tensors] == [
        ("a.weight", (2, 4), "F32"), ("b.weight", (32,), "Q8_0"),
    ]  # fmt: skip


def test_scalar_empty_arrays_and_no_tensors(tmp_path: Path) -> None:
    one = Recipe(tensors=(tensor("a", []),), data=bytes(4))
    assert header(one.write(tmp_path / "a.gguf")).tensors[0].shape == ()
    for type_ in (STRING, I32, BOOL):
        path = Recipe(keys=(items("a", type_, 0, b""),), alignment=1).write(tmp_path / "b.gguf")
        data = header(path).keys["a"].data
        assert not isinstance(data, bool | int | float)
        assert len(data) == 0
    assert not header(Recipe().write(tmp_path / "c.gguf")).tensors


def test_strings_keep_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    raw = [b"\xff\xfe", b"", b"a\0b", "é".encode(), b"\xc3"]
    recipe = Recipe(keys=(items("a", STRING, len(raw), b"".join(map(string, raw))),))
    value = header(recipe.write(tmp_path / "a.gguf")).keys["a"]
    decoded = value.decoded()
    assert isinstance(decoded, list)
    assert [s.encode("utf-8", "surrogateescape") for s in decoded] == raw
    assert not value.clean


def test_items_of_strings_are_those_of_the_list(tmp_path: Path) -> None:
    words = ["a", "", "héllo", "c" * 300]
    recipe = Recipe(keys=(items("a", STRING, 4, b"".join(map(string, words))), text("b", "c")))
    data: Any = header(recipe.write(tmp_path / "a.gguf")).keys["a"].data
    assert [data[i] for i in range(4)] == words
    assert (data[-1], data[1:3], list(data), len(data)) == (words[-1], words[1:3], words, 4)
    with pytest.raises(IndexError):
        data[4]


@pytest.mark.parametrize("first", [24, 25, 31, 32, 60, 100, 131, 140, 200, 260])
def test_header_longer_than_the_first_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    path = small().write(tmp_path / "a.gguf")
    whole = header(path)
    monkeypatch.setattr(container, "_FIRST_READ", first)
    pieces = header(path)
    assert plain(pieces) == plain(whole)
    assert pieces.tensors == whole.tensors


HUGE = (1 << 63, (1 << 63) - 1, (1 << 64) - 1, 1 << 40)
DATA = bytes(64)
BYTES = bytes(range(64))

HOSTILE: dict[str, tuple[Recipe, str]] = {
    "magic": (Recipe(magic=b"FUGG"), "expected b'GGUF'"),
    "older": (Recipe(magic=b"tjgg"), "from before GGUF"),
    "version 0": (Recipe(version=0), "version 0"),
    "version 1": (Recipe(version=1), "version 1; only 2 and 3"),
    "version 4": (Recipe(version=4), "version 4"),
    "big-endian": (Recipe(order=">"), "big-endian"),
    "tensor count": (Recipe(tensor_count=-1 % (1 << 64)), "tensors announced"),
    "key count": (Recipe(key_count=-1 % (1 << 64)), "keys announced"),
    "more keys than there are": (Recipe(key_count=1, data=DATA), "a key has 0 bytes"),
    "length of key": (Recipe(keys=(string("a", 1 << 63) + BYTES,)), "impossible length"),
    "empty key": (Recipe(keys=(number("", 1),)), "a key has 0 bytes"),
    "long key": (Recipe(keys=(number("k" * 65536, 1),)), "65536 bytes"),
    "key is no UTF-8": (Recipe(keys=(key(b"\xff\xfe", U32, DATA),)), "is no text"),
    "key with control characters": (Recipe(keys=(number("a\x1b[31m", 1),)), "is no text"),
    "type of value": (Recipe(keys=(key("a", 13, DATA),)), "unknown type of value 13"),
    "key twice": (Recipe(keys=(number("a", 1), number("a", 2))), "'a': the key is there twice"),
    "length of string": (Recipe(keys=(key("a", STRING, string("b", 1 << 62)),)), "impossible"),
    "bool": (Recipe(keys=(key("a", BOOL, b"\2"),)), "expected a bool"),
    "bools": (Recipe(keys=(items("a", BOOL, 3, b"\0\1\2"),)), "expected bools"),
    "nested array": (Recipe(keys=(items("a", ARRAY, 1, DATA),)), "an array of arrays"),
    "type of array": (Recipe(keys=(items("a", 99, 1, DATA),)), "an array of type 99"),
    "length of array": (Recipe(keys=(items("a", I32, 1 << 40, DATA),)), "bytes are left"),
    "strings": (Recipe(keys=(items("a", STRING, 1 << 60, DATA),)), "bytes are left"),
    "many strings": (
        Recipe(keys=(items("a", STRING, (1 << 22) + 1, bytes(8 * ((1 << 22) + 1))),)),
        "at most 4194304 strings",
    ),
    "alignment 0": (Recipe(keys=(number("general.alignment", 0),)), "power of two"),
    "alignment 13": (Recipe(keys=(number("general.alignment", 13),)), "power of two"),
    "alignment 2^21": (Recipe(keys=(number("general.alignment", 1 << 21),)), "power of two"),
    "type of alignment": (Recipe(keys=(number("general.alignment", 32, I32),)), "expected uint32"),
    "alignment is text": (Recipe(keys=(text("general.alignment", "32"),)), "expected uint32"),
    "empty name": (Recipe(tensors=(tensor("", [1]),), data=DATA), "a tensor has 0 bytes"),
    "name is no UTF-8": (Recipe(tensors=(tensor(b"\x80", [1]),), data=DATA), "is no text"),
    "axes": (Recipe(tensors=(tensor("a", [1] * 5),), data=DATA), "at most 4 axes, found 5"),
    "zero": (Recipe(tensors=(tensor("a", [4, 0]),), data=DATA), "impossible shape [0, 4]"),
    "negative": (Recipe(tensors=(tensor("a", [(1 << 64) - 1]),), data=DATA), "impossible shape"),
    "elements": (Recipe(tensors=(tensor("a", [1 << 32, 1 << 31]),), data=DATA), "impossible shape"),
    "bytes": (Recipe(tensors=(tensor("a", [(1 << 63) - 1], 27),), data=DATA), "the file ends at"),
    "ggml type": (Recipe(tensors=(tensor("a.b", [1], 31),), data=DATA), "'a.b': unknown ggml type"),
    "removed type": (Recipe(tensors=(tensor("a", [32], 4),), data=DATA), "unknown ggml type 4"),
    "columns": (Recipe(tensors=(tensor("a", [48], 2),), data=DATA), "no whole blocks of Q4_0"),
    "offset": (Recipe(tensors=(tensor("a", [1], offset=8),), data=DATA), "not aligned to 32"),
    "far offset": (Recipe(tensors=(tensor("a", [1], 0, 1 << 63),), data=DATA), "the file ends at"),
    "outside": (Recipe(tensors=(tensor("a", [16], offset=32),), data=DATA), "the file ends at"),
    "overlap": (
        Recipe(tensors=(tensor("a", [16]), tensor("b", [1], offset=32)), data=DATA),
        "'b': overlaps with 'a'",
    ),
    "same place": (Recipe(tensors=(tensor("a", [1]), tensor("b", [1])), data=DATA), "overlaps"),
    "name twice": (
        Recipe(tensors=(tensor("a", [1]), tensor("a", [1], offset=32)), data=DATA),
        "'a': two tensors have this name",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, case: str) -> None:
    recipe, problem = HOSTILE[case]
    path = recipe.write(tmp_path / "a.gguf")
    with pytest.raises(FormatError) as caught:
        header(path)
    line = str(caught.value)
    assert problem in line
    assert line.startswith(str(path))
    assert "\n" not in line


def test_unknown_types_are_named_with_their_place(tmp_path: Path) -> None:
    recipe = Recipe(tensors=(tensor("blk.3.ffn_up.weight", [1], 99),), data=DATA)
    with pytest.raises(FormatError, match=r"@0x18 'blk\.3\.ffn_up\.weight': unknown ggml type 99"):
        header(recipe.write(tmp_path / "a.gguf"))


@pytest.mark.parametrize("count", HUGE)
@pytest.mark.parametrize("type_", [U8, STRING, F32, U64])
def test_huge_arrays_cost_nothing(tmp_path: Path, count: int, type_: int) -> None:
    path = Recipe(keys=(items("a", type_, count, DATA),)).write(tmp_path / "a.gguf")
    with pytest.raises(FormatError, match=r"only \d\d bytes are left"):
        header(path)


def test_a_header_beyond_all_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_FIRST_READ", 64)
    monkeypatch.setattr(container, "_LARGEST_HEADER", 128)
    path = Recipe(keys=(text("a", "b" * 200),)).write(tmp_path / "a.gguf")
    with pytest.raises(FormatError, match="the header is longer than 128 bytes"):
        header(path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = small().write(tmp_path / "a.gguf")
    with path.open("r+b", buffering=0) as file:
        for length in reversed(range(len(small().bytes()))):
            file.truncate(length)
            with pytest.raises(FormatError) as caught:
                header(path)
            assert "cut download" in str(caught.value) or "damaged" in str(caught.value), length


@pytest.mark.parametrize("word", [b"\xff" * 8, bytes(8), struct.pack("<Q", 1 << 63), b"\1" * 4])
def test_damage_anywhere_is_read_or_refused(tmp_path: Path, word: bytes) -> None:
    data = small().bytes()
    path = small().write(tmp_path / "a.gguf")
    refused = 0
    with path.open("r+b", buffering=0) as file:
        for place in range(len(data) - len(word)):
            file.seek(0)
            file.write(data[:place] + word + data[place + len(word) :])
            try:
                plain(header(path))
            except FormatError:
                refused += 1
    assert refused > len(data) / 3
