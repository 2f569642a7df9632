"""Float models of ONNX in LiteRT, as near to ONNX Runtime as float32 allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge
from tests.oracle.networks import encoder, litert, mobile

Array = NDArray[Any]
Shape = Sequence[int | str]
FLOAT = TensorProto.FLOAT
node = helper.make_node


def drawn(*shape: int) -> Array:
    return (np.random.default_rng(len(shape)).normal(size=shape) * 0.3).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Any],
    x: Shape,
    *,
    outputs: Sequence[str] = ("y",),
    shape: Shape | None = None,
) -> onnx.ModelProto:
    """A model from "x"."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, x)],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()],
    )
    versions = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=versions, ir_version=9)


def convolution(batch: int | str = 1) -> onnx.ModelProto:
    weights = {
        "w": drawn(8, 3, 3, 3),
        "v": np.abs(drawn(8)) + 0.5,
        "w2": drawn(5, 8),
        "b2": drawn(5),
    }
    weights |= {name: drawn(8) for name in ("s", "b", "m")}
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1, 0, 1, 2], strides=[2, 1]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("GlobalAveragePool", ["r"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w2", "b2"], ["y"], transB=1),
    ]
    return model(nodes, weights, [batch, 3, 9, 9])


def flattened() -> onnx.ModelProto:
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Flatten", ["r"], ["f"]),
        node("MatMul", ["f", "w2"], ["y"]),
    ]
    return model(nodes, {"w": drawn(4, 3, 3, 3), "w2": drawn(64, 5)}, [2, 3, 6, 6])


def resize(mode: str, where: str) -> onnx.ModelProto:
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": where}
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Resize", ["c", "", "s"], ["y"], **attributes)]
    weights = {"w": drawn(4, 3, 1, 1), "s": np.array([1, 1, 2, 1.5], np.float32)}
    return model(nodes, weights, [1, 3, 6, 6])


def recurrent(op: str, direction: str, **attributes: Any) -> onnx.ModelProto:
    gates, ways = {"LSTM": 4, "GRU": 3, "RNN": 1}[op], 2 if direction == "bidirectional" else 1
    weights = {"w": drawn(ways, gates * 5, 3), "r": drawn(ways, gates * 5, 5)}
    weights["b"] = drawn(ways, 2 * gates * 5)
    made = node(
        op, ["x", "w", "r", "b"], ["y", "h"], hidden_size=5, direction=direction, **attributes
    )
    return model([made], weights, [7, 2, 3], outputs=("y", "h"))


def branches() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    then = helper.make_graph(
        [node("MatMul", ["x", "w"], ["t"])], "t", [], [value("t", FLOAT, [2, 4])]
    )
    other = helper.make_graph([node("Neg", ["x"], ["e"])], "e", [], [value("e", FLOAT, [2, 4])])
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Greater", ["s", "z"], ["c"]),
        node("If", ["c"], ["o"], then_branch=then, else_branch=other),
        node("Relu", ["o"], ["y"]),
    ]
    return model(nodes, {"w": drawn(4, 4), "z": np.float32(0)}, [2, 4])


def loop() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    inputs = [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, [])]
    body = helper.make_graph(
        [
            node("MatMul", ["h", "w"], ["m"]),
            node("Tanh", ["m"], ["h2"]),
            node("Identity", ["c"], ["c2"]),
        ],
        "b",
        [*inputs, value("h", FLOAT, [2, 4])],
        [value("c2", TensorProto.BOOL, []), value("h2", FLOAT, [2, 4])],
    )
    nodes = [node("Loop", ["n", "", "x"], ["y"], body=body)]
    return model(nodes, {"w": drawn(4, 4), "n": np.array(5)}, [2, 4], shape=[2, 4])


def einsum(equation: str, *shape: int) -> onnx.ModelProto:
    return model(
        [node("Einsum", ["x", "w"], ["y"], equation=equation)], {"w": drawn(*shape)}, [2, 3, 4]
    )


def attention(*shape: int | str) -> onnx.ModelProto:
    weights: dict[str, Any] = {"s": np.array([0, -1, 2, 8]), "f": np.array([0, -1, 16])}
    weights |= {"k": np.float32(8**-0.5), "g": drawn(16), "e": drawn(16)}
    nodes = [node("LayerNormalization", ["x", "g", "e"], ["n"], axis=-1)]
    for n in "qkv":
        weights["w" + n] = drawn(16, 16)
        perm = [0, 2, 3, 1] if n == "k" else [0, 2, 1, 3]
        nodes += [
            node("MatMul", ["n", "w" + n], ["m" + n]),
            node("Reshape", ["m" + n, "s"], ["r" + n]),
            node("Transpose", ["r" + n], ["t" + n], perm=perm),
        ]
    nodes += [
        node("MatMul", ["tq", "tk"], ["a"]),
        node("Mul", ["a", "k"], ["b"]),
        node("Softmax", ["b"], ["p"], axis=-1),
        node("MatMul", ["p", "tv"], ["o"]),
        node("Transpose", ["o"], ["u"], perm=[0, 2, 1, 3]),
        node("Reshape", ["u", "f"], ["y"]),
    ]
    return model(nodes, weights, shape)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "convolution": convolution,
    "convolution of any batch": lambda: convolution("N"),
    "flattened": flattened,
    "mobile": mobile,
    "encoder": encoder,
    "resize half_pixel": lambda: resize("linear", "half_pixel"),
    "resize align_corners": lambda: resize("linear", "align_corners"),
    "resize nearest": lambda: resize("nearest", "asymmetric"),
    "resize cubic": lambda: resize("cubic", "half_pixel"),
    "LSTM": lambda: recurrent("LSTM", "forward"),
    "LSTM of both ways": lambda: recurrent("LSTM", "bidirectional"),
    "GRU": lambda: recurrent("GRU", "reverse"),
    "GRU, reset late": lambda: recurrent("GRU", "forward", linear_before_reset=1),
    "RNN": lambda: recurrent("RNN", "forward"),
    "If": branches,
    "Loop": loop,
    "Einsum of matrices": lambda: einsum("bij,bjk->bik", 2, 4, 5),
    "Einsum of turned ones": lambda: einsum("bij,kj->kbi", 5, 4),
    "attention": lambda: attention(2, 6, 16),
    "attention of any length": lambda: attention("N", "T", 16),
}


@pytest.mark.parametrize("name", MODELS)
def test_close(name: str, tmp_path: Path) -> None:
    source, target = tmp_path / "model.onnx", tmp_path / "out.tflite"
    onnx.save(MODELS[name](), source)
    w2e_bridge.convert(source, to="tflite", out=target)
    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    (detail,) = session.get_inputs()
    shape = [extent if isinstance(extent, int) else 3 for extent in detail.shape]
    for seed in range(2):
        x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        found = litert(target, {"x": x})
        for wanted, got in zip(session.run(None, {"x": x}), found, strict=True):
            assert got.shape == wanted.shape
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4)
