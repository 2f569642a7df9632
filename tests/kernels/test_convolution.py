"""Convolutions as nodes and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernels.pairs import read
from tests.kernels.weighed import check, drawn, target, weights
from tests.w2e_onnx.litert.windows import extent


def window(
    padding: str = "SAME", stride: int = 1, dilation: int = 1, activation: str = "NONE"
) -> dict[str, Any]:
    return {
        "padding": padding,
        "stride_w": stride,
        "stride_h": stride,
        "dilation_w_factor": dilation,
        "dilation_h_factor": dilation,
        "fused_activation_function": activation,
    }


WINDOWS = [
    window(),
    window("VALID", 2, activation="RELU"),
    window("SAME", 2, activation="RELU6"),
    window("SAME", 3),
    window("VALID", 1, 2, "RELU_N1_TO_1"),
    window("SAME", 1, 2),
]


def places(said: dict[str, Any], *sizes: int) -> list[int]:
    dilated = 2 * said["dilation_h_factor"] + 1
    return [extent(n, dilated, said["stride_h"], said["padding"]) for n in sizes]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("said", WINDOWS, ids=str)
def test_convolution(said: dict[str, Any], groups: int) -> None:
    operands = [drawn(2, 9, 8, 4), weights(6, 3, 3, 4 // groups), weights(6)]
    check("conv_2d", operands, (2, *places(said, 9, 8), 6), said)


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("said", WINDOWS, ids=str)
def test_depthwise(said: dict[str, Any], multiplier: int) -> None:
    outputs = 4 * multiplier
    operands = [drawn(2, 9, 8, 4), weights(1, 3, 3, outputs), weights(outputs)]
    options = said | {"depth_multiplier": multiplier}
    check("depthwise_conv_2d", operands, (2, *places(said, 9, 8), outputs), options)


@pytest.mark.parametrize(
    ("padding", "kernel", "stride", "image"),
    [
        ("SAME", 3, 2, (5, 4)),
        ("SAME", 2, 2, (5, 4)),
        ("SAME", 4, 1, (9, 8)),
        ("VALID", 3, 2, (4, 3)),
        ("VALID", 2, 3, (3, 3)),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_transposed(
    padding: str, kernel: int, stride: int, image: tuple[int, int], bias: bool
) -> None:
    said = window(padding, stride, activation="RELU" if bias else "NONE")
    said = {k: v for k, v in said.items() if "dilation" not in k}
    operands = [target(1, 9, 8, 5), weights(5, kernel, kernel, 3), drawn(1, *image, 3)]
    operands += [weights(5)] if bias else []
    check("transpose_conv", operands, (1, 9, 8, 5), said)


def volume(padding: str, stride: int, activation: str = "NONE") -> dict[str, Any]:
    ways = {f"stride_{axis}": stride for axis in "dhw"}
    ways |= {f"dilation_{axis}_factor": 1 for axis in "dhw"}
    return {"padding": padding, "fused_activation_function": activation, **ways}


@pytest.mark.parametrize("said", [volume("SAME", 1), volume("VALID", 2, "RELU")], ids=str)
def test_volumes(said: dict[str, Any]) -> None:
    sizes = [extent(n, 3, said["stride_d"], said["padding"]) for n in (5, 6, 7)]
    operands = [drawn(1, 5, 6, 7, 2), weights(3, 3, 3, 2, 4), weights(4)]
    check("conv_3d", operands, (1, *sizes, 4), said)


@pytest.mark.parametrize("said", [volume("SAME", 2), volume("VALID", 2)], ids=str)
def test_transposed_volumes(said: dict[str, Any]) -> None:
    image = (3, 3, 2) if said["padding"] == "SAME" else (2, 2, 1)
    operands = [target(1, 5, 6, 4, 3), weights(3, 3, 3, 3, 2), drawn(1, *image, 2), weights(3)]
    check("conv_3d_transpose", operands, (1, 5, 6, 4, 3), said)


def test_exported() -> None:
    """Channels last only: what an exporter writes is turned before (`passes.layout`)."""
    nodes = """
        w = Transpose<perm = [0, 3, 1, 2]>(v); f = Transpose<perm = [0, 3, 1, 2]>(x);
        c = Conv<auto_pad = "SAME_UPPER", strides = [2, 2]>(f, w);
        l = Transpose<perm = [0, 2, 3, 1]>(c); y = Clip(l, low, high)
    """
    shapes = {"x": (1, 9, 8, 4), "v": (6, 3, 3, 4)}
    found = read(nodes, shapes, {"low": 0.0, "high": 6.0})
    assert found.kind == "conv_2d"
    assert found.attributes["padding"] == "SAME"
    assert found.attributes["stride_h"] == 2
    assert found.attributes["fused_activation_function"] == "RELU6"
