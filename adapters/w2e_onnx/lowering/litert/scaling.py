"""From sums of products to codes: the roundings of LiteRT's convolutions and matrix products.

Each was measured against ai-edge-litert 2.3.0 on x86 without a differing integer:

- XNNPACK (default kernels where the delegate takes the node): round_half_even(float32(acc) * scale),
  scale = float32(float32(sx * sw) / sy). ONNX Runtime's QLinearConv, QGemm and QLinearMatMul do the same
  (onnxruntime/core/mlas/lib/quantize.cpp, MlasRequantizeOutput).
- reference kernels: `numerics.fixed_point.multiply`; default ones that the delegate leaves go through
  ruy, which rounds the second half up.
- 16-bit activations with a bias of 64 bits: `multiply_wide`; of 32 bits as above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import activation_range, quantize_multiplier
from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert.call import MICROSOFT, Call, Slot
from w2e_onnx.lowering.litert.rules import NotHere

ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")
EIGHT = ("int8", "uint8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """A convolution of codes.

    Attributes:
        image, weights, bias: what the operation is given.
        input: the image's codes.
        codes, zero: the weights as ONNX has them, and their one zero point.
        said: attributes of the ONNX node.
        axis: of the weights' output channels.
        copies: how often the output channels are repeated, one set behind the other.
    """

    image: Slot
    weights: Slot
    bias: Slot | None
    input: ir.Value
    codes: ir.Value
    zero: ir.Value
    said: dict[str, object]
    axis: int = 0
    copies: int = 1

    def repeated(self, call: Call, value: ir.Value | None, slot: Slot | None) -> ir.Value | None:
        """Numbers of the channels, as many as there are outputs; one for all stays alone."""
        single = slot is not None and slot.quantized is not None and slot.quantized.axis is None
        if self.copies == 1 or value is None or (value is self.weights.scale and single):
            return value
        times = call.literal(np.asarray([self.copies], np.int64), "copies")
        return call.add("Tile", [value, times])

    def multipliers(self, call: Call, *, exact: bool) -> NDArray[np.float64]:
        """The real multipliers of accumulators (outputs, 1, 1), or one."""
        real = multipliers(self.image, self.weights, call.outputs[0], exact=exact)
        return real if real.ndim == 0 else np.tile(real, self.copies).reshape(-1, 1, 1)


def check(
    call: Call, operands: tuple[Slot, Slot, Slot | None], *, axis: int, symmetric: bool = True
) -> None:
    """Refuse what no rule of convolutions and products knows.

    Args:
        call: what is computed.
        operands: activation, weights, bias.
        axis: of the weights' output channels.
        symmetric: whether signed weights must have zero points 0.

    Raises:
        NotHere: types or quantization are others.
    """
    image, weights, bias = operands
    quantized, output = weights.quantized, call.outputs[0]
    if image.quantized is None or quantized is None or output.quantized is None:
        raise NotHere("real numbers among codes")
    if image.type != output.type or image.type not in (*EIGHT, "int16"):
        raise NotHere(f"{image.type} to {output.type}")
    if quantized.blocks or quantized.axis not in (None, axis):
        raise NotHere("scales along another axis than the output channels'")
    if not sums.one_zero_point(weights, symmetric=symmetric):
        raise NotHere("zero points of the weights")
    if bias is not None and bias.type not in ("int32", "int64"):
        raise NotHere(f"a bias of {bias.type}")
    if call.operation.text("fused_activation_function") not in ACTIVATIONS:
        raise NotHere(call.operation.text("fused_activation_function"))


def bounds(call: Call, *, even: bool) -> tuple[int, int] | None:
    """The codes that the fused activation lets through, None where those are all."""
    output = call.outputs[0]
    assert output.quantized is not None
    fused_activation = call.operation.text("fused_activation_function")
    scale, zero = np.float32(output.quantized.scale), int(output.quantized.zero_point)
    ends = activation_range(fused_activation, scale, zero, output.type, even=even)
    info = np.iinfo(output.type)
    return None if ends == (info.min, info.max) else ends


def clipped(call: Call, codes: ir.Value, *, even: bool = True) -> ir.Value:
    """Codes as they travel, with the fused activation's bounds where it has any (XNNPACK's)."""
    output, ends = call.outputs[0], bounds(call, even=even)
    if ends is None:
        return codes
    # ONNX Runtime has no Clip of int16; float32 holds its codes.
    dtype = output.carried if output.type in EIGHT else "float32"
    low, high = (
        call.constant(name, np.asarray(end + output.shift, dtype))
        for name, end in zip(("low", "high"), ends, strict=True)
    )
    if dtype == output.carried:
        return call.add("Clip", [codes, low, high])
    return call.cast(call.add("Clip", [call.cast(codes, dtype), low, high]), output.carried)


def finished(call: Call, scaled: ir.Value) -> ir.Value:
    """Codes of scaled accumulators."""
    return fixed_point.codes(call, scaled, call.outputs[0], *(bounds(call, even=False) or ()))


def multipliers(image: Slot, weights: Slot, output: Slot, *, exact: bool) -> NDArray[np.float64]:
    """The real multipliers of accumulators, in double precision.

    Args:
        image: the activation.
        weights: with one scale or one for each output channel.
        output: what accumulators become.
        exact: multiply in double precision; kernels with one multiplier multiply scales in single
            precision (tensorflow/lite/kernels/kernel_util.cc, GetQuantizedConvolutionMultipler).
    """
    assert image.quantized is not None
    assert weights.quantized is not None
    assert output.quantized is not None
    x, w, y = image.quantized.scale, weights.quantized.scale, output.quantized.scale
    product = x.astype(np.float64) * w.astype(np.float64) if exact else np.float64(x * w)
    return np.asarray(product / y.astype(np.float64))


def narrow_bias(call: Call, bias: Slot | None) -> bool:
    """Whether a 16-bit kernel accumulates in 32 bits."""
    if call.operation.text("quantized_bias_type", "FLOAT32") == "INT32":
        return True
    return bias is not None and bias.type == "int32"


def fused(call: Call, s: Sum) -> ir.Value:
    """XNNPACK's rule: QLinearConv on channels last, and a Clip where the activation cuts codes off."""
    output, image = call.outputs[0], s.image
    bias = None if s.bias is None else s.bias.value
    inputs = [s.input, image.scale, image.zero_point, s.codes]
    inputs += [s.repeated(call, s.weights.scale, s.weights), s.zero]
    inputs += [output.scale, output.zero_point, s.repeated(call, bias, s.bias)]
    made = call.add("QLinearConv", inputs, {**s.said, "channels_last": 1}, domain=MICROSOFT)
    return clipped(call, made)


def _biased(call: Call, s: Sum, sum_: ir.Value, dtype: str) -> ir.Value:
    if s.bias is None or s.bias.value is None:
        return sum_
    bias = s.repeated(call, s.bias.value, s.bias)
    assert bias is not None
    shaped = sums.channels_first(call, bias)
    return call.add("Add", [sum_, shaped if s.bias.type == dtype else call.cast(shaped, dtype)])


def _mask(s: Sum, up: bool | NDArray[np.bool_]) -> bool | NDArray[np.bool_]:
    if not isinstance(up, np.ndarray) or up.ndim > 1:
        return up
    return np.tile(up, s.copies).reshape(-1, 1, 1)


def fixed(call: Call, s: Sum, *, up: bool | NDArray[np.bool_]) -> ir.Value:
    """Fixed point in 32 bits; `up` as in `fixed_point.multiply`, of each output channel where it is a row."""
    assert s.image.zero_point is not None
    sum_ = sums.integer_convolution(call, s.input, s.image.zero_point, (s.codes, s.zero), s.said)
    real = call.cast(_biased(call, s, sum_, "int32"), "float64")
    number, shift = quantize_multiplier(s.multipliers(call, exact=s.image.type == "int8"))
    most = sums.bound(s.image, s.weights, s.bias, s.axis)
    scaled = fixed_point.multiply(call, real, number, shift, bound=most, up=_mask(s, up))
    return sums.channels_last(call, finished(call, scaled))


def wide(call: Call, s: Sum, *, up: bool | NDArray[np.bool_]) -> ir.Value:
    """16-bit images: accumulators from two convolutions of bytes."""
    high, low = sums.halves(call, s.input)
    middle, zero = call.literal(np.uint8(128), "middle"), call.literal(np.uint8(0), "zero")
    upper = sums.integer_convolution(call, high, middle, (s.codes, s.zero), s.said)
    lower = sums.integer_convolution(call, low, zero, (s.codes, s.zero), s.said)
    sum_ = _biased(call, s, sums.joined(call, upper, lower), "float64")
    number, shift = quantize_multiplier(s.multipliers(call, exact=True))
    if narrow_bias(call, s.bias):
        scaled = fixed_point.multiply(call, sum_, number, shift, up=_mask(s, up))
    else:
        scaled = fixed_point.multiply_wide(call, sum_, number, shift)
    return sums.channels_last(call, finished(call, scaled))
