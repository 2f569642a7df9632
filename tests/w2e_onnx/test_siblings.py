"""A file of several networks becomes several ONNX files, and they become one file again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest

import w2e_bridge.api as api
from w2e_onnx import siblings

SOURCE = Path(__file__).parents[2] / "fixtures" / "tflite" / "two_heads_int8.tflite"


def outputs(path: Path, key: str) -> list[bytes]:
    """What a signature gives for the numbers 0, 1, … as codes."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner(key)
    feeds = {
        name: (np.arange(np.prod(d["shape"])) % 100).astype(d["dtype"]).reshape(d["shape"])
        for name, d in runner.get_input_details().items()
    }
    return [value.tobytes() for _, value in sorted(runner(**feeds).items())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "heads"
    api.convert(SOURCE, to="onnx", out=out, audit="full")
    return out


def test_each_network_has_a_file_and_every_tensor_a_row(folder: Path) -> None:
    assert sorted(p.name for p in folder.glob("*.onnx")) == ["model.onnx", "segment.onnx"]
    for file in folder.glob("*.onnx"):
        onnx.checker.check_model(onnx.load(file))
    report = json.loads((folder / "w2e-report.json").read_text())
    source = api.open(SOURCE)
    rows = {row["name"]: row["grade"] for row in report["tensors"]}
    networks = (source, *source.components.values())
    quantized = {
        name
        for network in networks
        for name, tensor in network.tensors.items()
        if tensor.encoding.quantized
    }
    assert quantized <= rows.keys()
    assert set(rows.values()) == {"exact"}


def test_the_folder_becomes_one_file_again(folder: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.tflite"
    report = api.convert(folder, to="tflite", out=back)
    assert not [row for row in report.ignored if "segment" in row.name]
    for key in ("classify", "segment"):
        assert outputs(back, key) == outputs(SOURCE, key)


def test_a_file_that_is_gone_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "model.onnx", tmp_path / "model.onnx")
    model = api.open(tmp_path / "model.onnx")
    assert not model.components
    assert [(r.name, r.reason) for r in model.remarks] == [
        ("segment", "'segment.onnx' is not there")
    ]


def test_a_network_that_the_target_has_no_place_for_is_told() -> None:
    report = api.convert(SOURCE, to="tensorrt", dry_run=True, fidelity="requantized")
    rows = {row.name: row.reason for row in report.ignored}
    assert "further network" in rows["segment"]


def test_names_become_file_names() -> None:
    names = siblings.file_names(["a/b", "a:b", "MODEL", "…", "x" * 99], "model")
    assert list(names.values()) == [
        "a_b.onnx", "a_b-2.onnx", "MODEL-2.onnx", "_.onnx", "x" * 64 + ".onnx",
    ]  # fmt: skip


@pytest.mark.parametrize("said", ["{", "[1]", '{"a": 1}', '{"a": "../b.onnx"}', '{"a": "b.pb"}'])
def test_names_that_lead_elsewhere_are_none(said: str) -> None:
    assert siblings.names_of(said) == {}
