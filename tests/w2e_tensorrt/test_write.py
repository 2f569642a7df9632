"""What the parser asks of a file beyond its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import onnx

import w2e_bridge

SOURCE = Path(__file__).parents[2] / "fixtures" / "tflite" / "branches_int8.tflite"


def names(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of the nodes of a graph and of those inside."""
    for node in graph.node:
        yield node.name
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from names(attribute.g)


def test_node_names_occur_once_in_all_graphs(tmp_path: Path) -> None:
    w2e_bridge.convert(
        SOURCE, to="tensorrt", out=tmp_path / "out", fidelity="requantized", allow_float=True
    )
    model = onnx.load(tmp_path / "out" / "model.onnx")
    found = list(names(model.graph))
    assert any(node.op_type == "If" for node in model.graph.node)
    assert len(found) == len(set(found))
    assert all(found)
    assert not model.functions


def test_companions_of_a_file_have_its_stem(tmp_path: Path) -> None:
    out = tmp_path / "net.onnx"
    w2e_bridge.convert(
        SOURCE.with_name("convnet_int8.tflite"),
        to="tensorrt",
        out=out,
        fidelity="requantized",
        allow_float=True,
    )
    assert (tmp_path / "net.trtexec.args").read_text().startswith("--onnx=net.onnx\n")
    assert json.loads((tmp_path / "net.build.json").read_text())["model"] == "net.onnx"
    assert not (tmp_path / "build.json").exists()
