"""No constant is written that nothing reads: ONNX Runtime warns of each at load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

import w2e_bridge

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"
STEMS = ("convnet_int8", "loop_int8", "lstm_int8", "indices_int8", "perceptron_edge_a8w4")


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    yield from graphs(body)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("match", ["litert", "none"])
def test_every_initializer_is_read(stem: str, match: str, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    w2e_bridge.convert(FIXTURES / f"{stem}.tflite", to="onnx", out=out, options={"match": match})
    found = list(graphs(onnx.load(out).graph))
    read = {name for graph in found for node in graph.node for name in node.input}
    read |= {value.name for graph in found for value in graph.output}
    written = {tensor.name for graph in found for tensor in graph.initializer}
    assert written
    assert written <= read
