"""A calibration cache put on a float network: its scales bit for bit, its weights in new codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from w2e_bridge.errors import FormatError
from w2e_bridge.fidelity.report import Report
from w2e_bridge.loss import Grade
from w2e_tensorrt.calibration_cache import HEADER, written

SCALES = {"x": np.float32(0.0237), "c": np.float32(0.031), "r": np.float32(0.0291)}


def network(path: Path) -> Path:
    """x → Conv → Relu → Gemm → y."""
    random = np.random.default_rng(3)
    weights = {
        "w": random.normal(size=(4, 3, 1, 1)).astype(np.float32),
        "v": random.normal(size=(4, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net",
        [value("x", TensorProto.FLOAT, [1, 3, 1, 1])], [value("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def converted(tmp_path: Path, scales: dict[str, np.float32]) -> Report:
    cache = tmp_path / "some.cache"
    cache.write_bytes(written(HEADER, scales))
    return w2e_bridge.convert(
        network(tmp_path / "net.onnx"), to="tensorrt", out=tmp_path / "out",
        fidelity="requantized", allow_float=True, options={"calibration-cache": str(cache)},
    )  # fmt: skip


def test_scales_are_the_caches_bit_for_bit(tmp_path: Path) -> None:
    converted(tmp_path, {**SCALES, "f": SCALES["r"], "y": np.float32(0.1)})
    model = onnx.load(tmp_path / "out" / "model.onnx")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made = [constants[n.input[1]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    known = {scale.tobytes() for scale in SCALES.values()}
    assert made
    assert {np.float32(scale.reshape(())).tobytes() for scale in made} <= known


def test_float_weights_become_codes_and_results_stay_near(tmp_path: Path) -> None:
    report = converted(tmp_path, {**SCALES, "f": SCALES["r"]})
    assert {row.name: row.grade for row in report.tensors} == dict.fromkeys(
        ("w", "v"), Grade.REQUANTIZED
    )
    x = np.random.default_rng(4).uniform(-1, 1, (1, 3, 1, 1)).astype(np.float32)
    want, got = (
        ort.InferenceSession(str(path)).run(None, {"x": x})[0]
        for path in (tmp_path / "net.onnx", tmp_path / "out" / "model.onnx")
    )
    assert np.abs(want - got).max() < 0.1 * np.abs(want).max()


def test_entries_without_a_place_are_told(tmp_path: Path) -> None:
    scales = {**SCALES, "other": np.float32(1), "f": np.float32(0)}
    ignored = {row.name: row.reason for row in converted(tmp_path, scales).ignored}
    assert "no float value" in ignored["other"]
    assert ignored["f"].endswith("is 0.0")


def test_the_cache_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="without: c, r, f") as caught:
        converted(tmp_path, {"x": SCALES["x"]})
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_weights_of_a_float_network_stay_floats(tmp_path: Path) -> None:
    source = network(tmp_path / "net.onnx")
    report = w2e_bridge.convert(
        source, to="tensorrt", out=tmp_path / "out", fidelity="requantized", allow_float=True
    )
    assert {row.grade for row in report.tensors} == {Grade.EXACT}
