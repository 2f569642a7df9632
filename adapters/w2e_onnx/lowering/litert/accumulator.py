"""Sums of products of codes in the body of a function, exact on every processor.

ONNX Runtime multiplies uint8 by int8 with `vpmaddubsw` on x86 processors without VNNI, which saturates
(onnxruntime/core/mlas/lib/platform.cpp: MlasGemmU8S8KernelAvx2); uint8 by uint8 it multiplies in 16 bits,
exactly. So weights of signed codes are shifted to uint8 with the zero point 128; a load folds that away.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.window import Window, padding_attributes, window_attributes, window_of
from w2e_onnx.lowering.litert.call import SHIFT, Call, Slot

Sizes = tuple[int | None, ...]


def sizes(slot: Slot, rank: int = 2) -> Sizes:
    """The extents of a channels-last image's axes of space, None where unknown."""
    if slot.shape is None or len(slot.shape) != rank + 2:
        return (None,) * rank
    return tuple(d if isinstance(d, int) else None for d in slot.shape[1:-1])


def extent(slot: Slot, axis: int) -> int | None:
    """One extent of a slot, None where unknown."""
    found = None if slot.shape is None or not slot.shape else slot.shape[axis]
    return found if isinstance(found, int) else None


def window_at(call: Call, weights: Slot) -> Window:
    """The window of a convolution whose weights are (…, height, width, …)."""
    assert weights.shape is not None
    height, width = (d if isinstance(d, int) else 0 for d in weights.shape[1:3])
    return window_of(call.operation, (height, width))


def geometry(call: Call, window: Window, image: Slot) -> dict[str, object]:
    """Attributes of the ONNX node that slides a window over an image."""
    padding = call.operation.text("padding", "SAME")
    return {**window_attributes(window), **padding_attributes(window, padding, sizes(image))}


def factor(call: Call, slot: Slot, *, one: bool = True) -> tuple[ir.Value, ir.Value]:
    """Codes of weights and their zero point as a product wants them: uint8, or int8 where that is exact.

    Without VNNI, ONNX Runtime adds two products of an unsigned and a signed byte in 16 bits, which saturate
    (onnxruntime/core/mlas/lib/x86_64/QgemmU8S8KernelAvx2.asm, vpmaddubsw); with it they are the fastest.

    Args:
        call: whose body it is.
        slot: weights whose zero points are all the same.
        one: give a single number even where each channel has its own.
    """
    assert slot.value is not None
    assert slot.zero_point is not None
    if slot.type == "uint8":
        return slot.value, slot.zero_point
    kept = call.signed and slot.type == "int8"
    codes, zero = (v if kept else shifted(call, v) for v in (slot.value, slot.zero_point))
    if one and slot.quantized is not None and slot.quantized.axis is not None:
        zero = call.add("ReduceMax", [zero], {"keepdims": 0})
    return codes, zero


def shifted(call: Call, codes: ir.Value) -> ir.Value:
    """Codes of up to 8 bits, signed, plus 128, as uint8."""
    wide = call.cast(codes, "int32")
    return call.cast(call.add("Add", [wide, call.literal(np.int32(SHIFT), "shift")]), "uint8")


def one_zero_point(slot: Slot, *, symmetric: bool = False) -> bool:
    """Whether all channels of weights have the same zero point, of signed codes 0 if so asked."""
    quantized = slot.quantized
    if quantized is None:
        return False
    zeros = np.unique(quantized.zero_point)
    return zeros.size == 1 and (slot.type == "uint8" or not symmetric or zeros[0] == 0)


def bound(image: Slot, weights: Slot, bias: Slot | None, axis: int) -> int:
    """No accumulator is larger: the worst sum over all codes of the image.

    Args:
        image: codes with a zero point.
        weights: constant codes.
        bias: constant codes.
        axis: of the weights' output channels.
    """
    assert image.quantized is not None
    assert weights.quantized is not None
    if weights.tensor is None:
        return 2**31
    info = np.iinfo(image.type)
    zero = int(image.quantized.zero_point)
    widest = max(info.max - zero, zero - info.min)
    array = weights.array().astype(np.int64) - weights.quantized.zero_point.reshape(-1)[0]
    total = np.abs(array).sum(axis=tuple(a for a in range(array.ndim) if a != axis % array.ndim))
    added = np.zeros(1, np.int64)
    if bias is not None:
        if bias.tensor is None:
            return 2**31
        added = np.abs(bias.array().astype(np.int64)).reshape(-1)
    return int((total * widest + added).max())


def channels_first(call: Call, per_channel: ir.Value) -> ir.Value:
    """Numbers of channels (outputs,) as (outputs, 1, 1)."""
    return call.add(
        "Reshape", [per_channel, call.literal(np.asarray([-1, 1, 1], np.int64), "shape")]
    )


def integer_convolution(
    call: Call,
    image: ir.Value,
    zero: ir.Value,
    weights: tuple[ir.Value, ir.Value],
    said: dict[str, object],
) -> ir.Value:
    """Append ConvInteger of uint8 images, channels last before it and first behind it: int32."""
    first = call.add("Transpose", [image], {"perm": (0, 3, 1, 2)})
    return call.add("ConvInteger", [first, weights[0], zero, weights[1]], said)


def channels_last(call: Call, value: ir.Value) -> ir.Value:
    """Append the Transpose back."""
    return call.add("Transpose", [value], {"perm": (0, 2, 3, 1)})


def halves(call: Call, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Codes of 16 bits as 256 * (high - 128) + low, both uint8."""
    low = call.cast(value, "uint8")  # drops the upper bits
    # The floor of x / 256 is x / 256 less almost one half, rounded: no tie.
    moved = call.add("Sub", [call.cast(value, "float32"), call.literal(np.float32(127.5), "half")])
    step, middle = call.literal(np.float32(256), "step"), call.literal(np.uint8(SHIFT), "middle")
    return call.add("QuantizeLinear", [moved, step, middle]), low


def joined(call: Call, high: ir.Value, low: ir.Value) -> ir.Value:
    """The accumulator of 16-bit codes from those of its halves, as float64."""
    factor = call.literal(np.float64(256), "whole")
    upper = call.add("Mul", [call.cast(high, "float64"), factor])
    return call.add("Add", [upper, call.cast(low, "float64")])
