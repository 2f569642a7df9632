"""CONV_2D of codes, grouped too.

Rules, each measured against ai-edge-litert 2.3.0 on x86 without a differing integer:

- XNNPACK (default kernels where the delegate takes the node): round_half_even(float32(acc) * scale),
  scale = float32(float32(sx * sw) / sy). ONNX Runtime's QLinearConv does the same
  (MlasRequantizeOutput); `channels_last` spares the Transposes.
- reference kernels: `numerics.fixed_point.multiply`; default ones that the delegate leaves go through
  ruy, which rounds the second half up.
- 16-bit images with a bias of 64 bits: `multiply_wide`; of 32 bits as above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import activation_range, quantize_multiplier
from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert.call import MICROSOFT, Call, Slot
from w2e_onnx.lowering.litert.rules import NotHere, Rule

ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
EIGHT = ("int8", "uint8")


def convolution(call: Call) -> Sequence[ir.Value]:
    """The rule of CONV_2D."""
    image, weights = call.operand(0), call.operand(1)
    check(call, axis=0)
    said = sums.geometry(call, sums.window_at(call, weights), image)
    depth, channels = sums.extent(weights, 3), sums.extent(image, 3)
    groups = channels // depth if depth and channels else 1
    if groups != 1:
        said["group"] = groups
    codes, zero = sums.unsigned(call, weights)
    turned = call.add("Transpose", [codes], {"perm": (0, 3, 1, 2)}), zero
    if image.type == "int16":
        return [wide(call, image, turned, said, up=groups == 1 and not call.reference)]
    if not call.reference and delegated(image, weights, call.optional(2), axis=0):
        return [fused(call, image.value, turned, said)]
    return [fixed(call, image, turned, said, up=groups == 1 and not call.reference)]


def check(call: Call, *, axis: int, symmetric: bool = True) -> None:
    """Refuse what no rule of convolutions and products knows.

    Args:
        call: with an activation, weights and perhaps a bias as its operands.
        axis: of the weights' output channels.
        symmetric: whether signed weights must have zero points 0.

    Raises:
        NotHere: types or quantization are others.
    """
    image, weights, bias = call.operand(0), call.operand(1), call.optional(2)
    quantized, output = weights.quantized, call.outputs[0]
    if image.quantized is None or quantized is None or output.quantized is None:
        raise NotHere("real numbers among codes")
    if image.type != output.type or image.type not in (*EIGHT, "int16"):
        raise NotHere(f"{image.type} to {output.type}")
    if not sums.one_zero_point(weights, symmetric=symmetric) or quantized.axis not in (None, axis):
        raise NotHere("zero points or scales of the weights")
    if bias is not None and bias.type not in ("int32", "int64"):
        raise NotHere(f"a bias of {bias.type}")
    if call.operation.text("fused_activation_function") not in ACTIVATIONS:
        raise NotHere(call.operation.text("fused_activation_function"))


def delegated(image: Slot, weights: Slot, bias: Slot | None, *, axis: int) -> bool:
    """Whether XNNPACK takes a convolution (tflite/delegates/xnnpack/xnnpack_delegate.cc, VisitConv2DNode)."""
    if bias is None or bias.quantized is None or bias.tensor is None or bias.type != "int32":
        return False
    if weights.tensor is None or weights.type != image.type or weights.quantized is None:
        return False
    return weights.quantized.axis in (None, axis)


def bounds(call: Call, *, even: bool) -> tuple[int, int] | None:
    """The codes that the fused activation lets through, None where those are all."""
    output = call.outputs[0]
    assert output.quantized is not None
    fused_activation = call.operation.text("fused_activation_function")
    scale, zero = np.float32(output.quantized.scale), int(output.quantized.zero_point)
    ends = activation_range(fused_activation, scale, zero, output.type, even=even)
    info = np.iinfo(output.type)
    return None if ends == (info.min, info.max) else ends


def fused(
    call: Call,
    codes: ir.Value | None,
    weights: tuple[ir.Value, ir.Value],
    said: Mapping[str, object],
) -> ir.Value:
    """XNNPACK's rule: QLinearConv, and a Clip where the activation cuts codes off."""
    output, bias, scale = call.outputs[0], call.optional(2), call.operand(1).scale
    image = call.operand(0)
    inputs = [codes, image.scale, image.zero_point, weights[0], scale, weights[1]]
    inputs += [output.scale, output.zero_point, None if bias is None else bias.value]
    attributes = {**said, "channels_last": 1}
    made = call.add("QLinearConv", inputs, attributes, domain=MICROSOFT)
    return clipped(call, made)


def clipped(call: Call, codes: ir.Value) -> ir.Value:
    """Codes as they travel, with the fused activation's bounds where it has any (XNNPACK's)."""
    output, ends = call.outputs[0], bounds(call, even=True)
    if ends is None:
        return codes
    low, high = (
        call.constant(name, np.asarray(end + output.shift, output.carried))
        for name, end in zip(("low", "high"), ends, strict=True)
    )
    return call.add("Clip", [codes, low, high])


def multipliers(image: Slot, weights: Slot, output: Slot, *, exact: bool) -> NDArray[np.float64]:
    """The real multipliers of accumulators, in double precision.

    Args:
        image: the activation.
        weights: with one scale or one for each output channel.
        output: what accumulators become.
        exact: multiply in double precision; old 8-bit kernels multiply scales in single precision
            (tensorflow/lite/kernels/kernel_util.cc, GetQuantizedConvolutionMultipler).
    """
    assert image.quantized is not None
    assert weights.quantized is not None
    assert output.quantized is not None
    x, w, y = image.quantized.scale, weights.quantized.scale, output.quantized.scale
    product = x.astype(np.float64) * w.astype(np.float64) if exact else np.float64(x * w)
    return np.asarray(product / y.astype(np.float64))


def fixed(
    call: Call,
    image: Slot,
    weights: tuple[ir.Value, ir.Value],
    said: dict[str, object],
    *,
    up: bool | NDArray[np.bool_],
    axis: int = 0,
) -> ir.Value:
    """Fixed point in 32 bits; `up` as in `fixed_point.multiply`, of each channel where it is an array."""
    assert image.value is not None
    assert image.zero_point is not None
    bias, slot = call.optional(2), call.operand(1)
    sum_ = sums.integer_convolution(call, image.value, image.zero_point, weights, said)
    if bias is not None and bias.value is not None:
        sum_ = call.add("Add", [sum_, sums.channels_first(call, bias.value)])
    real = multipliers(image, slot, call.outputs[0], exact=image.type == "int8")
    number, shift = quantize_multiplier(sums.repeated(real, (-1, 1, 1)))
    most = sums.bound(image, slot, bias, axis)
    if isinstance(up, np.ndarray):
        up = up.reshape(-1, 1, 1)
    scaled = fixed_point.multiply(
        call, call.cast(sum_, "float64"), number, shift, bound=most, up=up
    )
    return sums.channels_last(call, finished(call, scaled))


def finished(call: Call, scaled: ir.Value) -> ir.Value:
    """Codes of scaled accumulators."""
    return fixed_point.codes(call, scaled, call.outputs[0], *(bounds(call, even=False) or ()))


def wide(
    call: Call,
    image: Slot,
    weights: tuple[ir.Value, ir.Value],
    said: dict[str, object],
    *,
    up: bool,
) -> ir.Value:
    """16-bit images: accumulators from two convolutions of bytes."""
    assert image.value is not None
    bias, slot = call.optional(2), call.operand(1)
    high, low = sums.halves(call, image.value)
    middle, zero = call.literal(np.uint8(128), "middle"), call.literal(np.uint8(0), "zero")
    upper = sums.integer_convolution(call, high, middle, weights, said)
    lower = sums.integer_convolution(call, low, zero, weights, said)
    sum_ = sums.joined(call, upper, lower)
    if bias is not None and bias.value is not None:
        added = call.cast(sums.channels_first(call, bias.value), "float64")
        sum_ = call.add("Add", [sum_, added])
    real = multipliers(image, slot, call.outputs[0], exact=True)
    number, shift = quantize_multiplier(sums.repeated(real, (-1, 1, 1)))
    if narrow_bias(call, bias):
        scaled = fixed_point.multiply(call, sum_, number, shift, up=up)
    else:
        scaled = fixed_point.multiply_wide(call, sum_, number, shift)
    return sums.channels_last(call, finished(call, scaled))


def narrow_bias(call: Call, bias: Slot | None) -> bool:
    """Whether a 16-bit kernel accumulates in 32 bits."""
    if call.operation.text("quantized_bias_type", "FLOAT32") == "INT32":
        return True
    return bias is not None and bias.type == "int32"


RULES: Mapping[str, Rule] = {"conv_2d": convolution}
