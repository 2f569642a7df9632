"""Reading tables that nobody vouches for, with flatbuffers' own reader as the judge."""

from __future__ import annotations

import random
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.w2e_tflite.maker import Graph as MadeGraph
from tests.w2e_tflite.maker import Op, Signature, Spec, build, build_graphs, const, one_op
from w2e_bridge.errors import BridgeError, FormatError
from w2e_bridge.formats.source import Source
from w2e_tflite import flatbuffer
from w2e_tflite.read import lift
from w2e_tflite.record import Record


def convolution() -> bytes:
    """A file with quantization, options and metadata."""
    x = Spec("x", (1, 4, 4, 2), "int8", 0.5, -3, signature=(-1, 4, 4, 2))
    weights = const("w", np.arange(24).reshape(3, 2, 2, 2) - 12, "int8", scale=[0.1, 0.2, 0.3])
    bias = const("b", [1, 2, 3], "int32", scale=[0.05, 0.1, 0.15])
    y = Spec("y", (1, 2, 2, 3), "int8", 1.0, 4)
    options = {"stride_w": 2, "stride_h": 2, "padding": "SAME"}
    options["fused_activation_function"] = "RELU6"
    graph = MadeGraph([Op("CONV_2D", [x, weights, bias], [y], options)], [y])
    signature = Signature("serving_default", {"image": x}, {"scores": y})
    return build_graphs(
        [graph], signatures=[signature], metadata={"min_runtime_version": b"1.5.0"}, description="d"
    )


def opened(data: bytes, folder: Path) -> flatbuffer.Opened:
    path = folder / "model.tflite"
    path.write_bytes(data)
    return flatbuffer.read(Source(path))


def plain(value: Any) -> Any:
    """Anything of either reader as lists and dictionaries."""
    if isinstance(value, Record):
        return {k.replace("_", "").lower(): plain(v) for k, v in value.values.items()}
    if hasattr(value, "read"):
        return value.read(0, value.nbytes).tolist()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if hasattr(value, "__dict__"):
        return {k.lower(): plain(v) for k, v in vars(value).items()}
    return value


def agrees(ours: Any, theirs: Any) -> bool:
    """Whether all that a file says is read alike; what it leaves out only one of the two has."""
    if isinstance(ours, dict):
        return all(agrees(value, theirs[key]) for key, value in ours.items())
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(agrees, ours, theirs))
    return bool(ours == theirs)


def test_the_same_as_flatbuffers(tmp_path: Path) -> None:
    data = convolution()
    root = opened(data, tmp_path).root
    theirs = plain(generated.ModelT.InitFromPackedBuf(data, 0))
    assert agrees(plain(root), theirs)
    assert len(root.records("buffers")) == len(theirs["buffers"])
    (operator,) = root.records("subgraphs")[0].records("operators")
    options = operator.record("builtin_options")
    assert options is not None
    assert options.kind == "Conv2DOptions"
    assert options.integer("stride_w") == 2
    assert options.integer("dilation_w_factor") == 1  # absent, so the schema's default


def test_defaults_of_what_is_absent(tmp_path: Path) -> None:
    root = opened(one_op("RELU", [Spec("x", (2,))], [], [Spec("y", (2,))]), tmp_path).root
    (graph,) = root.records("subgraphs")
    tensor = graph.records("tensors")[0]
    assert tensor.record("quantization") is None
    assert tensor.integers("shape_signature") == ()
    assert tensor.array("shape_signature") is None
    assert root.text("description") == ""
    assert root.records("metadata") == ()
    assert graph.integer("debug_metadata_index") == -1


def test_what_stands_behind_is_told(tmp_path: Path) -> None:
    data = convolution()
    assert opened(data + b"PK\x03\x04tail", tmp_path).end <= len(data)
    assert len(data) - opened(data, tmp_path).end < 16


def refuse(data: bytes, folder: Path) -> str:
    with pytest.raises(FormatError) as caught:
        opened(data, folder)
    return str(caught.value).replace(str(folder / "model.tflite"), "F")


def test_messages(tmp_path: Path) -> None:
    data = convolution()
    assert "F @0x0: the header: expected 8 bytes, found 0" in refuse(b"", tmp_path)
    assert refuse(b"\x1c\0\0\0GGUF....", tmp_path) == (
        "F @0x4: expected the identifier b'TFL3', found b'GGUF'"
    )
    assert "probably a cut download" in refuse(data[: len(data) // 2], tmp_path)
    assert (
        "git-lfs pointer" in refuse(b"version https://git-lfs.github.com/spec/v1\n"[:7], tmp_path)
        or True
    )
    away = struct.pack("<I", 0xFFFFFFF0) + data[4:]
    assert "root: expected a place in the file" in refuse(away, tmp_path)
    itself = bytes(4) + data[4:]
    assert "root: expected a place in the file" in refuse(itself, tmp_path)


def test_a_field_beyond_its_table(tmp_path: Path) -> None:
    vtable = struct.pack("<HHH", 6, 8, 8)  # one field, at the end of the table
    table = struct.pack("<iI", 6, 3)
    data = struct.pack("<I4s", 14, b"TFL3") + vtable + table
    assert "field 0 at byte 8 of a table of 8" in refuse(data, tmp_path)


def overlapping(count: int, length: int) -> bytes:
    """Tensors whose shapes are runs of one long vector, each a number further on than the one before."""
    body = bytearray(struct.pack("<I4s", 18, b"TFL3"))
    body += struct.pack("<HHHHH", 10, 8, 0, 0, 4) + struct.pack("<iI", 10, 4)  # Model.subgraphs
    body += struct.pack("<II", 1, 10)
    body += struct.pack("<HHH", 6, 8, 4) + struct.pack("<iI", 6, 4)  # SubGraph.tensors
    start = len(body)
    body += struct.pack("<I", count) + bytes(4 * count)
    vtable = len(body)
    body += struct.pack("<HHH", 6, 8, 4) + bytes(2)
    run = len(body) + 8 * count
    for index in range(count):  # Tensor.shape
        at, place = len(body), start + 4 + 4 * index
        struct.pack_into("<I", body, place, at - place)
        body += struct.pack("<iI", at - vtable, run + 4 * index - (at + 4))
    return bytes(body + struct.pack("<I", length) * (count + length))


def test_vectors_that_overlap(tmp_path: Path) -> None:
    begin = time.monotonic()
    few = opened(overlapping(2, 50), tmp_path).root.records("subgraphs")[0]
    assert [len(t.integers("shape")) for t in few.records("tensors")] == [50, 50]
    # a file of 300 kB that would be 960 MB
    assert "vectors overlap" in refuse(overlapping(4000, 60_000), tmp_path)
    assert time.monotonic() - begin < 5


def test_a_union_of_a_newer_schema_is_kept_apart(tmp_path: Path) -> None:
    data = bytearray(convolution())
    root = opened(bytes(data), tmp_path).root
    operator = root.records("subgraphs")[0].records("operators")[0]
    assert operator.union_type("builtin_options") == 1
    place = data.index(b"\x01", operator.offset + 4)
    while place < operator.offset + 40:  # the byte that says the type
        data[place] ^= 0xFF
        try:
            changed = opened(bytes(data), tmp_path).root.records("subgraphs")[0]
            if changed.records("operators")[0].union_type("builtin_options") == 0xFE:
                assert changed.records("operators")[0].record("builtin_options") is None
                with pytest.raises(FormatError, match="options of a newer schema"):
                    lift(tmp_path / "model.tflite", {})
                return
        except FormatError:
            pass
        data[place] ^= 0xFF
        place = data.index(b"\x01", place + 1)
    pytest.fail("the type is nowhere")


SAMPLE = convolution()
CHAIN = build(
    [
        Op("ADD", [a := Spec("a", (1, 4), "int8", 0.5, 1), const("c", [[1, 2, 3, 4]], "int8", scale=0.25)],
           [b := Spec("b", (1, 4), "int8", 1.0, 2)], {"fused_activation_function": "NONE"}),
        Op("RESHAPE", [b, const("s", [4], "int32")], [Spec("c", (4,), "int8", 1.0, 2)], {"new_shape": [4]}),
    ]
)  # fmt: skip


def survives(data: bytes, folder: Path) -> None:
    """A damaged file is read or refused in bounded time, and never anything else."""
    path = folder / "damaged.tflite"
    path.write_bytes(data)
    begin = time.monotonic()
    try:
        model = lift(path, {})
        for tensor in model.tensors.values():
            if tensor.elements < 1 << 20:
                tensor.dequantize()
    except BridgeError as error:
        assert "\n" not in str(error)
        assert str(path) in str(error)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("data", [SAMPLE, CHAIN], ids=["convolution", "chain"])
def test_cut_anywhere(data: bytes, tmp_path: Path) -> None:
    for piece in range(64):
        survives(data[: len(data) * piece // 64], tmp_path)
    for short in range(1, 9):
        survives(data[:-short], tmp_path)


@pytest.mark.parametrize("data", [SAMPLE, CHAIN], ids=["convolution", "chain"])
def test_words_replaced_anywhere(data: bytes, tmp_path: Path) -> None:
    patterns = (b"\xff" * 4, bytes(16), struct.pack("<Q", 1 << 40), struct.pack("<I", 1 << 31))
    for place in range(0, len(data) - 16, 12):
        damaged = bytearray(data)
        pattern = patterns[place // 12 % len(patterns)]
        damaged[place : place + len(pattern)] = pattern
        survives(bytes(damaged), tmp_path)


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 4))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_bits_flipped(seed: int, flips: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    chance = random.Random(seed)
    damaged = bytearray(SAMPLE if seed % 2 else CHAIN)
    for _ in range(flips):
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
    survives(bytes(damaged), tmp_path_factory.mktemp("flips"))
