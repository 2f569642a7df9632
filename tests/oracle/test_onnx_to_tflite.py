"""What ONNX Runtime's quantizer makes of usual networks, in LiteRT: codes kept, a few steps apart at most."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from tests.cli.runner import run_main
from tests.oracle.networks import NETWORKS, inputs_of, litert, quantized
from w2e_bridge.passes.legalize.encodings import scales_of

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
    """Codes of constants of 8 bits less their zero points, sorted."""
    graph = onnx.load(path).graph
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    found: Counter[bytes] = Counter()
    for name, codes in held.items():
        if codes.dtype in (np.int8, np.uint8) and codes.size > 1 and name.endswith("_quantized"):
            zeros = held[name.replace("_quantized", "_zero_point")].astype(int)
            assert (zeros == zeros.flat[0]).all()
            found[key(codes.astype(int) - zeros.flat[0])] += 1
    return found


def codes_in(path: Path) -> Counter[bytes]:
    """The same of a TensorFlow Lite file."""
    found: Counter[bytes] = Counter()
    for tensor in w2e_bridge.open(path).tensors.values():
        if str(tensor.encoding.codes) in ("int8", "uint8"):
            scales = scales_of(tensor)
            assert scales is not None
            codes = tensor.storage.parts(0, tensor.rows).codes.astype(int)
            found[key(codes - int(scales.zero[0]))] += 1
    return found


def key(numbers: Array) -> bytes:
    return np.sort(numbers.reshape(-1)).astype(np.int16).tobytes()


FLATTENED = {"straight": 1}
"""Networks that flatten an image of more than one pixel, and how often."""


def transposes_inside(path: Path) -> int:
    """Transposes that neither read a public input nor make a public output."""
    interpreter = Interpreter(str(path))
    public = {d["index"] for d in interpreter.get_input_details()}
    public |= {d["index"] for d in interpreter.get_output_details()}
    made = [
        (op["op_name"], {int(i) for i in (*op["inputs"], *op["outputs"])})
        for op in interpreter._get_ops_details()
    ]
    # A rounding may stand between a public value and its Transpose.
    for name, values in made:
        if name in ("QUANTIZE", "DEQUANTIZE") and values & public:
            public |= values
    return sum(name == "TRANSPOSE" and not values & public for name, values in made)


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
        # A Flatten of an image reads it channels first, whatever stands before it.
        assert transposes_inside(target) <= FLATTENED.get(name, 0)
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
