"""DEPTHWISE_CONV_2D of codes: the rounding of `convolution`, but ruy is not in it.

ONNX Runtime's depthwise kernel widens to 16 bits before it multiplies, so int8 weights are exact there on
every processor (onnxruntime/core/mlas/lib/qdwconv.cpp, convsym.cpp). It wants one filter for a channel:
with several, each channel of the image is repeated; an image of one channel is an ordinary convolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.convolution import check, delegated, fixed, fused, wide
from w2e_onnx.lowering.litert.rules import NotHere, Rule

PERM = (3, 0, 1, 2)
LANES = 8
"""LiteRT's default int8 kernel scales so many channels at once, halves up, and what is left one by one,
halves away from zero (tensorflow/lite/kernels/internal/optimized/optimized_ops.h, Quantize)."""


def depthwise(call: Call) -> Sequence[ir.Value]:
    """The rule of DEPTHWISE_CONV_2D."""
    image, weights = call.operand(0), call.operand(1)
    check(call, axis=3)
    outputs, channels = sums.extent(weights, 3), sums.extent(image, 3)
    if channels is None or outputs is None:
        raise NotHere("channels known at run time only")
    said = sums.geometry(call, sums.window_at(call, weights), image) | {"group": channels}
    if not call.reference and delegated(image, weights, call.optional(2), axis=3):
        return [_fused(call, image, weights, said, outputs // channels)]
    codes, zero = sums.unsigned(call, weights)
    turned = call.add("Transpose", [codes], {"perm": PERM}), zero
    if image.type == "int16":
        return [wide(call, image, turned, said, up=False)]
    up: bool | NDArray[np.bool_] = False
    if not call.reference and image.type == "int8":
        up = np.arange(outputs) < outputs // LANES * LANES
    return [fixed(call, image, turned, said, up=up, axis=3)]


def _fused(
    call: Call, image: Slot, weights: Slot, said: dict[str, object], multiplier: int
) -> ir.Value:
    if said["group"] == 1:
        codes, zero = sums.unsigned(call, weights)
        turned = call.add("Transpose", [codes], {"perm": PERM})
        return fused(call, image.value, (turned, zero), said)
    codes, zero = _signed(call, weights)
    turned = call.add("Transpose", [codes], {"perm": PERM})
    channels = said["group"]
    value = image.value
    if multiplier > 1:
        assert isinstance(channels, int)
        places = np.repeat(np.arange(channels, dtype=np.int64), multiplier)
        value = call.add("Gather", [value, call.literal(places, "places")], {"axis": 3})
        said = said | {"group": channels * multiplier}
    return fused(call, value, (turned, zero), said)


def _signed(call: Call, weights: Slot) -> tuple[ir.Value, ir.Value]:
    """Weights and zero point in the form that is fastest: int8 without one, wherever they fit."""
    assert weights.value is not None
    assert weights.zero_point is not None
    assert weights.quantized is not None
    if weights.type == "int8":
        return weights.value, weights.zero_point
    centred = weights.array().astype(np.int64) - weights.quantized.zero_point
    if weights.tensor is None or centred.min() < -128 or centred.max() > 127:
        return weights.value, weights.zero_point
    wide_codes = [call.cast(v, "int32") for v in (weights.value, weights.zero_point)]
    return call.cast(call.add("Sub", wide_codes), "int8"), call.literal(np.int8(0), "zero")


RULES: Mapping[str, Rule] = {"depthwise_conv_2d": depthwise}
