"""The report's loss figures against ONNX Runtime: the same value or weight, before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from w2e_bridge.loss import Grade, TensorLoss

RANDOM = np.random.default_rng(29)
SCALE = np.float32(0.0413)
VALUES: dict[str, tuple[type[np.integer], int, Grade]] = {
    "symmetric": (np.int8, 0, Grade.EXACT),
    "shifted": (np.uint8, 128, Grade.EXACT),
    "signed": (np.int8, 3, Grade.REQUANTIZED),
    "unsigned": (np.uint8, 37, Grade.REQUANTIZED),
    "from zero": (np.uint8, 0, Grade.REQUANTIZED),
    "to zero": (np.uint8, 255, Grade.REQUANTIZED),
    "wide": (np.int16, 0, Grade.REQUANTIZED),
}
WEIGHTS: dict[str, tuple[type[np.integer], int, bool, Grade]] = {
    "symmetric": (np.int8, 0, True, Grade.EXACT),
    "shifted": (np.uint8, 128, False, Grade.EXACT),
    "asymmetric": (np.uint8, 101, False, Grade.REQUANTIZED),
    "channels": (np.int8, 7, True, Grade.REQUANTIZED),
}


def outputs(path: Path, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """What ONNX Runtime computes for an inner value, or holds as a constant."""
    model = onnx.load(path)
    if name in {t.name for t in model.graph.initializer}:
        model.graph.node.append(helper.make_node("Identity", [name], [f"{name}.seen"]))
        name = f"{name}.seen"
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), plain)
    return np.asarray(session.run([name], {"x": x})[0], np.float32)


def saved(
    path: Path, nodes: list[onnx.NodeProto], constants: dict[str, NDArray[np.generic]]
) -> Path:
    """A network of x → y."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net",
        [info("x", TensorProto.FLOAT, [1, 4, None, None])], [info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def network(path: Path, value: tuple[type[np.integer], int], weight: str) -> Path:
    """x → Neg → n, rounded → padded Conv with quantized weights and bias → y."""
    kind, zero = value
    codes, own, channels, _ = WEIGHTS[weight]
    low, high = np.iinfo(codes).min, np.iinfo(codes).max
    shape = (5,) if channels else ()
    scales = RANDOM.uniform(0.005, 0.02, shape).astype(np.float32)
    constants: dict[str, NDArray[np.generic]] = {
        "s": np.asarray(SCALE),
        "z": np.asarray(zero, kind),
        "w_quantized": RANDOM.integers(low, high, (5, 4, 3, 3), endpoint=True).astype(codes),
        "w.s": scales,
        "w.z": np.full(shape, own, codes),
        "b_quantized": RANDOM.integers(-9000, 9000, 5).astype(np.int32),
        "b.s": (scales * SCALE * np.ones(5, np.float32)).astype(np.float32),
    }
    axis = {"axis": 0} if channels else {}
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        helper.make_node("QuantizeLinear", ["n", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w_quantized", "w.s", "w.z"], ["w"], **axis),  # type: ignore[arg-type]
        helper.make_node("DequantizeLinear", ["b_quantized", "b.s"], ["b"], axis=0),
        helper.make_node("Conv", ["d", "w", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    return saved(path, nodes, constants)


def converted(tmp_path: Path, source: Path) -> tuple[Path, dict[str, TensorLoss]]:
    """The bundle's model, and the report's rows by name."""
    report = w2e_bridge.convert(
        source, to="tensorrt", out=tmp_path / "out", fidelity="requantized", allow_float=True
    )
    rows = {row.name: row for row in (*report.tensors, *report.values)}
    return tmp_path / "out" / "model.onnx", rows


@pytest.mark.parametrize("case", VALUES)
def test_of_a_value(tmp_path: Path, case: str) -> None:
    kind, zero, grade = VALUES[case]
    source = network(tmp_path / "net.onnx", (kind, zero), "symmetric")
    made, rows = converted(tmp_path, source)
    codes = np.arange(np.iinfo(kind).min, np.iinfo(kind).max + 1, dtype=np.int64)
    numbers = (codes - zero).astype(np.float32) * SCALE
    x = -np.resize(numbers, (1, 4, len(numbers) // 16, 4))
    before, after = outputs(source, "d", x), outputs(made, "n", x)
    largest = float(np.abs(before.astype(np.float64) - after).max())
    assert rows["n"].grade is grade
    assert (largest == 0) is (grade is Grade.EXACT)
    assert rows["n"].max_abs_error == pytest.approx(largest, rel=1e-5, abs=1e-9)
    assert rows["n"].max_error_steps == pytest.approx(largest / float(SCALE), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("case", WEIGHTS)
def test_of_a_weight_and_a_bias(tmp_path: Path, case: str) -> None:
    source = network(tmp_path / "net.onnx", (np.int8, 0), case)
    made, rows = converted(tmp_path, source)
    x = RANDOM.normal(size=(1, 4, 6, 6)).astype(np.float32)
    for name in ("w", "b"):
        before, after = outputs(source, name, x), outputs(made, name, x)
        largest = float(np.abs(before.astype(np.float64) - after).max())
        assert rows[name].max_abs_error == pytest.approx(largest, rel=1e-5, abs=1e-9)
    assert rows["w"].grade is WEIGHTS[case][-1]
    assert (rows["w"].max_abs_error == 0) is (rows["w"].grade is Grade.EXACT)


def test_of_the_whole_where_all_is_exact(tmp_path: Path) -> None:
    source = network(tmp_path / "net.onnx", (np.uint8, 128), "symmetric")
    made, rows = converted(tmp_path, source)
    assert {row.grade for row in rows.values()} == {Grade.EXACT}
    x = RANDOM.normal(scale=4, size=(1, 4, 6, 6)).astype(np.float32)
    before, after = outputs(source, "y", x), outputs(made, "y", x)
    assert np.abs(before - after).max() <= 1e-6 * np.abs(before).max()


def test_of_inputs_that_get_the_scale_of_their_concat(tmp_path: Path) -> None:
    constants: dict[str, NDArray[np.generic]] = {
        "s": np.asarray(SCALE), "t": np.asarray(SCALE * np.float32(3)), "z": np.asarray(0, np.int8),
        "w": RANDOM.integers(-99, 99, (5, 8, 1, 1)).astype(np.int8), "u": np.asarray(0.01, np.float32),
    }  # fmt: skip
    nodes = [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Tanh", ["x"], ["m"])]
    for name, scale in (("n", "s"), ("m", "t")):
        nodes += [
            helper.make_node("QuantizeLinear", [name, scale, "z"], [f"{name}.q"]),
            helper.make_node("DequantizeLinear", [f"{name}.q", scale, "z"], [f"{name}.d"]),
        ]
    nodes += [
        helper.make_node("Concat", ["n.d", "m.d"], ["c"], axis=1),
        helper.make_node("QuantizeLinear", ["c", "t", "z"], ["c.q"]),
        helper.make_node("DequantizeLinear", ["c.q", "t", "z"], ["c.d"]),
        helper.make_node("DequantizeLinear", ["w", "u", "z"], ["v"]),
        helper.make_node("Conv", ["c.d", "v"], ["y"]),
    ]
    source = saved(tmp_path / "net.onnx", nodes, constants)
    made, rows = converted(tmp_path, source)
    x = -np.resize(np.arange(-128, 128).astype(np.float32) * SCALE, (1, 4, 8, 8))
    before, after = outputs(source, "n.d", x), outputs(made, "n", x)
    largest = float(np.abs(before.astype(np.float64) - after).max())
    assert rows["n"].grade is Grade.REQUANTIZED
    assert largest > 0
    assert rows["n"].max_abs_error == pytest.approx(largest, rel=1e-5)
