"""Arithmetic, rectifiers and functions of two numbers as nodes and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.kernels.pairs import Case, found, read
from tests.w2e_onnx.litert.harness import Data, model_of
from w2e_bridge.kernels.operation import Attribute

A: NDArray[Any] = np.linspace(-7, 8, 48, dtype=np.float32).reshape(2, 3, 8)
B: NDArray[Any] = np.asarray([3, -2, 0.5, -0.25, 7, 1, -1, 2], np.float32)
WHOLE: NDArray[Any] = np.arange(-24, 24, dtype=np.int32).reshape(2, 3, 8)
DIVISORS: NDArray[Any] = np.asarray([3, -2, 5, -7, 1, -1, 11, 4], np.int32)

FUSED = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("activation", FUSED)
def test_with_a_fused_activation(kind: str, activation: str) -> None:
    attributes: dict[str, Attribute] = {"fused_activation_function": activation}
    if kind in ("add", "sub"):
        attributes["pot_scale_int16"] = False
    Case(kind=kind, inputs=[A, B], attributes=attributes, shape=A.shape).check()


@pytest.mark.parametrize(
    "kind",
    ["maximum", "minimum", "squared_difference", "floor_div", "floor_mod", "prelu"],
)
def test_of_two_real_numbers(kind: str) -> None:
    Case(kind=kind, inputs=[A, B], attributes={}, shape=A.shape).check()


@pytest.mark.parametrize("kind", ["floor_div", "floor_mod", "maximum", "minimum", "right_shift"])
def test_of_two_whole_numbers(kind: str) -> None:
    second = np.abs(DIVISORS) if kind == "right_shift" else DIVISORS
    Case(kind=kind, inputs=[WHOLE, second], attributes={}, shape=A.shape, dtype="int32").check()


def test_powers() -> None:
    Case(kind="pow", inputs=[np.abs(A) + 1, B], attributes={}, shape=A.shape).check()


def test_angles() -> None:
    y = np.asarray([0, 1, 1, 1, 0, -1, -1, -1, 0], np.float32)
    x = np.asarray([1, 1, 0, -1, -1, -1, 0, 1, 0], np.float32)
    Case(kind="atan2", inputs=[y, x], attributes={}, shape=y.shape).check()


def test_shifts_of_bytes_beyond_all_bits() -> None:
    x, y = np.asarray([200, 3, 255], np.uint8), np.asarray([1, 0, 7], np.uint8)
    Case(kind="right_shift", inputs=[x, y], attributes={}, shape=(3,), dtype="uint8").check()
    a, b = np.asarray([-100, 100, -1], np.int8), np.asarray([3, 9, 100], np.int8)
    Case(kind="right_shift", inputs=[a, b], attributes={}, shape=(3,), dtype="int8").check()


def test_exclusive_or() -> None:
    inputs = [WHOLE, WHOLE[::-1].copy()]
    Case(kind="bitwise_xor", inputs=inputs, attributes={}, shape=A.shape, dtype="int32").check()


def test_sums_of_many() -> None:
    Case(kind="add_n", inputs=[A, A * 2, -A], attributes={}, shape=A.shape).check()


@pytest.mark.parametrize("kind", ["relu", "relu6", "relu_n1_to_1", "relu_0_to_1"])
def test_rectifiers(kind: str) -> None:
    Case(kind=kind, inputs=[A], attributes={}, shape=A.shape).check()


@pytest.mark.parametrize("alpha", [0.25, -0.5, 2.0])
def test_leaky_rectifiers(alpha: float) -> None:
    Case(kind="leaky_relu", inputs=[A], attributes={"alpha": alpha}, shape=A.shape).check()


@pytest.mark.parametrize("bits", [3, 8, 16])
def test_fake_quantization(bits: int) -> None:
    attributes: dict[str, Attribute] = {
        "min": -1.5,
        "max": 4.25,
        "num_bits": bits,
        "narrow_range": False,
    }
    Case(kind="fake_quant", inputs=[A], attributes=attributes, shape=A.shape).check()


@pytest.mark.parametrize(
    ("nodes", "kind", "activation"),
    [
        ("y = Add(x, z)", "add", "NONE"),
        ("s = Add(x, z); y = Relu(s)", "add", "RELU"),
        ("s = Mul(x, z); y = Clip(s, none, six)", "mul", "RELU6"),
        ("s = Sub(x, z); y = Clip(s, minus, one)", "sub", "RELU_N1_TO_1"),
        ("y = Sum(x, x)", "add_n", None),
        ("d = Sub(x, z); y = Mul(d, d)", "squared_difference", None),
        ("d = Sub(x, z); y = Pow(d, two)", "squared_difference", None),
        ("y = Clip(x, none, six)", "relu6", None),
        ("y = Clip(x, none, one)", "relu_0_to_1", None),
        ("q = Div(x, z); y = Floor(q)", "floor_div", None),
        ("y = LeakyRelu(x)", "leaky_relu", None),
        ("y = PRelu(x, z)", "prelu", None),
    ],
)
def test_as_exporters_write_it(nodes: str, kind: str, activation: str | None) -> None:
    constants = {"none": 0.0, "six": 6.0, "one": 1.0, "minus": -1.0, "two": 2.0}
    used = {name: number for name, number in constants.items() if name in nodes}
    shapes = {name: [2, 3] for name in ("x", "z") if name in nodes.replace("Max", "")}
    operation = read(nodes, shapes, used)
    assert operation.kind == kind
    if activation is not None:
        assert operation.text("fused_activation_function") == activation


def test_powers_of_two_are_said_where_a_kernel_shifts() -> None:
    codes = np.zeros((1, 4), np.int16)
    attributes: dict[str, Attribute] = {
        "fused_activation_function": "NONE",
        "pot_scale_int16": True,
    }
    for scale, said in ((2.0**-12, True), (0.0003, False)):
        operands = [
            Data(type="int16", array=codes, scale=2.0**-12),
            Data(type="int16", array=codes, scale=scale),
        ]
        result = [Data(type="int16", shape=(1, 4), scale=2.0**-12)]
        again, _ = found(model_of("add", operands, result, attributes))
        assert again.attributes["pot_scale_int16"] is said
