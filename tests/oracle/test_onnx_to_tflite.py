"""What ONNX Runtime's quantizer makes of usual networks, in LiteRT: codes kept, a few steps apart at most."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from tests.cli.runner import run_main
from tests.oracle.networks import NETWORKS, inputs_of, litert, quantized

Array = NDArray[Any]

STEPS = {"straight": 0, "residual": 1, "depthwise": 1, "mobile": 1, "gated": 3, "encoder": 8}
"""How far an output may be off. A sum, a mean, a softmax is one step off at most (see
`test_quantized_operators`), which what follows multiplies: in an encoder, by its norms."""

SPELLINGS = [
    ("QDQ QInt8 QInt8", True),
    ("QDQ QUInt8 QInt8", False),
    ("QDQ QUInt8 QUInt8", True),
    ("QOperator QUInt8 QInt8", True),
    ("QOperator QInt8 QInt8", False),
    ("QOperator QUInt8 QUInt8", False),
]


def weights_of(path: Path) -> Counter[bytes]:
    """Codes of constants of 8 bits, sorted, as signed ones."""
    found: Counter[bytes] = Counter()
    for one in onnx.load(path).graph.initializer:
        array = numpy_helper.to_array(one)
        if array.dtype in (np.int8, np.uint8) and array.size > 1 and "zero_point" not in one.name:
            codes = array.astype(int) - (128 if array.dtype == np.uint8 else 0)
            found[np.sort(codes.reshape(-1)).astype(np.int8).tobytes()] += 1
    return found


def codes_in(path: Path) -> Counter[bytes]:
    """The same of a TensorFlow Lite file."""
    found: Counter[bytes] = Counter()
    for tensor in w2e_bridge.open(path).tensors.values():
        if str(tensor.encoding.codes) in ("int8", "uint8"):
            codes = tensor.storage.parts(0, tensor.rows).codes.astype(int)
            codes = codes - (128 if str(tensor.encoding.codes) == "uint8" else 0)
            found[np.sort(codes.reshape(-1)).astype(np.int8).tobytes()] += 1
    return found


def transposes_inside(path: Path) -> int:
    """Transposes of images that neither read a public input nor make a public output."""
    model = w2e_bridge.open(path)
    assert model.graph is not None
    kinds = Counter(operator for operator in operators(path))
    return kinds["TRANSPOSE"] - borders(path)


def operators(path: Path) -> list[str]:
    """The builtin operators of a file, in order."""
    from ai_edge_litert.interpreter import Interpreter

    return [op["op_name"] for op in Interpreter(str(path))._get_ops_details()]


def borders(path: Path) -> int:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    public = {d["index"] for d in interpreter.get_input_details()}
    public |= {d["index"] for d in interpreter.get_output_details()}
    ops = interpreter._get_ops_details()
    # A rounding may stand between a public value and its Transpose.
    for op in ops:
        if op["op_name"] in ("QUANTIZE", "DEQUANTIZE") and {*op["inputs"], *op["outputs"]} & public:
            public |= {int(i) for i in (*op["inputs"], *op["outputs"])}
    found = [op for op in ops if op["op_name"] == "TRANSPOSE"]
    return sum(bool({int(i) for i in (*op["inputs"], *op["outputs"])} & public) for op in found)


def runtime(path: Path, x: Array, *, optimized: bool) -> Array:
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    made: Array = session.run(None, {"x": x})[0]
    return made


def last_step(path: Path) -> float:
    """The scale of the output."""
    graph = onnx.load(path).graph
    (last,) = (node for node in graph.node if graph.output[0].name in node.output)
    assert last.op_type == "DequantizeLinear"
    (scale,) = (one for one in graph.initializer if one.name == last.input[1])
    return float(numpy_helper.to_array(scale))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("spelling", "channels"), SPELLINGS)
@pytest.mark.parametrize("name", STEPS)
def test_network(name: str, spelling: str, channels: bool, tmp_path: Path) -> None:
    model = NETWORKS[name]()
    source = quantized(model, tmp_path, spelling, channels=channels)
    target = tmp_path / "out.tflite"
    report = w2e_bridge.convert(source, to="tflite", out=target)
    assert {row.grade.label for row in (*report.tensors, *report.values)} == {"exact"}
    assert not weights_of(source) - codes_in(target)
    if name != "encoder":  # whose own Transposes part the heads
        assert transposes_inside(target) == 0
    step = last_step(source)
    for x in inputs_of(model, 4, seed=7):
        (got,) = litert(target, {"x": x})
        for optimized in (False, True):
            wanted = runtime(source, x, optimized=optimized)
            assert got.shape == wanted.shape
            assert np.rint(np.abs(got - wanted).max() / step) <= STEPS[name]


def conv_then(*nodes: onnx.NodeProto, output: list[int] | None = None) -> onnx.ModelProto:
    """A convolution, then what LiteRT has no operator for."""
    weights = np.random.default_rng(0).normal(size=(2, 3, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["c"]), *nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(weights, "w")],
    )
    versions = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    return helper.make_model(graph, opset_imports=versions, ir_version=9)


REFUSED = {
    "Det": helper.make_node("Det", ["c"], ["y"]),
    "Einsum": helper.make_node("Einsum", ["c"], ["y"], equation="abii->ab"),
    "Mine": helper.make_node("Mine", ["c"], ["y"], domain="my.domain"),
}


@pytest.mark.parametrize("op", REFUSED)
def test_refused_by_name(op: str, tmp_path: Path) -> None:
    source = tmp_path / "model.onnx"
    onnx.save(conv_then(REFUSED[op]), source)
    done = run_main("convert", str(source), "--to", "tflite", "--out", str(tmp_path / "out.tflite"))
    assert done.code == 2
    assert op in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
