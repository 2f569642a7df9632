"""AVERAGE_POOL_2D and MAX_POOL_2D of codes.

The average is that of the raw codes, whatever their zero points, halves away from zero; all kernels do
that (tensorflow/lite/kernels/internal/reference/integer_ops/pooling.h), and XNNPACK is not among them. The
codes as they travel are shifted, so that zero is 128 there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.kernels.window import Window, window_of
from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert.call import MICROSOFT, SHIFT, Call, Slot
from w2e_onnx.lowering.litert.rules import NotHere, Rule
from w2e_onnx.lowering.litert.scaling import ACTIVATIONS, EIGHT, clipped

PART = 4
"""Parts of a code in which sums are taken, so that one of them moves halves and nothing else."""
MOST_TAPS = 2048
"""With more, an average could be nearer to a half than float32 tells."""
MOST_WIDE_TAPS = 512
"""As many 16-bit codes can be summed in float32."""
NUDGE = 1 + 2.0**-20
"""Takes a half of up to 16 bits away from zero, in float64, and no other average of few codes over one."""


def average_pool(call: Call) -> Sequence[ir.Value]:
    """The rule of AVERAGE_POOL_2D."""
    image, output = call.operand(0), call.outputs[0]
    window = _window(call, image, output)
    taps, channels = int(np.prod(window.kernel)), sums.extent(image, 3)
    if channels is None or taps > (MOST_TAPS if image.type in EIGHT else MOST_WIDE_TAPS):
        raise NotHere("many codes in a window, or channels known at run time only")
    said = sums.geometry(call, window, image)
    same = (
        call.operation.text("padding", "SAME") == "SAME"
        and window.same(sums.sizes(image)) != (0,) * 4
    )
    if image.type in EIGHT and not call.reference and not same:
        made = _quick(call, image, said | {"group": channels}, channels, taps)
    else:
        made = _summed(
            call, image, said | {"group": channels}, channels, _counts(window, image, output, same)
        )
    return [clipped(call, made, even=False)]


def _window(call: Call, image: Slot, output: Slot) -> Window:
    if image.quantized is None or output.quantized is None or image.type != output.type:
        raise NotHere("real numbers among codes")
    if image.type not in (*EIGHT, "int16"):
        raise NotHere(image.type)
    if call.operation.text("fused_activation_function") not in ACTIVATIONS:
        raise NotHere(call.operation.text("fused_activation_function"))
    operation = call.operation
    return window_of(operation, [operation.integer(f"filter_{n}", 1) for n in ("height", "width")])


def _quick(call: Call, image: Slot, said: dict[str, object], channels: int, taps: int) -> ir.Value:
    """QLinearConv, which rounds halves to even, on sums of which one part of a code moves the halves.

    In parts of 1 / (4 * taps), a half is 2 * taps parts over a whole code, and every other average at
    least two parts off. With one part more it is rounded up, with one part less down.
    """
    assert image.value is not None
    kernel = said["kernel_shape"]
    assert isinstance(kernel, tuple)
    ones = _filled(call, (channels, 1, *kernel), np.int8(PART), "taps")
    one, unit = (
        call.literal(np.float32(1), "one"),
        call.literal(np.float32(1 / (PART * taps)), "unit"),
    )
    zero = call.literal(np.int8(0), "zero")

    def rounded(towards: int, middle: int, origin: int) -> ir.Value:
        bias = _filled(call, (channels,), np.int32(towards), "towards")
        points = [call.literal(np.uint8(n), "point") for n in (middle, origin)]
        inputs = [image.value, one, points[0], ones, unit, zero, one, points[1], bias]
        return call.add("QLinearConv", inputs, {**said, "channels_last": 1}, domain=MICROSOFT)

    if image.type == "uint8":
        return rounded(1, 0, 0)
    # Positive averages up, cut off below 0; negative ones down, cut off above 0: one of both is 0.
    above, below = rounded(1, SHIFT, 0), rounded(-1, SHIFT, 255)
    points = [call.literal(np.uint8(n), "point") for n in (0, 255, SHIFT)]
    inputs = [above, one, points[0], below, one, points[1], one, points[2]]
    return call.add("QLinearAdd", inputs, domain=MICROSOFT)


def _filled(call: Call, shape: tuple[int, ...], number: np.generic, name: str) -> ir.Value:
    extents = call.literal(np.asarray(shape, np.int64), f"{name}_shape")
    value = ir.tensor(np.asarray([number]))
    return call.add("ConstantOfShape", [extents], {"value": value}, name=name)


def _counts(window: Window, image: Slot, output: Slot, same: bool) -> NDArray[np.float64]:
    """How many codes lie in the window, of each place (height, width) or of all."""
    if not same:
        return np.asarray(np.prod(window.kernel), np.float64)
    sizes, places, pads = sums.sizes(image), sums.sizes(output), window.same(sums.sizes(image))
    if pads is None or None in sizes or None in places:
        raise NotHere("extents known at run time only")
    inside = []
    for axis, (size, count) in enumerate(zip(sizes, places, strict=True)):
        first = np.arange(count or 0) * window.strides[axis] - pads[axis]
        inside.append(np.minimum(first + window.kernel[axis], size or 0) - np.maximum(first, 0))
    return np.outer(*inside).astype(np.float64)


def _summed(
    call: Call,
    image: Slot,
    said: dict[str, object],
    channels: int,
    counts: NDArray[np.float64],
) -> ir.Value:
    """Sums by a convolution of float32, in which they are exact, and their division in float64."""
    assert image.value is not None
    kernel = said["kernel_shape"]
    assert isinstance(kernel, tuple)
    real = call.cast(image.value, "float32")
    if image.shift:
        real = call.add("Sub", [real, call.literal(np.float32(image.shift), "shift")])
    first = call.add("Transpose", [real], {"perm": (0, 3, 1, 2)})
    ones = _filled(call, (channels, 1, *kernel), np.float32(1), "taps")
    sum_ = call.cast(call.add("Conv", [first, ones], said), "float64")
    average = call.add("Mul", [sum_, call.constant("parts", NUDGE / counts)])
    whole = call.add("Round", [average])
    if image.shift:
        whole = call.add("Add", [whole, call.literal(np.float64(image.shift), "shift")])
    return sums.channels_last(call, call.cast(whole, image.carried))


def max_pool(call: Call) -> Sequence[ir.Value]:
    """The rule of MAX_POOL_2D: codes are compared as they travel."""
    image, output = call.operand(0), call.outputs[0]
    window = _window(call, image, output)
    assert image.value is not None
    said = sums.geometry(call, window, image)
    if image.type in EIGHT and not call.reference:
        made = call.add("NhwcMaxPool", [image.value], said, domain=MICROSOFT)
        return [clipped(call, made, even=_delegated(window))]
    codes = image.value if image.type in EIGHT else call.cast(image.value, "float32")
    first = call.add("Transpose", [codes], {"perm": (0, 3, 1, 2)})
    made = sums.channels_last(call, call.add("MaxPool", [first], said))
    if image.type not in EIGHT:
        made = call.cast(made, image.carried)
    return [clipped(call, made, even=False)]


def _delegated(window: Window) -> bool:
    """Whether XNNPACK takes the node (xnnpack_delegate.cc, CheckPoolingParams)."""
    if any(s > k for s, k in zip(window.strides, window.kernel, strict=True)):
        return False
    return window.kernel != (1, 1) or window.strides == (1, 1)


RULES: Mapping[str, Rule] = {"average_pool_2d": average_pool, "max_pool_2d": max_pool}
