"""Zero points that go into biases: nothing is lost where products alone read a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from w2e_bridge.fidelity.report import Report
from w2e_bridge.loss import Grade, TensorLoss

SCALE, ZERO = 0.05, 37
RANDOM = np.random.default_rng(11)
READERS: dict[str, tuple[str, tuple[int, ...], dict[str, Any], bool]] = {
    "conv": ("Conv", (5, 4, 1, 1), {}, True),
    "conv without bias": ("Conv", (5, 4, 1, 1), {}, False),
    "grouped": ("Conv", (6, 2, 2, 2), {"group": 2}, True),
    "same of one": ("Conv", (5, 4, 1, 1), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, True),
    "padded": ("Conv", (5, 4, 3, 3), {"pads": [1, 1, 1, 1]}, True),
    "same of three": ("Conv", (5, 4, 3, 3), {"auto_pad": "SAME_LOWER"}, True),
    "gemm": ("Gemm", (64, 3), {}, True),
    "gemm transposed": ("Gemm", (3, 64), {"transB": 1}, False),
    "matmul": ("MatMul", (64, 3), {}, False),
    "addition": ("Add", (1, 4, 4, 4), {}, False),
}


def network(path: Path, kind: str) -> Path:
    """x → Neg → uint8 with a zero point → (Flatten →) reader → y."""
    op, shape, attributes, bias = READERS[kind]
    constants = {
        "scale": np.float32(SCALE),
        "zero": np.uint8(ZERO),
        "w": RANDOM.integers(-100, 100, shape).astype(np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "b": RANDOM.normal(size=shape[1] if op == "Gemm" and bias else shape[0]).astype(np.float32),
    }
    flat = op in ("Gemm", "MatMul")
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("QuantizeLinear", ["n", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"]),
        helper.make_node("Flatten" if flat else "Identity", ["d"], ["f"]),
        helper.make_node(op, ["f", "v", *(["b"] if bias else [])], ["y"], **attributes),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net",
        [value("x", TensorProto.FLOAT, [1, 4, 4, 4])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items() if n != "b" or bias],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), path)
    return path


def both(tmp_path: Path, kind: str) -> tuple[Report, float]:
    """The report, and the largest distance of the results over the largest result."""
    source = network(tmp_path / "net.onnx", kind)
    report = w2e_bridge.convert(
        source, to="tensorrt", out=tmp_path / "out", fidelity="requantized", allow_float=True
    )
    x = RANDOM.uniform(-12, 3, (1, 4, 4, 4)).astype(np.float32)  # beyond both ends of the range
    plain = (
        ort.SessionOptions()
    )  # integer kernels of ONNX Runtime saturate inner sums on older CPUs
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    want, got = (
        ort.InferenceSession(str(path), plain).run(None, {"x": x})[0]
        for path in (source, tmp_path / "out" / "model.onnx")
    )
    return report, float(np.abs(want - got).max() / np.abs(want).max())


def row(report: Report) -> TensorLoss:
    return next(row for row in report.values if row.name == "n")


MOVED = [k for k in READERS if k not in ("padded", "same of three", "addition")]


@pytest.mark.parametrize("kind", MOVED)
def test_products_take_a_zero_point_back(tmp_path: Path, kind: str) -> None:
    report, error = both(tmp_path, kind)
    assert row(report).grade is Grade.EXACT
    assert row(report).reason.startswith(f"moved by {128 - ZERO} steps")
    assert error < 1e-5


@pytest.mark.parametrize("kind", ["padded", "same of three", "addition"])
def test_what_sees_the_difference_keeps_a_covering_range(tmp_path: Path, kind: str) -> None:
    report, error = both(tmp_path, kind)
    assert row(report).grade in (Grade.REQUANTIZED, Grade.FLOAT)
    assert error < 0.1
