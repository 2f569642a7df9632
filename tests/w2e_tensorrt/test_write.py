"""What the parser asks of a file beyond its numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from w2e_bridge.errors import UnsupportedError

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


def refused(nodes: list[onnx.NodeProto], folder: Path, *domains: str, **weights: object) -> str:
    """Why a network is not converted; nothing is left of it."""
    constants = [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, [2, 4])],
        [value("y", TensorProto.FLOAT, [2, 4])],
        constants,
    )
    opsets = [helper.make_opsetid("", 21), *(helper.make_opsetid(name, 1) for name in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), folder / "net.onnx")
    with pytest.raises(UnsupportedError) as caught:
        w2e_bridge.convert(folder / "net.onnx", to="tensorrt", out=folder / "out")
    assert [path.name for path in folder.iterdir()] == ["net.onnx"]
    return str(caught.value)


def test_operators_that_tensorrt_has_not_are_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("CDist", ["x", "x"], ["h"], domain="com.microsoft"),
        helper.make_node("CDist", ["h", "x"], ["y"], domain="com.microsoft"),
    ]
    assert "TensorRT has no CDist (2)" in refused(nodes, tmp_path, "com.microsoft")


def test_what_the_parser_would_refuse_is_not_kept(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0),
        helper.make_node("QuantizeLinear", ["x", "m", "z"], ["q"], name="computed scale"),
        helper.make_node("DequantizeLinear", ["q", "m", "z"], ["y"]),
    ]
    said = refused(nodes, tmp_path, z=np.int8(0))
    assert "TensorRT would refuse node" in said
    assert "a scale that is computed" in said
