"""Scales as TensorRT's own network holds them, read back from its parser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from tests.w2e_tensorrt.runtime import Parsed
from w2e_bridge.loss import Grade

FIXTURES = Path(__file__).parents[2] / "fixtures"
RANDOM = np.random.default_rng(17)


def linears(
    path: Path,
) -> dict[str, tuple[onnx.NodeProto, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]]:
    """Nodes that quantize or dequantize, by name, with their scales."""
    model = onnx.load(path)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return {
        node.name: (node, constants[node.input[1]].astype(np.float32))
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }


def agree(bundle: Path) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """The scales of a bundle by what is dequantized with them, after a comparison with the network's."""
    parsed = Parsed(b"", bundle / "model.onnx")
    assert parsed.ok, parsed.errors
    held, written = parsed.scales(), linears(bundle / "model.onnx")
    assert written
    assert set(held) == set(written)
    for name, (_, scale) in written.items():
        assert held[name].tobytes() == scale.tobytes(), name
    return {
        node.output[0]: held[name]
        for name, (node, _) in written.items()
        if node.op_type == "DequantizeLinear"
    }


@pytest.mark.parametrize("name", ["convnet_int8", "convnet_uint8_old", "two_heads_int8"])
def test_tflite(tmp_path: Path, name: str) -> None:
    source = FIXTURES / "tflite" / f"{name}.tflite"
    report = w2e_bridge.convert(
        source, to="tensorrt", out=tmp_path / "out", fidelity="requantized", allow_float=True
    )
    found, model = agree(tmp_path / "out"), w2e_bridge.open(source)
    kept = {row.name for row in report.tensors if row.grade is Grade.EXACT} & found.keys()
    assert kept or name == "convnet_uint8_old"  # whose weights are asymmetric
    for weight in kept:
        scale = model.tensors[weight].storage.parts(0, model.tensors[weight].rows).scale
        assert scale is not None
        said = set(scale.codes.astype(np.float32).reshape(-1).tolist())
        assert set(found[weight].reshape(-1).tolist()) <= said


@pytest.mark.slow
def test_blocks_of_a_language_model(tmp_path: Path) -> None:
    source = FIXTURES / "gguf" / "llama-Q4_0.gguf"
    w2e_bridge.convert(source, to="tensorrt", out=tmp_path / "out", allow_float=True)
    assert sum(scale.ndim == 2 for scale in agree(tmp_path / "out").values()) > 10


def matrices(path: Path) -> Path:
    """x → MatMul → Gemm → MatMul: one scale, one for each output, one for each block."""
    codes = RANDOM.integers(-127, 128, (64, 64)).astype(np.int8)
    scales = {
        "whole": np.float32(0.013),
        "columns": RANDOM.uniform(0.001, 0.1, 64).astype(np.float32),
        "blocks": RANDOM.uniform(0.001, 0.1, (2, 64)).astype(np.float32),
    }
    constants: dict[str, object] = {"x.scale": np.float32(0.0371), "zero": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x.scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "x.scale", "zero"], ["d"]),
    ]
    value = "d"
    for name, scale in scales.items():
        constants |= {f"{name}.codes": codes, f"{name}.scale": scale}
        attributes = {"axis": 1} if name == "columns" else {}
        attributes |= {"axis": 0, "block_size": 32} if name == "blocks" else {}
        pair = [f"{name}.codes", f"{name}.scale"]
        nodes += [
            helper.make_node("DequantizeLinear", pair, [name], **attributes),  # type: ignore[arg-type]
            helper.make_node("MatMul", [value, name], [f"{name}.product"]),
        ]
        value = f"{name}.product"
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net",
        [info("x", TensorProto.FLOAT, [2, 64])], [info(value, TensorProto.FLOAT, [2, 64])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


def test_each_granularity(tmp_path: Path) -> None:
    source = matrices(tmp_path / "net.onnx")
    w2e_bridge.convert(source, to="tensorrt", out=tmp_path / "out", allow_float=True)
    found = agree(tmp_path / "out")
    constants = {t.name: numpy_helper.to_array(t) for t in onnx.load(source).graph.initializer}
    for name in ("whole", "columns", "blocks"):
        assert np.array_equal(found[name], constants[f"{name}.scale"])
    assert constants["x.scale"] in [scale for scale in found.values() if scale.size == 1]
