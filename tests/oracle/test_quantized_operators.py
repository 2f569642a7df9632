"""Single operators between Q and DQ, with quantizations drawn at random: LiteRT is at most a step from ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import w2e_bridge
from tests.oracle.networks import Net, litert

Array = NDArray[Any]
IMAGE = (1, 4, 6, 6)


def pool(op: str, **attributes: Any) -> Callable[[Net, str, str], str]:
    return lambda net, x, _: net.node(op, x, kernel_shape=[3, 3], strides=[2, 2], **attributes)


def one(op: str, **attributes: Any) -> Callable[[Net, str, str], str]:
    return lambda net, x, _: net.node(op, x, **attributes)


def two(op: str, **attributes: Any) -> Callable[[Net, str, str], str]:
    return lambda net, x, z: net.node(op, x, z, **attributes)


def resize(mode: str, where: str) -> Callable[[Net, str, str], str]:
    def made(net: Net, x: str, _: str) -> str:
        scales = net.constant([1, 1, 2, 2], np.float32)
        attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": where}
        if mode == "nearest":
            attributes["nearest_mode"] = "floor"
        return net.node("Resize", x, "", scales, **attributes)

    return made


def power(net: Net, x: str, _: str) -> str:
    return net.node("Pow", x, net.constant(2, np.float32))


def clipped(net: Net, x: str, _: str) -> str:
    return net.relu6(x)


def padded(net: Net, x: str, _: str) -> str:
    return net.node("Pad", x, net.constant([0, 0, 1, 2, 0, 0, 0, 1], np.int64))


def divided(net: Net, x: str, z: str) -> str:
    # What is divided by 0 is not a number that any two runtimes agree about.
    return net.node("Div", x, net.node("Max", z, net.constant(0.5, np.float32)))


def gemm(net: Net, x: str, _: str) -> str:
    return net.node("MatMul", x, net.drawn(6, 3, fan=6))


# LiteRT's default kernels: XNNPACK's, and those of tensorflow/lite/kernels where it has none.
OPERATORS: dict[str, Callable[[Net, str, str], str]] = {
    "Add": two("Add"),
    "Sub": two("Sub"),
    "Mul": two("Mul"),
    "Div": divided,
    "Min": two("Min"),
    "Max": two("Max"),
    "Concat": two("Concat", axis=1),
    "MatMul": two("MatMul"),
    "Relu": one("Relu"),
    "LeakyRelu": one("LeakyRelu", alpha=0.1),
    "PRelu": lambda net, x, _: net.node("PRelu", x, net.drawn(4, 1, 1)),
    "Elu": one("Elu"),
    "HardSwish": one("HardSwish"),
    "HardSigmoid": one("HardSigmoid"),
    "Sigmoid": one("Sigmoid"),
    "Tanh": one("Tanh"),
    "Softmax": one("Softmax", axis=-1),
    "LogSoftmax": one("LogSoftmax", axis=-1),
    "Abs": one("Abs"),
    "Exp": one("Exp"),
    "Neg": one("Neg"),
    "Pow": power,
    "Clip": clipped,
    "Pad": padded,
    "Constant": gemm,
    "MaxPool": pool("MaxPool"),
    "MaxPool padded": pool("MaxPool", pads=[1, 1, 1, 1]),
    "AveragePool": pool("AveragePool"),
    "AveragePool padded": pool("AveragePool", pads=[1, 1, 1, 1]),
    "AveragePool of zeros too": pool("AveragePool", pads=[1, 1, 1, 1], count_include_pad=1),
    "GlobalAveragePool": one("GlobalAveragePool"),
    "GlobalMaxPool": one("GlobalMaxPool"),
    "ReduceMean": one("ReduceMean", axes=[1]),
    "ReduceMax": one("ReduceMax", axes=[2]),
    "Resize nearest": resize("nearest", "asymmetric"),
    "Resize linear": resize("linear", "half_pixel"),
    "Resize corners": resize("linear", "align_corners"),
    "Transpose": one("Transpose", perm=[0, 2, 3, 1]),
    "Flatten": one("Flatten", axis=1),
    "DepthToSpace": one("DepthToSpace", blocksize=2),
}


def draw_ends(net: Net, data: st.DataObject, signed: bool, spread: float) -> list[str]:
    """A scale and a zero point: ranges of about `spread`, of one sign or of both."""
    scale = np.float32(spread * data.draw(st.floats(0.25, 1.5)) / 128)
    zero = data.draw(st.sampled_from([0, 128, 255, 37, 200])) - (128 if signed else 0)
    dtype = np.int8 if signed else np.uint8
    return [net.constant(scale), net.constant(zero, dtype)]


def rounded(net: Net, x: str, ends: list[str]) -> str:
    return net.node("DequantizeLinear", net.node("QuantizeLinear", x, *ends), *ends)


def network(name: str, data: st.DataObject) -> tuple[onnx.ModelProto, float]:
    """The operator with everything rounded around it, and the step of its output."""
    signed = data.draw(st.booleans())
    net = Net(IMAGE)
    net.chance = np.random.default_rng(data.draw(st.integers(0, 1000)))
    x = rounded(net, "x", draw_ends(net, data, signed, 4))
    z = rounded(net, "z", draw_ends(net, data, signed, data.draw(st.sampled_from([0.5, 4]))))
    made = OPERATORS[name](net, x, z)
    ends = draw_ends(net, data, signed, data.draw(st.sampled_from([0.25, 1.0, 4.0])))
    y = rounded(net, made, ends)
    return net.proto(y, inputs=("x", "z")), float(net.weights[ends[0]])


def check(name: str, data: st.DataObject) -> None:
    model, step = network(name, data)
    chance = np.random.default_rng(data.draw(st.integers(0, 1000)))
    feeds = {i: (chance.normal(size=IMAGE) * 3).astype(np.float32) for i in ("x", "z")}
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "model.onnx", Path(folder) / "out.tflite"
        onnx.save(model, source)
        w2e_bridge.convert(source, to="tflite", out=target, audit="none")
        got = litert(target, feeds)[0]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = session.run(None, feeds)[0]
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max(initial=0) <= 1.01 * step


@pytest.mark.parametrize("name", OPERATORS)
@settings(max_examples=4, deadline=None, derandomize=True)
@given(data=st.data())
def test_within_a_step(name: str, data: st.DataObject) -> None:
    check(name, data)
