from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import numpy as library
from safetensors import safe_open

from w2e_bridge.errors import FormatError
from w2e_bridge.formats.source import Source
from w2e_safetensors.header import BITS, Entry, header_bytes, read_header

ARRAYS: dict[str, NDArray[Any]] = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.zeros((0, 4), np.int64),
    "c": np.arange(3, dtype=np.uint8),
}


def raw(header: object, data: bytes = b"", text: bytes | None = None) -> bytes:
    body = json.dumps(header).encode() if text is None else text
    return struct.pack("<Q", len(body)) + body + data


def read(path: Path, data: bytes) -> dict[str, Entry]:
    path.write_bytes(data)
    return dict(read_header(Source(path)).entries)


def test_the_librarys_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    library.save_file(ARRAYS, path, metadata={"k": "v"})
    source = Source(path)
    header = read_header(source)
    assert header.metadata == {"k": "v"}
    for name, array in ARRAYS.items():
        entry = header.entries[name]
        assert entry.shape == array.shape
        assert source.take(entry.offset, entry.nbytes, name) == array.tobytes()


def test_our_headers_are_read_by_the_library(tmp_path: Path) -> None:
    entries = [
        ('é\n"', Entry(dtype="U8", shape=(2, 2), offset=0, nbytes=4)),
        ("z", Entry(dtype="BF16", shape=(), offset=4, nbytes=2)),
    ]
    path = tmp_path / "x.safetensors"
    head = header_bytes({"format": "pt", "k": "\\u0000\U0001f600"}, entries)
    assert len(head) % 4096 == 0
    path.write_bytes(head + bytes(6))
    with safe_open(path, "numpy") as opened:
        assert opened.metadata() == {"format": "pt", "k": "\\u0000\U0001f600"}
        assert opened.get_slice("z").get_shape() == []
        assert opened.get_tensor('é\n"').tolist() == [[0, 0], [0, 0]]


def entry(
    dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4), **more: object
) -> object:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


BAD = {
    "nothing": (b"", "expected 8 bytes"),
    "seven bytes": (b"1234567", "expected 8 bytes"),
    "a git-lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "a header longer than the file": (struct.pack("<Q", 100) + b"{}", "expected 100 bytes"),
    "a header longer than any": (struct.pack("<Q", 100_000_001) + b"{}", "expected a header of"),
    "a negative length": (b"\xff" * 8 + b"{}", "expected a header of"),
    "no JSON": (raw(None, text=b"{nope}"), "the header is no JSON"),
    "no UTF-8": (raw(None, text=b'{"\xff": 1}'), "the header is no JSON"),
    "no object": (raw([1]), "no JSON object"),
    "deep nesting": (raw(None, text=b"[" * 90_000), "nested too deep"),
    "a name twice": (raw(None, text=b'{"a": 1, "a": 2}'), "twice"),
    "metadata of numbers": (raw({"__metadata__": {"a": 1}}), "expected texts"),
    "a field missing": (raw({"a": {"dtype": "U8", "shape": [1]}}), "expected dtype"),
    "a field too many": (raw({"a": entry(more=1)}, b"1234"), "expected dtype"),
    "an unknown type": (raw({"a": entry("I4")}, b"1234"), "unknown element type 'I4'"),
    "a type that is a list": (raw({"a": entry(["U8"])}, b"1234"), "unknown element type"),
    "a negative extent": (raw({"a": entry(shape=[-4])}, b"1234"), "expected a shape"),
    "an extent that is no integer": (raw({"a": entry(shape=[4.0])}, b"1234"), "expected a shape"),
    "an extent that is true": (raw({"a": entry(shape=[True], offsets=[0, 1])}, b"1"), "a shape"),
    "extents that overflow": (raw({"a": entry(shape=[1 << 40, 1 << 40])}, b"1234"), "does not have"),
    "one offset": (raw({"a": entry(offsets=[0])}, b"1234"), "two offsets"),
    "offsets the wrong way round": (raw({"a": entry(offsets=[4, 0])}, b"1234"), "does not have -4"),
    "bits that fill no byte": (raw({"a": entry("F4", [3], [0, 1])}, b"1"), "does not have 1"),
    "a hole": (raw({"a": entry(offsets=[1, 5])}, b"12345"), "a hole before it"),
    "an overlap": (
        raw({"a": entry(), "b": entry(offsets=[2, 6])}, b"123456"),
        "found an overlap",
    ),
    "bytes at the end": (raw({"a": entry()}, b"12345"), "bytes in the file, found"),
    "a byte missing": (raw({"a": entry()}, b"123"), "cut download"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_damage_is_told(what: str, tmp_path: Path) -> None:
    data, message = BAD[what]
    with pytest.raises(FormatError) as caught:
        read(tmp_path / "x.safetensors", data)
    assert message in str(caught.value)
    assert "x.safetensors" in str(caught.value)


@pytest.mark.parametrize("dtype", BITS)
def test_every_type_of_the_library_is_known(dtype: str, tmp_path: Path) -> None:
    data = raw({"a": entry(dtype, [8], [0, BITS[dtype]])}, bytes(BITS[dtype]))
    path = tmp_path / "x.safetensors"
    assert read(path, data)["a"].nbytes == BITS[dtype]
    with safe_open(path, "numpy") as opened:
        assert opened.get_slice("a").get_dtype() == dtype


@settings(
    derandomize=True,
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_what_we_accept_the_library_accepts(tmp_path: Path, data: st.DataObject) -> None:
    whole = raw(
        {"__metadata__": {"k": "v"}, "a": entry(), "b": entry("F16", [2], [4, 8])}, b"12345678"
    )
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.safetensors"
    try:
        found = read(path, bytes(damaged))
    except FormatError:
        return
    with safe_open(path, "numpy") as opened:
        assert set(opened.keys()) == set(found)
