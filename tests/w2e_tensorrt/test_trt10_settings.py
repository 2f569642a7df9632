"""Build settings for TensorRT 10: precisions of layers, types of floats, names of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from tests.w2e_tensorrt.runtime import Parsed
from tests.w2e_tensorrt.test_apply_cache import network
from tests.w2e_tensorrt.trt10_cases import bundle, run
from w2e_bridge.api import Wishes
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.fidelity.report import Report
from w2e_bridge.ir.records import Hints
from w2e_bridge.loss import Grade

WISHES: dict[str, Any] = {
    "to": "tensorrt",
    "profile": "trt10",
    "fidelity": "requantized",
    "allow_float": True,
}


def mixed(path: Path) -> Path:
    """x → Conv of codes → Relu → Gemm of floats → y; the values are codes up to the Gemm."""
    random = np.random.default_rng(3)
    constants = {
        "w": random.integers(-127, 127, (4, 3, 1, 1)).astype(np.int8),
        "ws": np.float32(0.01), "wz": np.int8(0), "s": np.float32(0.02), "z": np.int8(0),
        "v": random.normal(size=(4, 5)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"], name="a,layer:1*"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("QuantizeLinear", ["r", "s", "z"], ["rq"]),
        helper.make_node("DequantizeLinear", ["rq", "s", "z"], ["rd"]),
        helper.make_node("Flatten", ["rd"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "v"], ["g"], name="classes"),
        helper.make_node("Softmax", ["g"], ["y"], name="softmax"),
    ]
    return saved(path, nodes, constants, TensorProto.FLOAT)


def saved(path: Path, nodes: list[onnx.NodeProto], constants: Mapping[str, Any], kind: int) -> Path:
    """A network of [1, 3, 1, 1] to [1, 5]."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net", [value("x", kind, [1, 3, 1, 1])], [value("y", kind, [1, 5])],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def arguments(folder: Path) -> list[str]:
    return (folder / "trtexec.args").read_text().splitlines()


def lowered(source: Path, out: Path, hints: dict[str, object]) -> Report:
    model = replace(w2e_bridge.open(source), hints=Hints(values=hints))
    return w2e_bridge.api.lower(model, Wishes(out=out, **WISHES))


def test_layers_compute_as_in_the_source(tmp_path: Path) -> None:
    bundle(mixed(tmp_path / "net.onnx"), tmp_path / "out")
    spec = (tmp_path / "out" / "layer_precisions.txt").read_text()
    assert spec == "a_layer:1_:int8,classes:fp32,softmax:fp32\n"
    parsed = Parsed(b"", tmp_path / "out" / "model.onnx")
    layers = {parsed.network.get_layer(i).name for i in range(parsed.network.num_layers)}
    assert {"a_layer:1_", "classes", "softmax"} <= layers


def test_hints_come_last(tmp_path: Path) -> None:
    hints: dict[str, object] = {
        "layer_precisions": {"classes": "fp16"},
        "layer_output_types": "classes:fp32",
        "precision_constraints": "obey",
        "precisions": ("int8", "fp16"),
        "unheard": 1,
    }
    report = lowered(mixed(tmp_path / "net.onnx"), tmp_path / "out", hints)
    said = arguments(tmp_path / "out")
    assert {"--precisionConstraints=obey", "--int8", "--fp16"} <= set(said)
    assert "--layerOutputTypes=classes:fp32" in said
    (spec,) = [line for line in said if line.startswith("--layerPrecisions=")]
    assert spec.endswith(",softmax:fp32,classes:fp16")
    assert dict(report.hints) == dict.fromkeys(hints, "applied") | {"unheard": "ignored"}


def test_hints_name_layers_as_the_file_does(tmp_path: Path) -> None:
    hints: dict[str, object] = {
        "layer_precisions": {"a,b'c*": "fp16"},
        "precisions": ["fp8", "int8", "int4"],
    }
    report = lowered(mixed(tmp_path / "net.onnx"), tmp_path / "out", hints)
    (spec,) = [line for line in arguments(tmp_path / "out") if "layerPrecisions" in line]
    assert spec.endswith(",a_b_c*:fp16")
    assert {("precisions[fp8]", "unsupported"), ("precisions[int4]", "unsupported")} <= set(
        report.hints
    )


def test_states_are_as_in_the_newer_release(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "fixtures" / "tflite" / "lstm_int8.tflite"
    report = bundle(source, tmp_path / "out")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert (len(model.graph.input), len(model.graph.output)) == (1, 1)
    assert sum("begins anew" in row.reason for row in report.ignored) == 2


def test_without_hints_and_codes_nothing_is_asked_of_layers(tmp_path: Path) -> None:
    bundle(network(tmp_path / "net.onnx"), tmp_path / "out")
    assert not [line for line in arguments(tmp_path / "out") if "recision" in line]


def test_a_network_of_half_precision_becomes_one_of_floats_and_a_flag(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    constants = {
        "w": random.normal(size=(4, 3, 1, 1)).astype(np.float16),
        "v": random.normal(size=(4, 5)).astype(np.float16),
        "half": np.float16(0.5),
    }
    one = helper.make_tensor("v", TensorProto.FLOAT16, [1], [1.0])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["m"]),
        helper.make_node("Cast", ["m"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["wide"], ["narrow"], to=TensorProto.FLOAT16),
        helper.make_node("Shape", ["narrow"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["ones"], value=one),
        helper.make_node("Mul", ["narrow", "half"], ["h"]),
        helper.make_node("Add", ["h", "ones"], ["y"]),
    ]
    source = saved(tmp_path / "net.onnx", nodes, constants, TensorProto.FLOAT16)
    report = bundle(source, tmp_path / "out", fidelity="exact", allow_float=False)
    assert {row.grade for row in report.tensors} == {Grade.EXACT}
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert TensorProto.FLOAT16 not in {t.data_type for t in model.graph.initializer}
    x = random.normal(size=(1, 3, 1, 1)).astype(np.float16)
    want, got = run(source, x), run(tmp_path / "out" / "model.onnx", x.astype(np.float32))
    assert got.dtype == np.float32
    assert np.abs(want - got).max() < 0.01
    assert "--fp16" in arguments(tmp_path / "out")


def test_a_file_has_its_companions_under_its_stem(tmp_path: Path) -> None:
    bundle(mixed(tmp_path / "net.onnx"), tmp_path / "there" / "some.onnx")
    names = {path.name for path in (tmp_path / "there").iterdir()}
    assert names == {
        "some.onnx", "some.calib.cache", "some.dynamic_ranges.txt", "some.layer_precisions.txt",
        "some.build.json", "some.trtexec.args", "some.w2e-report.json",
    }  # fmt: skip
    document = json.loads((tmp_path / "there" / "some.build.json").read_text())
    said = (tmp_path / "there" / "some.trtexec.args").read_text().splitlines()
    assert said[0] == "--onnx=some.onnx"
    assert "--calib=some.calib.cache" in said
    assert (document["model"], document["calibration"]) == ("some.onnx", "some.calib.cache")


def test_codes_that_stay_in_the_graph_are_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0),
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
        helper.make_node("Conv", ["d", "w"], ["c"]),
        helper.make_node("Flatten", ["c"], ["y"]),
    ]
    constants = {"w": np.ones((5, 3, 1, 1), np.float32)}
    source = saved(tmp_path / "net.onnx", nodes, constants, TensorProto.FLOAT)
    with pytest.raises(UnsupportedError, match="DequantizeLinear, QuantizeLinear, which stay"):
        bundle(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
