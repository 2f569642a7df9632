"""Models of ONNX Runtime's own quantizer: folded into properties, and the same numbers when unfolded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.graph.support import run, same_bits, write
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.qdq import unfold
from w2e_bridge.ir.activation import ActivationMode, Granularity
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE
from w2e_onnx.read import lift

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

SHAPE = (1, 3, 8, 8)


def float_model(path: Path) -> Path:
    """Conv -> Relu (which the quantizer takes out) -> Conv, summed with the first -> mean -> Gemm."""
    chance = np.random.default_rng(0)
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 4, 3, 3), "wg": (5, 4), "bg": (5,)}
    weights = {name: chance.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["r1", "c2"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "wg", "bg"], ["y"], transB=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], initializers)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path
    )
    return path


def inputs() -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=SHAPE).astype(np.float32)


class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
    """Four batches."""

    def __init__(self) -> None:
        chance = np.random.default_rng(1)
        batches = [{"x": chance.normal(size=SHAPE).astype(np.float32)} for _ in range(4)]
        self.batches: Iterator[dict[str, Any]] = iter(batches)

    def get_next(self) -> dict[str, Any] | None:
        return next(self.batches, None)


@pytest.fixture(params=[False, True], ids=["per tensor", "per channel"])
def quantized(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    source, target = float_model(tmp_path / "float.onnx"), tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=request.param,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
    return target, bool(request.param)


def test_everything_is_folded(quantized: tuple[Path, bool]) -> None:
    path, channels = quantized
    model = lift(path, {})
    assert not model.remarks
    assert model.graph is not None
    # Public values are real ones, so that their quantized forms are values of their own.
    assert [node.op_type for node in model.graph.graph] == [
        "Identity", "Conv", "Conv", "Add", "GlobalAveragePool", "Flatten", "Gemm", "Identity",
    ]  # fmt: skip
    assert set(model.tensors) == {"w1", "b1", "w2", "wg", "bg"}
    block = (WHOLE, WHOLE, WHOLE) if channels else (WHOLE,) * 4
    own = model.tensors["w1"].encoding
    assert (own.codes, own.block, own.scale) == (Integer(bits=8, signed=True), block, FLOAT32)
    assert own.offset is None  # zero points of 0 are written out in the file
    assert model.tensors["b1"].encoding.codes == Integer(bits=32, signed=True)
    assert {"x_QuantizeLinear_Output", "r1", "s", "p"} <= set(model.activations)
    assert not {"x", "y"} & set(model.activations)
    assert all(q.granularity is Granularity.TENSOR for q in model.activations.values())


def test_weights_are_those_that_the_nodes_compute(quantized: tuple[Path, bool]) -> None:
    path, _ = quantized
    proto = onnx.load(path)
    nodes = {n.output[0]: n for n in proto.graph.node if n.op_type == "DequantizeLinear"}
    wanted = [n for name, n in nodes.items() if n.input[0].endswith("_quantized")]
    del proto.graph.node[:], proto.graph.output[:], proto.graph.input[:]
    proto.graph.node.extend(wanted)
    for node in wanted:
        proto.graph.output.append(helper.make_tensor_value_info(node.output[0], 1, None))
    onnx.save(proto, path.with_name("weights.onnx"))
    expected = run(path.with_name("weights.onnx"))
    found = lift(path, {}).tensors
    names = {n.output[0]: n.input[0].removesuffix("_quantized") for n in wanted}
    assert {"w1", "w2", "wg"} <= set(names.values())
    for output, values in expected.items():
        assert same_bits(found[names[output]].dequantize(), values)


def test_unfolded_it_computes_the_same(quantized: tuple[Path, bool], tmp_path: Path) -> None:
    path, _ = quantized
    model = lift(path, {})
    assert model.graph is not None
    editor = Editor(model=model.graph, tensors=dict(model.tensors))
    unfold(editor, model.activations)
    again = tmp_path / "again"
    again.mkdir()
    feeds = {"x": inputs()}
    expected, found = (
        run(p, feeds)["y"] for p in (path, write(again, editor.model, editor.tensors))
    )
    assert same_bits(found, expected)
    back = lift(again, {})
    assert back.activations.keys() == model.activations.keys()
    assert {n: t.encoding for n, t in back.tensors.items()} == {
        n: t.encoding for n, t in model.tensors.items()
    }


def test_integers_with_scales_of_the_run_are_dynamic(tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(float_model(tmp_path / "float.onnx"), target, weight_type=QuantType.QUInt8)
    model = lift(target, {})
    assert not model.remarks
    assert {q.mode for q in model.activations.values()} == {ActivationMode.DYNAMIC}
    assert model.tensors["w1"].encoding.codes == Integer(bits=8)
