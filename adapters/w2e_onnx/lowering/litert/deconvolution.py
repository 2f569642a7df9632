"""TRANSPOSE_CONV of codes, as one convolution with an output channel for each phase.

With stride s, output place y + before = s*q + r takes the taps k = s*j + r of the pixels q - j: for each
phase r an ordinary convolution over q, whose taps are every s-th of the kernel, backwards. The phases
stand behind each other as output channels and are interleaved at the end. Nothing is multiplied by the
zeros that a dilated image would have, and QLinearConv and ConvInteger do it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.kernels.deconvolution import padding_for
from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.depthwise import lanes
from w2e_onnx.lowering.litert.hybrid import hybrid, is_hybrid
from w2e_onnx.lowering.litert.rules import NotHere, Rule
from w2e_onnx.lowering.litert.scaling import Sum, check, fixed, fused, wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """The geometry; all pairs are (height, width).

    Attributes:
        image: extents of the input.
        strides: of the operation.
        taps: of each phase.
        before: what is cut off before the image.
        target: extents of the output.
        places: extents of the convolution over phases.
        outputs, depth: channels.
    """

    image: tuple[int, int]
    strides: tuple[int, int]
    taps: tuple[int, int]
    before: tuple[int, int]
    target: tuple[int, int]
    places: tuple[int, int]
    outputs: int
    depth: int

    @property
    def copies(self) -> int:
        """How many phases there are."""
        return self.strides[0] * self.strides[1]

    def attributes(self) -> dict[str, object]:
        """Attributes of the convolution: every place that any pixel reaches, and those of the output beyond."""
        ends = tuple(p - s for p, s in zip(self.places, self.image, strict=True))
        return {
            "kernel_shape": self.taps,
            "strides": (1, 1),
            "pads": (self.taps[0] - 1, self.taps[1] - 1, *ends),
        }


def transpose_conv(call: Call) -> Sequence[ir.Value]:
    """The rule of TRANSPOSE_CONV."""
    if is_hybrid(call):
        return hybrid(call)
    weights, image, bias = call.operand(1), call.operand(2), call.optional(3)
    check(call, (image, weights, bias), axis=0)
    phases = _phases(call, image, weights)
    codes, zero = sums.factor(call, weights)
    assert image.value is not None
    s = Sum(
        image=image,
        weights=weights,
        bias=bias,
        input=image.value,
        codes=_by_phase(call, codes, zero, phases),
        zero=zero,
        said=phases.attributes(),
        copies=phases.copies,
    )
    up: bool | NDArray[np.bool_] = False if call.reference else lanes(phases.outputs)
    if image.type == "int16":
        return [_interleaved(call, wide(call, s, up=up), phases)]
    if not call.reference and delegated(call, (image, weights, bias), phases):
        return [_interleaved(call, fused(call, s), phases)]
    if not call.reference and image.type == "uint8":
        up = _in_blocks(call.outputs[0], phases)
    return [_interleaved(call, fixed(call, s, up=up), phases)]


def delegated(call: Call, operands: tuple[Slot, Slot, Slot | None], phases: Phases) -> bool:
    """Whether XNNPACK takes the node (tflite/delegates/xnnpack/xnnpack_delegate.cc, VisitTransposeConvNode)."""
    image, weights, bias = operands
    if bias is not None and (bias.quantized is None or bias.tensor is None or bias.type != "int32"):
        return False
    if weights.tensor is None or weights.type != image.type:
        return False
    kernel = sums.window_at(call, weights).kernel
    if call.operation.text("padding", "SAME") == "VALID":
        return all(k <= target for k, target in zip(kernel, phases.target, strict=True))
    return all(k >= stride for k, stride in zip(kernel, phases.strides, strict=True))


BLOCK = 16
"""So many numbers the default uint8 kernel rounds at once."""


def _in_blocks(output: Slot, phases: Phases) -> bool | NDArray[np.bool_]:
    """Which numbers that kernel rounds up: those of whole blocks; the last ones are rounded away from zero.

    (`Quantize` in tensorflow/lite/kernels/internal/optimized/optimized_ops.h.)

    Returns:
        Truth for all, or for each output of the convolution over phases: (images, channels, places, places).

    Raises:
        NotHere: how many there are is known at run time only.
    """
    shape = output.shape
    if shape is None or not all(isinstance(d, int) for d in shape):
        raise NotHere("uint8 outside of XNNPACK, of an extent known at run time only")
    images, height, width, outputs = (int(d or 0) for d in shape)
    count = images * height * width * outputs
    if count % BLOCK == 0:
        return True
    (sh, sw), (ph, pw) = phases.strides, phases.places
    whole = np.ones((images, ph * sh, pw * sw, outputs), np.bool_)
    rows, columns = (slice(b, b + t) for b, t in zip(phases.before, phases.target, strict=True))
    place = np.arange(count).reshape(images, height, width, outputs)
    whole[:, rows, columns] = place < count - count % BLOCK
    split = whole.reshape(images, ph, sh, pw, sw, outputs).transpose(0, 2, 4, 5, 1, 3)
    return split.reshape(images, sh * sw * outputs, ph, pw)


def _phases(call: Call, image: Slot, weights: Slot) -> Phases:
    window = sums.window_at(call, weights)
    sizes, target = sums.sizes(image), sums.sizes(call.outputs[0])
    outputs, depth = sums.extent(weights, 0), sums.extent(weights, 3)
    known = (*sizes, *target, outputs, depth)
    if any(number is None for number in known):
        raise NotHere("extents known at run time only")
    h, w, target_h, target_w, outputs, depth = (int(number or 0) for number in known)
    pads, _ = padding_for(
        window, call.operation.text("padding", "SAME"), (h, w), (target_h, target_w)
    )
    strides = window.strides[0], window.strides[1]
    places = [
        -(-(b + t) // s) for b, t, s in zip(pads, (target_h, target_w), strides, strict=False)
    ]
    return Phases(
        strides=strides,
        taps=(-(-window.kernel[0] // strides[0]), -(-window.kernel[1] // strides[1])),
        before=(pads[0], pads[1]),
        target=(target_h, target_w),
        places=(places[0], places[1]),
        outputs=outputs,
        depth=depth,
        image=(h, w),
    )


def _ints(call: Call, numbers: Sequence[int], name: str) -> ir.Value:
    return call.literal(np.asarray(numbers, np.int64), name)


def _by_phase(call: Call, codes: ir.Value, zero: ir.Value, phases: Phases) -> ir.Value:
    """Weights (outputs, height, width, depth) as (phases * outputs, depth, taps, taps), backwards."""
    (sh, sw), (th, tw) = phases.strides, phases.taps
    shape = call.operand(1).shape
    assert shape is not None
    more = [t * s - int(k or 0) for t, s, k in zip((th, tw), (sh, sw), shape[1:3], strict=True)]
    if any(more):
        ends = _ints(call, [0, 0, 0, 0, 0, more[0], more[1], 0], "ends")
        codes = call.add("Pad", [codes, ends, zero])
    split = _ints(call, [phases.outputs, th, sh, tw, sw, phases.depth], "split")
    codes = call.add("Reshape", [codes, split])
    codes = call.add("Transpose", [codes], {"perm": (2, 4, 0, 5, 1, 3)})
    joined = _ints(call, [phases.copies * phases.outputs, phases.depth, th, tw], "joined")
    codes = call.add("Reshape", [codes, joined])
    if (th, tw) == (1, 1):
        return codes
    backwards = [_ints(call, n, "backwards") for n in ([-1, -1], [-(2**31)] * 2, [2, 3], [-1, -1])]
    return call.add("Slice", [codes, *backwards])


def _interleaved(call: Call, codes: ir.Value, phases: Phases) -> ir.Value:
    """Codes (…, places, places, phases * outputs) as the image."""
    (sh, sw), (ph, pw) = phases.strides, phases.places
    if phases.copies > 1:
        split = _ints(call, [-1, ph, pw, sh, sw, phases.outputs], "phases")
        codes = call.add("Reshape", [codes, split])
        codes = call.add("Transpose", [codes], {"perm": (0, 1, 3, 2, 4, 5)})
        joined = _ints(call, [-1, ph * sh, pw * sw, phases.outputs], "image")
        codes = call.add("Reshape", [codes, joined])
    if phases.before == (0, 0) and (ph * sh, pw * sw) == phases.target:
        return codes
    starts = _ints(call, phases.before, "starts")
    ends = _ints(call, [b + t for b, t in zip(phases.before, phases.target, strict=True)], "ends")
    return call.add("Slice", [codes, starts, ends, _ints(call, [1, 2], "axes")])


RULES: Mapping[str, Rule] = {"transpose_conv": transpose_conv}
