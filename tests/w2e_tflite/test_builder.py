"""Flatbuffers that are written, with flatbuffers' own reader as the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated

from tests.w2e_tflite.maker import litert, some_inputs
from tests.w2e_tflite.test_flatbuffer import convolution, opened, plain
from w2e_tflite.builder import ALIGNMENT, Built, Later, build
from w2e_tflite.record import Held, Record, make


def whole(built: Built, parts: list[tuple[Later, bytes]]) -> bytes:
    """The file, with the data of its buffers."""
    data = bytearray(built.nbytes)
    for at, piece in [*built.head, *((built.places[id(later)], piece) for later, piece in parts)]:
        data[at : at + len(piece)] = piece
    return bytes(data)


def again(root: Record, limit: int) -> bytes:
    """A record that was read, written with its buffers streamed."""
    parts = []
    for buffer in root.records("buffers"):
        held = buffer.bytes("data")
        if held is not None and held.nbytes:
            later = Later(nbytes=held.nbytes)
            parts.append((later, held.read(0, held.nbytes).tobytes()))
            buffer.values["data"] = later
    return whole(build(root, limit), parts)


def said(data: bytes) -> Any:
    found = plain(generated.ModelT.InitFromPackedBuf(data, 0))
    for buffer in found["buffers"]:
        buffer["data"] = buffer["data"] or None
    return found


@pytest.mark.parametrize("limit", [1 << 30, 100], ids=["inside", "outside"])
def test_what_was_read_is_written(limit: int, tmp_path: Path) -> None:
    data = convolution()
    made = again(opened(data, tmp_path).root, limit)
    theirs = said(made)
    for buffer in theirs["buffers"]:
        if buffer["offset"]:
            assert limit == 100
            at, size = buffer["offset"], buffer["size"]
            assert at % ALIGNMENT == 0
            buffer |= {"offset": 0, "size": 0, "data": list(made[at : at + size])}
    assert theirs == said(data)
    inputs = some_inputs(data)
    np.testing.assert_array_equal(litert(made, inputs)[0][0], litert(data, inputs)[0][0])


def test_the_data_of_buffers_is_aligned(tmp_path: Path) -> None:
    made = again(opened(convolution(), tmp_path).root, 1 << 30)
    model = generated.Model.GetRootAs(made, 0)
    starts = []
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert starts
    assert all(start % ALIGNMENT == 0 for start in starts)


def test_a_shared_vector_is_written_once() -> None:
    later = Later(nbytes=100)
    buffers = tuple(make("Buffer", {"data": later}) for _ in range(3))
    built = build(make("Model", {"version": 3, "buffers": buffers}))
    data = whole(built, [(later, bytes(range(100)))])
    model = generated.Model.GetRootAs(data, 0)
    assert [model.Buffers(i).DataAsNumpy().tolist() for i in range(3)] == [list(range(100))] * 3
    assert len(data) < 260


def test_defaults_are_left_out_and_odd_widths_are_aligned() -> None:
    code = make("OperatorCode", {"deprecated_builtin_code": 3, "version": 1, "builtin_code": 3})
    dense = make("Uint8Vector", {"values": Held(data=b"abc")})
    wide = make("Uint16Vector", {"values": np.asarray([1, 2, 3], np.uint16)})
    level = make("DimensionMetadata", {"format": 1, "array_segments": wide, "array_indices": dense})
    sparsity = make("SparsityParameters", {"dim_metadata": (level,)})
    quantization = make("QuantizationParameters", {"zero_point": np.asarray([5], np.int64)})
    tensor = make("Tensor", {"sparsity": sparsity, "quantization": quantization, "name": "ä"})
    graph = make("SubGraph", {"tensors": (tensor,), "debug_metadata_index": -1})
    buffer = make("Buffer", {"data": Held(data=b"held"), "offset": 0})
    root = {"version": 3, "operator_codes": (code,), "subgraphs": (graph,), "buffers": (buffer,)}
    data = whole(build(make("Model", root)), [])
    found = said(data)
    assert found["operatorcodes"][0]["version"] == 1
    read = found["subgraphs"][0]["tensors"][0]
    assert read["name"] == "ä"
    assert read["quantization"]["zeropoint"] == [5]
    metadata = read["sparsity"]["dimmetadata"][0]
    assert (metadata["arraysegmentstype"], metadata["arrayindicestype"]) == (2, 3)
    assert metadata["arraysegments"]["values"] == [1, 2, 3]
    assert bytes(metadata["arrayindices"]["values"]) == b"abc"
    assert bytes(found["buffers"][0]["data"]) == b"held"
    graphs = generated.Model.GetRootAs(data, 0).Subgraphs(0)
    assert graphs._tab.Offset(14) == 0  # -1 is the default, and not written


def test_equal_tables_share_their_layout() -> None:
    few, many = (
        build(make("Model", {"buffers": tuple(make("Buffer", {"size": 7}) for _ in range(n))}))
        for n in (1, 11)
    )
    assert many.nbytes - few.nbytes == 10 * (4 + 4 + 8 + 4)  # place, table, padding to 8
