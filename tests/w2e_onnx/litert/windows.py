"""Operators that slide a window, for tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.w2e_onnx.litert.harness import Data
from tests.w2e_onnx.litert.weighed import Draw, Weighed


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A convolution to be drawn.

    Attributes:
        type, weights, channels: see `Draw`.
        depthwise: whether it is one; `outputs` is then how many there are for each channel.
        image: height, width and channels.
        outputs: channels of the output.
        groups: of channels.
        kernel, stride, dilation, padding, activation: of the window.
        bias: its type, "" without a scale.
        batch: how many images.
        free: whether that is said at run time only.
    """

    type: str = "int8"
    weights: str = "int8"
    channels: bool = True
    depthwise: bool = False
    image: tuple[int, int, int] = (7, 6, 8)
    outputs: int = 12
    groups: int = 1
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    padding: str = "SAME"
    activation: str = "NONE"
    bias: str = "int32"
    batch: int = 1
    free: bool = False

    def draw(self, seed: int = 0) -> Weighed:
        """With numbers."""
        draw = Draw(
            chance=np.random.default_rng(seed),
            type=self.type,
            weights=self.weights,
            channels=self.channels,
        )
        height, width, depth = self.image
        k = self.kernel
        outputs = depth * self.outputs if self.depthwise else self.outputs
        shape = (1, k, k, outputs) if self.depthwise else (outputs, k, k, depth // self.groups)
        axis = 3 if self.depthwise else 0
        x = draw.activation((self.batch, height, width, depth), "n" if self.free else None)
        weights = draw.codes(shape, axis)
        bias = draw.bias(x, weights, axis, self.bias)
        places = [
            extent(n, (k - 1) * self.dilation + 1, self.stride, self.padding)
            for n in (height, width)
        ]
        batch = "n" if self.free else self.batch
        attributes: dict[str, int | str] = {
            "padding": self.padding,
            "stride_w": self.stride,
            "stride_h": self.stride,
            "dilation_w_factor": self.dilation,
            "dilation_h_factor": self.dilation,
            "fused_activation_function": self.activation,
        }
        if self.depthwise:
            attributes["depth_multiplier"] = self.outputs
        if self.type == "int16" and self.bias == "int32":
            attributes["quantized_bias_type"] = "INT32"
        return Weighed(
            kind="depthwise_conv_2d" if self.depthwise else "conv_2d",
            operands=[x, weights, bias],
            output=draw.output((batch, *places, outputs), x, weights, axis),
            attributes=attributes,
        )


def extent(size: int, kernel: int, stride: int, padding: str) -> int:
    """How many places a window has."""
    return -(-size // stride) if padding == "SAME" else (size - kernel) // stride + 1


@dataclass(frozen=True, kw_only=True)
class Transposed:
    """A transposed convolution to be drawn.

    Attributes:
        type, channels: see `Draw`.
        target: height, width and channels of the output.
        depth: channels of the image.
        kernel, stride, padding, activation: of the window.
        bias: its type, None for no bias.
        batch: how many images.
    """

    type: str = "int8"
    channels: bool = True
    target: tuple[int, int, int] = (9, 10, 11)
    depth: int = 8
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (2, 2)
    padding: str = "SAME"
    activation: str = "NONE"
    bias: str | None = "int32"
    batch: int = 1

    def draw(self, seed: int = 0) -> Weighed:
        """With numbers."""
        unsigned = self.type == "uint8"
        draw = Draw(
            chance=np.random.default_rng(seed),
            type=self.type,
            weights="uint8" if unsigned else "int8",
            channels=self.channels and not unsigned,
        )
        *target, outputs = self.target
        places = [
            extent(n, k, s, self.padding) if self.padding == "SAME" else -(-(n - k + 1) // s)
            for n, k, s in zip(target, self.kernel, self.stride, strict=True)
        ]
        x = draw.activation((self.batch, *places, self.depth))
        weights = draw.codes((outputs, *self.kernel, self.depth), 0)
        shape = (self.batch, *target, outputs)
        sizes = Data(type="int32", array=np.asarray(shape, np.int32), constant=True)
        operands = [sizes, weights, x]
        if self.bias is not None:
            operands.append(draw.bias(x, weights, 0, self.bias))
        attributes: dict[str, int | str] = {
            "padding": self.padding,
            "stride_w": self.stride[1],
            "stride_h": self.stride[0],
            "fused_activation_function": self.activation,
        }
        if self.type == "int16" and self.bias == "int32":
            attributes["quantized_bias_type"] = "INT32"
        return Weighed(
            kind="transpose_conv",
            operands=operands,
            output=draw.output(shape, x, weights, 0),
            attributes=attributes,
        )
