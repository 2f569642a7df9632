"""Whole networks as bundles: the rules, the numbers, and TensorRT-RTX's parser and builder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from tests.w2e_tensorrt.runtime import Parsed
from w2e_bridge.fidelity.report import Report
from w2e_bridge.formats.lint import Severity
from w2e_tensorrt.lint import lint

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"
BUILT = ("branches_int8", "lstm_int8", "spaces_int8", "loop_int8")
"""What once parsed and was not built: numbers without an axis, gates put together."""

RANDOM = np.random.default_rng(41)
Arrays = dict[str, NDArray[np.generic]]


def bundle(source: Path, tmp_path: Path, **options: str) -> Report:
    return w2e_bridge.convert(
        source, to="tensorrt", out=tmp_path / "out", fidelity="requantized", allow_float=True,
        options=options,
    )  # fmt: skip


def lawful(path: Path) -> None:
    errors = [f"{f.rule.name}: {f.node}" for f in lint(path) if f.rule.severity is Severity.ERROR]
    assert not errors


def decibels(want: list[NDArray[Any]], got: list[NDArray[Any]]) -> float:
    signal = sum(float((w.astype(np.float64) ** 2).sum()) for w in want)
    noise = sum(
        float(((w.astype(np.float64) - g) ** 2).sum()) for w, g in zip(want, got, strict=True)
    )
    return float(10 * np.log10(signal / max(noise, 1e-20)))


def reals(details: list[dict[str, Any]], values: list[NDArray[Any]]) -> list[NDArray[Any]]:
    found = []
    for detail, value in zip(details, values, strict=True):
        scale, zero = detail["quantization"]
        whole = (value.astype(np.float32) - zero) * np.float32(scale)
        found.append(whole.astype(np.float32) if scale else value)
    return found


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.tflite")), ids=lambda path: path.stem)
def test_of_litert(path: Path, tmp_path: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))
    interpreter.allocate_tensors()
    details, values = interpreter.get_input_details(), []
    for detail in details:
        kind, shape = detail["dtype"], detail["shape"]
        if np.issubdtype(kind, np.integer):
            low, high = np.iinfo(kind).min, np.iinfo(kind).max
            values.append(RANDOM.integers(low, high, shape, kind, endpoint=True))
        else:
            values.append(RANDOM.normal(size=shape).astype(kind))
        interpreter.set_tensor(detail["index"], values[-1])
    interpreter.invoke()
    ends = interpreter.get_output_details()
    want = reals(ends, [interpreter.get_tensor(end["index"]) for end in ends])
    bundle(path, tmp_path)
    made = tmp_path / "out" / "model.onnx"
    lawful(made)
    session = ort.InferenceSession(str(made))
    settings = json.loads((tmp_path / "out" / "build.json").read_text())
    feeds = {
        value.name: np.full(value.shape, settings["io"][value.name]["state"]["initial"], np.float32)
        for value in session.get_inputs()[len(details) :]
    }
    own = zip(session.get_inputs(), reals(details, values), strict=False)
    feeds |= {value.name: array for value, array in own}
    assert decibels(want, session.run(None, feeds)[: len(want)]) > 12
    parsed = Parsed(b"", made)
    assert parsed.ok, parsed.errors
    if path.stem in BUILT:
        assert parsed.builds(settings["profiles"])


def saved(
    path: Path, nodes: list[onnx.NodeProto], x: list[Any], arrays: Arrays, opset: int
) -> Path:
    """A network of x → y."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net", [info("x", TensorProto.FLOAT, x)], [info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=imports, ir_version=11 if opset > 21 else 8)
    onnx.save(onnx.shape_inference.infer_shapes(made), path)
    return path


def normal(*shape: int) -> NDArray[np.float32]:
    drawn = RANDOM.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    return np.asarray(drawn, np.float32)


def segmenter(path: Path) -> Path:
    """Two scales, a bilinear and a transposed way up, a Concat, a gate; attributes of set 17."""
    node = helper.make_node
    arrays: Arrays = {
        "a": normal(8, 3, 3, 3), "b": normal(16, 8, 3, 3), "t": normal(16, 8, 2, 2), "r": normal(4, 16, 1, 1),
        "f": normal(4, 20, 3, 3), "g": normal(4, 4, 1, 1), "up": np.array([1, 1, 2, 2], np.float32),
        "w": normal(4, 6), "c": normal(6),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "a"], ["n1"], pads=[1, 1, 1, 1]), node("LeakyRelu", ["n1"], ["n2"], alpha=0.1),
        node("MaxPool", ["n2"], ["n3"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["n3", "b"], ["n4"], pads=[1, 1, 1, 1]), node("Relu", ["n4"], ["n5"]),
        node("ConvTranspose", ["n5", "t"], ["n6"], strides=[2, 2], kernel_shape=[2, 2]),
        node("Resize", ["n5", "", "up"], ["n7"], mode="linear"), node("Conv", ["n7", "r"], ["n8"]),
        node("Concat", ["n6", "n2", "n8"], ["n9"], axis=1), node("Conv", ["n9", "f"], ["n10"]),
        node("GlobalAveragePool", ["n10"], ["n11"]), node("Conv", ["n11", "g"], ["n12"]),
        node("Sigmoid", ["n12"], ["n13"]), node("Mul", ["n10", "n13"], ["n14"]),
        node("ReduceMean", ["n14"], ["n15"], axes=[2, 3], keepdims=0), node("MatMul", ["n15", "w"], ["n16"]),
        node("Add", ["n16", "c"], ["y"]),
    ]  # fmt: skip
    return saved(path, nodes, ["n", 3, 16, 16], arrays, 17)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize(
    ("activations", "weights", "channels", "extra"),
    [
        ("QUInt8", "QInt8", True, {}),
        ("QUInt8", "QUInt8", False, {}),
        ("QInt8", "QInt8", True, {"WeightSymmetric": False}),
    ],
)
def test_of_onnx_runtime(
    form: str,
    activations: str,
    weights: str,
    *,
    channels: bool,
    extra: dict[str, bool],
    tmp_path: Path,
) -> None:
    tools = pytest.importorskip("onnxruntime.quantization")
    rows = [{"x": RANDOM.normal(size=(2, 3, 16, 16)).astype(np.float32)} for _ in range(4)]

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.rows = iter(rows)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.rows, None)

    source = tmp_path / "int8.onnx"
    tools.quantize_static(
        segmenter(tmp_path / "net.onnx"), source, Reader(), per_channel=channels,
        quant_format=tools.QuantFormat[form], activation_type=tools.QuantType[activations],
        weight_type=tools.QuantType[weights], extra_options=extra,
    )  # fmt: skip
    bundle(source, tmp_path)
    made = tmp_path / "out" / "model.onnx"
    lawful(made)
    plain = ort.SessionOptions()  # its kernels of uint8 by int8 saturate where there is no VNNI
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    want, got = (
        [ort.InferenceSession(str(p), plain).run(None, r)[0] for r in rows] for p in (source, made)
    )
    assert decibels(want, got) > 15
    model = onnx.load(made)
    through = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    operators = ("Conv", "ConvTranspose", "MatMul", "Gemm")
    assert all(node.input[1] in through for node in model.graph.node if node.op_type in operators)
    parsed = Parsed(b"", made)
    assert parsed.ok, parsed.errors
    assert parsed.builds(json.loads((tmp_path / "out" / "build.json").read_text())["profiles"])


LARGE: dict[str, tuple[list[str], dict[str, Any]]] = {
    "attention": (["x", "x", "x"], {"is_causal": 1, "q_num_heads": 4, "kv_num_heads": 4}),
    "rotary embedding": (["x", "cos", "sin"], {"num_heads": 4}),
    "r m s normalization": (["x", "w"], {}),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_operators_of_onnx_files_are_written_as_parts(kind: str, tmp_path: Path) -> None:
    op = kind.title().replace(" ", "")
    inputs, attributes = LARGE[kind]
    arrays: Arrays = {"cos": normal(2, 7, 4), "sin": normal(2, 7, 4), "w": normal(32)}
    used = {name: array for name, array in arrays.items() if name in inputs}
    nodes = [helper.make_node(op, inputs, ["y"], **attributes)]
    source = saved(tmp_path / "net.onnx", nodes, [2, 7, 32], used, 23)
    bundle(source, tmp_path)
    made = tmp_path / "out" / "model.onnx"
    assert op not in {node.op_type for node in onnx.load(made).graph.node}
    x = RANDOM.normal(size=(2, 7, 32)).astype(np.float32)
    want, got = (ort.InferenceSession(str(p)).run(None, {"x": x}) for p in (source, made))
    assert decibels(want, got) > 100
    parsed = Parsed(b"", made)
    assert parsed.ok, parsed.errors
    assert parsed.builds()


def test_states_of_sequences_begin_anew_or_are_explicit(tmp_path: Path) -> None:
    report = bundle(FIXTURES / "lstm_int8.tflite", tmp_path / "anew")
    model = onnx.load(tmp_path / "anew" / "out" / "model.onnx")
    assert (len(model.graph.input), len(model.graph.output)) == (1, 1)
    assert len(report.conditions) == 2
    assert sum("begins anew" in row.reason for row in report.ignored) == 2
    assert not [p.key for p in model.metadata_props if p.key.startswith("w2e.state")]
    report = bundle(FIXTURES / "lstm_int8.tflite", tmp_path / "explicit", states="explicit")
    folder = tmp_path / "explicit" / "out"
    model = onnx.load(folder / "model.onnx")
    assert (len(model.graph.input), len(model.graph.output)) == (3, 3)
    assert not report.conditions
    io = json.loads((folder / "build.json").read_text())["io"]
    for given, end in zip(model.graph.input[1:], model.graph.output[1:], strict=True):
        assert io[given.name]["state"] == {"initial": 0, "next": end.name}  # a number, not its code


def test_a_state_that_is_assigned_is_always_explicit(tmp_path: Path) -> None:
    report = bundle(FIXTURES / "leaky_int8.tflite", tmp_path)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    assert (len(model.graph.input), len(model.graph.output)) == (2, 2)
    assert not report.conditions


def test_a_range_cuts_off_what_goes_beyond_it(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Mul", ["d", "four"], ["m"]),
        helper.make_node("QuantizeLinear", ["m", "s", "z"], ["mq"]),
        helper.make_node("DequantizeLinear", ["mq", "s", "z"], ["md"]),
        helper.make_node("Exp", ["md"], ["y"]),
    ]
    arrays: Arrays = {
        "s": np.asarray(0.02, np.float32), "z": np.asarray(0, np.int8), "four": np.asarray(4, np.float32),
    }  # fmt: skip
    source = saved(tmp_path / "net.onnx", nodes, [256], arrays, 17)
    bundle(source, tmp_path)
    x = {"x": (np.arange(-128, 128) * 0.02).astype(np.float32)}
    made = tmp_path / "out" / "model.onnx"
    want, got = (ort.InferenceSession(str(p)).run(None, x) for p in (source, made))
    assert decibels(want, got) > 40
    assert [node.op_type for node in onnx.load(made).graph.node].count("Clip") == 1
