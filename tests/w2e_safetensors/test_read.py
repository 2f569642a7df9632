from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import numpy as library

import w2e_bridge.api as api
from tests.graph.samples import TABLES, make_tensor
from tests.graph.support import identity_model
from tests.w2e_safetensors.test_round_trip import NAME, of, save
from w2e_bridge.errors import BridgeError, FormatError, UnsupportedError
from w2e_bridge.formats.registry import sniff
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding, blocked, zero_point
from w2e_safetensors.read import lift

Document = dict[str, Any]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    weights = {
        "w": make_tensor("w", blocked(Integer(bits=4), 4, FLOAT32, zero_point(4)), (2, 8)),
        "t": make_tensor("t", Encoding(codes=TABLES[0], block=(8,), scale=FLOAT32), (2, 8)),
    }
    model = of(*weights.values(), graph=identity_model(weights, opset=21), metadata={"n": 1.0})
    return save(model, tmp_path_factory.mktemp("w")).read_bytes()


def split(data: bytes) -> tuple[Document, Document, bytes]:
    """Header, manifest and data."""
    size = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:size])
    return header, json.loads(header["__metadata__"]["w2e.manifest"]), data[size:]


def joined(header: Document, manifest: object, data: bytes) -> bytes:
    header["__metadata__"]["w2e.manifest"] = json.dumps(manifest)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def model_of(manifest: Document) -> Document:
    found = manifest["components"]["model"]
    assert isinstance(found, dict)
    return found


def tensor_of(manifest: Document, index: int = 0) -> Document:
    found = model_of(manifest)["tensors"][index]
    assert isinstance(found, dict)
    return found


def encoding_of(manifest: Document) -> Document:
    found = model_of(manifest)["encodings"][0]
    assert isinstance(found, dict)
    return found


BAD: dict[str, tuple[Callable[[Document], object], str]] = {
    "an unknown field": (lambda m: m.update(x=1), "unknown field `x`"),
    "no components": (lambda m: m.pop("components"), "required field `components`"),
    "no main component": (lambda m: m["components"].pop("model"), "no component 'model'"),
    "a version of text": (lambda m: m.update(w2e="1"), "Expected `int`"),
    "an unknown field of a tensor": (lambda m: tensor_of(m).update(x=1), "unknown field `x`"),
    "a tensor twice": (lambda m: tensor_of(m, 1).update(name="w"), "a name twice"),
    "an encoding that is not there": (lambda m: tensor_of(m).update(encoding=9), "no such encoding"),
    "a negative encoding": (lambda m: tensor_of(m).update(encoding=-1), "no such encoding"),
    "another shape": (lambda m: tensor_of(m).update(shape=[2, 10]), "expected U8 [2, 5], found U8 [2, 4]"),
    "a negative shape": (lambda m: tensor_of(m).update(shape=[-2, 8]), "expected a shape"),
    "a huge shape": (lambda m: tensor_of(m).update(shape=[1 << 50, 1 << 50]), "expected a shape"),
    "an unknown type": (lambda m: tensor_of(m).update(dtype="complex64"), "expected a shape and a type"),
    "another name": (lambda m: tensor_of(m).update(name="x"), "array 'x' is not in the file"),
    "arrays elsewhere": (lambda m: tensor_of(m).update(stored={"": "t.scale"}), "expected U8 [2, 4], found F32"),
    "native bytes that are not there": (
        lambda m: tensor_of(m).update(layout={"name": "x", "label": "X", "elements": 2, "bytes": 1, "native": True}),
        "expected 8 bytes",
    ),
    "a layout of no weights": (
        lambda m: tensor_of(m).update(layout={"name": "x", "label": "X", "elements": 0, "bytes": 1, "native": True}),
        "in blocks of 0",
    ),
    "unknown codes": (lambda m: encoding_of(m).update(codes="uint65"), "'uint65' is no type of codes"),
    "codes of another width": (lambda m: encoding_of(m).update(codes="uint8"), "expected U8 [2, 8]"),
    "a table that is not there": (lambda m: encoding_of(m).update(codes={"table": "x"}), "'w2e.table/x'"),
    "a table of vectors that is none": (
        lambda m: encoding_of(m).update(codes={"table": "nf4", "vectors": True}), "no matrix of int8",
    ),
    "a negative block": (lambda m: encoding_of(m).update(block=[-4]), "blocks of [-4]"),
    "no block": (lambda m: encoding_of(m).pop("block"), "scales without blocks"),
    "an offset of no kind": (lambda m: encoding_of(m)["offset"].update(kind="x"), "'x' is not a valid OffsetKind"),
    "an offset of two kinds": (lambda m: encoding_of(m)["offset"].update(constant=1), "one of the two"),
    "a graph of another weight": (lambda m: tensor_of(m).update(dtype="float16"), "the graph has another weight"),
    "metadata of no kind": (lambda m: model_of(m).update(metadata={"a": [1]}), "is no value"),
    "metadata elsewhere": (lambda m: model_of(m).update(metadata="w.scale"), "expected bytes, found F32"),
    "a tokenizer of no kind": (lambda m: model_of(m).update(tokenizer={"tokens": []}), "required field `kind`"),
    "a tokenizer of no rule": (
        lambda m: model_of(m).update(tokenizer={"kind": "bpe", "rules": ["x"]}), "unexpected keyword argument 'x'",
    ),
    "a tokenizer of no token": (
        lambda m: model_of(m).update(tokenizer={"kind": "bpe", "special": {"bos": 1}}), "beyond its 0 tokens",
    ),
    "an architecture of no field": (lambda m: model_of(m).update(architecture={"x": 1}), "unknown field 'x'"),
    "half an architecture": (lambda m: model_of(m).update(architecture={"family": "x"}), "required field"),
    "deep nesting": (lambda m: model_of(m).update(hints=nested(5000)), "nested too deep"),
}  # fmt: skip


def nested(depth: int) -> object:
    value: object = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("what", BAD)
def test_manifests_that_do_not_go_with_the_file(what: str, whole: bytes, tmp_path: Path) -> None:
    import sys

    change, message = BAD[what]
    header, manifest, data = split(whole)
    change(manifest)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)  # for writing the nested one
    try:
        damaged = joined(header, manifest, data)
    finally:
        sys.setrecursionlimit(limit)
    (tmp_path / NAME).write_bytes(damaged)
    with pytest.raises(FormatError) as caught:
        lift(tmp_path / NAME, {})
    assert message in str(caught.value)
    assert NAME in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"w2e": 2}, "version 2"), ({"must_understand": ["teleport"]}, "teleport")],
)
def test_later_versions_are_not_half_understood(
    change: Document, message: str, whole: bytes, tmp_path: Path
) -> None:
    header, manifest, data = split(whole)
    (tmp_path / NAME).write_bytes(joined(header, manifest | change, data))
    with pytest.raises(UnsupportedError, match=message):
        lift(tmp_path / NAME, {})


def test_checkpoints_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    library.save_file({"w": np.zeros(3, np.float32)}, path)
    with pytest.raises(UnsupportedError, match="checkpoints are not supported yet") as caught:
        lift(path, {})
    assert "model.safetensors" in str(caught.value)
    with pytest.raises(UnsupportedError, match="only canonical files"):
        lift(tmp_path, {})


def test_known_by_content_whatever_it_is_called(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(whole)
    assert sniff(tmp_path / "weights.bin").name == "w2e"
    assert set(api.open(tmp_path / "weights.bin").tensors) == {"w", "t"}
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / NAME).write_bytes(whole)
    assert sniff(folder).name == "w2e"
    assert set(api.open(folder).tensors) == {"w", "t"}


def test_opening_reads_no_weights(tmp_path: Path) -> None:
    path = save(of(make_tensor("w", blocked(Integer(bits=8), 32, FLOAT32), (64, 32))), tmp_path)
    data = bytearray(path.read_bytes())
    found = lift(path, {})
    data[-4096:] = bytes(4096)  # what is read now is what is there now
    path.write_bytes(data)
    assert not found.tensors["w"].storage.parts(60, 64).codes.any()


@settings(
    derandomize=True,
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_damage_raises_only_our_errors(tmp_path: Path, whole: bytes, data: st.DataObject) -> None:
    damaged = bytearray(whole)
    size = 8 + int.from_bytes(whole[:8], "little")
    end = data.draw(st.sampled_from([size - 2500, len(whole) - 1]))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, end))] = data.draw(
            st.sampled_from(b'0123456789"[]{},:-eE\\\xff')
        )
    path = tmp_path / NAME
    path.write_bytes(damaged[: data.draw(st.sampled_from([len(whole), len(whole), size, 5000]))])
    try:
        for one in lift(path, {}).tensors.values():
            one.dequantize()
    except BridgeError as error:
        assert "\n" not in str(error)
