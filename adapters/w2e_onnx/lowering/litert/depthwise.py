"""DEPTHWISE_CONV_2D of codes; `scaling` says how the kernels round, but ruy is not among them.

ONNX Runtime's depthwise kernel widens to 16 bits before it multiplies, so int8 weights are exact there on
every processor (onnxruntime/core/mlas/lib/qdwconv.cpp, convsym.cpp). It wants one filter for a channel:
with several, each channel of the image is repeated; an image of one channel is an ordinary convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.convolution import delegated
from w2e_onnx.lowering.litert.hybrid import hybrid, is_hybrid
from w2e_onnx.lowering.litert.rules import NotHere, Rule
from w2e_onnx.lowering.litert.scaling import Sum, check, fixed, fused, wide

HWC_TO_CHW = (3, 0, 1, 2)
LANES = 8
"""LiteRT's default int8 kernel scales so many channels at once, halves up, and what is left one by one,
halves away from zero (tensorflow/lite/kernels/internal/optimized/optimized_ops.h, Quantize)."""


def depthwise(call: Call) -> Sequence[ir.Value]:
    """The rule of DEPTHWISE_CONV_2D."""
    if is_hybrid(call):
        return hybrid(call)
    image, weights, bias = call.operand(0), call.operand(1), call.optional(2)
    check(call, (image, weights, bias), axis=3)
    outputs, channels = sums.extent(weights, 3), sums.extent(image, 3)
    if channels is None or outputs is None:
        raise NotHere("channels known at run time only")
    quick = not call.reference and image.type != "int16" and delegated(image, weights, bias)
    assert image.value is not None
    assert weights.value is not None
    assert weights.zero_point is not None
    codes, zero = weights.value, weights.zero_point
    if not quick or channels == 1:
        codes, zero = sums.factor(call, weights)
    s = Sum(
        image=image,
        weights=weights,
        bias=bias,
        input=image.value,
        codes=call.add("Transpose", [codes], {"perm": HWC_TO_CHW}),
        zero=zero,
        said=sums.geometry(call, sums.window_at(call, weights), image) | {"group": channels},
        axis=3,
    )
    if image.type == "int16":
        return [wide(call, s, up=False)]
    if quick:
        return [fused(call, _spread(call, s, channels, outputs))]
    up = lanes(outputs) if not call.reference and image.type == "int8" else False
    return [fixed(call, s, up=up)]


def lanes(outputs: int) -> NDArray[np.bool_]:
    """Which channels the default int8 kernels round up."""
    return np.arange(outputs) < outputs // LANES * LANES


def _spread(call: Call, s: Sum, channels: int, outputs: int) -> Sum:
    """A channel for each filter."""
    if channels in (1, outputs):
        return s
    places = np.repeat(np.arange(channels, dtype=np.int64), outputs // channels)
    image = call.add("Gather", [s.input, call.literal(places, "places")], {"axis": 3})
    return replace(s, input=image, said=s.said | {"group": outputs})


RULES: Mapping[str, Rule] = {"depthwise_conv_2d": depthwise}
