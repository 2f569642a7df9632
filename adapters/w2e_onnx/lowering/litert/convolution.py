"""CONV_2D of codes, grouped too; `scaling` says how the kernels round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.hybrid import hybrid, is_hybrid
from w2e_onnx.lowering.litert.rules import Rule
from w2e_onnx.lowering.litert.scaling import Sum, check, fixed, fused, wide

OHWI_TO_OIHW = (0, 3, 1, 2)


def convolution(call: Call) -> Sequence[ir.Value]:
    """The rule of CONV_2D."""
    if is_hybrid(call):
        return hybrid(call)
    image, weights, bias = call.operand(0), call.operand(1), call.optional(2)
    check(call, (image, weights, bias), axis=0)
    said = sums.geometry(call, sums.window_at(call, weights), image)
    depth, channels = sums.extent(weights, 3), sums.extent(image, 3)
    groups = channels // depth if depth and channels else 1
    if groups != 1:
        said["group"] = groups
    codes, zero = sums.factor(call, weights)
    assert image.value is not None
    s = Sum(
        image=image,
        weights=weights,
        bias=bias,
        input=image.value,
        codes=call.add("Transpose", [codes], {"perm": OHWI_TO_OIHW}),
        zero=zero,
        said=said,
    )
    # Groups are the reference kernel's in both sets (tensorflow/lite/kernels/conv.cc).
    up = groups == 1 and not call.reference
    if image.type == "int16":
        return [wide(call, s, up=up)]
    if not call.reference and delegated(image, weights, bias):
        return [fused(call, s)]
    return [fixed(call, s, up=up)]


def delegated(image: Slot, weights: Slot, bias: Slot | None) -> bool:
    """Whether XNNPACK takes a convolution (tflite/delegates/xnnpack/xnnpack_delegate.cc, VisitConv2DNode)."""
    if bias is None or bias.quantized is None or bias.tensor is None or bias.type != "int32":
        return False
    return weights.tensor is not None and weights.type == image.type


RULES: Mapping[str, Rule] = {"conv_2d": convolution}
