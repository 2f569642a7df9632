"""Convolutions: paddings without a name, one axis of space, and what transposed ones cut off."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.tensor import plain_tensor
from w2e_bridge.kernels.hints import PREFIX
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule
from w2e_bridge.passes.legalize.windows import (
    Sliding,
    padded_image,
    sliding,
    widened,
    with_axis,
    without_padding,
)


def _kernel(place: Place) -> tuple[int, ...] | None:
    shape = place.static(place.input(1))
    return None if shape is None or len(shape) < 3 else shape[2:]


def explicit_padding(place: Place) -> bool:
    """Paddings that have no name become a Pad.

    before: Conv(x, pads).
    after: Conv(Pad(x, pads)), no padding.
    why exact: a convolution's padding is zeros, and so is the Pad's; of a quantized value it is the zero
        point, which is the code of 0.
    """
    found = sliding(place, _kernel(place))
    if found is None or found.named or place.rank(place.need(0)) == 3:
        return False
    pads = found.numbers()
    if pads is None:
        return False
    x = padded_image(place, place.need(0), pads)
    place.node.replace_input_with(0, x)
    without_padding(place)
    return True


def no_bias(place: Place) -> bool:
    """A convolution of images without a bias.

    before: Conv(x, W).
    after: Conv(x, W, 0).
    why exact: 0 is added; kernels insist on it (tensorflow/lite/kernels/conv.cc).
    """
    shape = place.static(place.input(1))
    if place.input(2) is not None or shape is None or len(shape) != 4:
        return False
    node = place.node
    node.resize_inputs(3)
    node.replace_input_with(
        2,
        place.weight(plain_tensor(f"{name_of(place.output)}.bias", np.zeros(shape[0], np.float32))),
    )
    return True


def one_axis(place: Place) -> bool:
    """A convolution along one axis is one of images of height 1.

    before: Conv(x: NCW).
    after: Squeeze(Conv(Unsqueeze(x): NC1W)), weights OI1W.
    why exact: an axis of extent 1 adds nothing to the sums.
    """
    if place.rank(place.need(0)) != 3 or place.rank(place.need(1)) != 3:
        return False
    axis = place.constant([2])
    x = place.add("Unsqueeze", place.need(0), axis)
    tensor = place.tensor(place.need(1))
    weights = (
        place.add("Unsqueeze", place.need(1), axis)
        if tensor is None
        else place.weight(with_axis(tensor, 2))
    )
    bias = place.input(2)
    inputs = [x, weights] if bias is None else [x, weights, bias]
    made = place.add(place.node.op_type, *inputs, attributes=widened(place))
    made.producer().metadata_props.update(place.node.metadata_props)  # type: ignore[union-attr]
    return place.replace(place.add("Squeeze", made, axis))


def transposed_padding(place: Place) -> bool:
    """What a transposed convolution cuts off is cut off by a Slice.

    before: ConvTranspose(x, pads, output_padding, auto_pad or output_shape).
    after: Slice(ConvTranspose(x)) of the whole; ends that reach beyond it are output_padding still.
    why exact: onnx/onnx docs/Operators.md, ConvTranspose: pads are what is cut off the whole.
    """
    found = sliding(place, _kernel(place))
    if found is None or place.rank(place.need(0)) == 3 or None in found.sizes:
        return False
    cut = _cut(place, found)
    if cut is None:
        return False
    name = _name(found, cut)
    if name is not None:
        return _named(place, found, cut, name)
    said = {"pads", "auto_pad", "output_shape"} & place.node.attributes.keys()
    before, outputs, whole = cut
    more = [max(0, b + o - w) for b, o, w in zip(before, outputs, whole, strict=True)]
    attributes = {n: a.value for n, a in place.node.attributes.items() if n not in said}
    attributes["output_padding"] = more
    inputs = [value for value in place.node.inputs if value is not None]
    made = place.add("ConvTranspose", *inputs, attributes=attributes)
    ends = [b + o for b, o in zip(before, outputs, strict=True)]
    axes = list(range(2, 2 + found.rank))
    bounds = [place.constant(numbers) for numbers in (before, ends, axes)]
    return place.replace(place.add("Slice", made, *bounds))


Cut = tuple[list[int], list[int], list[int]]
"""What is cut off in front, what is left, and the whole."""


def _cut(place: Place, found: Sliding) -> Cut | None:
    """How the output lies in the whole, for each axis of space."""
    window, rank = found.window, found.rank
    more = place.integers("output_padding") or [0] * rank
    wanted = place.integers("output_shape")
    before, outputs, whole = [], [], []
    for axis in range(rank):
        size, stride = found.sizes[axis], window.strides[axis]
        assert size is not None
        full = (size - 1) * stride + (window.kernel[axis] - 1) * window.dilations[axis] + 1
        if wanted is None and found.auto == "NOTSET":
            front = found.pads[axis]
            out = full + more[axis] - front - found.pads[axis + rank]
        else:
            out = wanted[-rank:][axis] if wanted is not None else size * stride
            total = max(0, full + more[axis] - out)
            front = total // 2 if found.auto == "SAME_UPPER" else total - total // 2
        if out < 1 or front >= full:
            return None
        before.append(front)
        outputs.append(out)
        whole.append(full)
    return before, outputs, whole


def _name(found: Sliding, cut: Cut) -> str | None:
    """What runtimes call what is cut off; None where they have no such name.

    By the name and the output's extents they find the input's again
    (tensorflow/lite/kernels/transpose_conv.cc).
    """
    before, outputs, whole = cut
    same = found.window.same(tuple(outputs))
    strides = found.window.strides
    assert same is not None
    if list(same[: found.rank]) == before:
        halves = [-(-o // s) for o, s in zip(outputs, strides, strict=True)]
        if halves == list(found.sizes):
            return "SAME"
    fits = [0 <= o - w < s for o, w, s in zip(outputs, whole, strides, strict=True)]
    return "VALID" if all(fits) and not any(before) else None


def _named(place: Place, found: Sliding, cut: Cut, name: str) -> bool:
    """Say it in numbers, where it isn't said so."""
    before, outputs, whole = cut
    rest = [w - b - o for b, o, w in zip(before, outputs, whole, strict=True)]
    pads = [*before, *(max(0, r) for r in rest)]
    more = [max(0, -r) for r in rest]
    node = place.node
    node.metadata_props[PREFIX + "padding"] = name
    if found.auto == "NOTSET" and "output_shape" not in node.attributes:
        known = place.integers("output_padding") or [0] * found.rank
        if list(found.pads) == pads and known == more:
            return False
    for attribute in ("auto_pad", "output_shape"):
        node.attributes.pop(attribute, None)
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes["output_padding"] = ir.AttrInt64s("output_padding", more)
    return True


_DENSE = 1 << 22
"""Weights of a convolution in groups that may be written with zeros between the groups."""


def volume_groups(place: Place) -> bool:
    """A convolution of volumes in groups is one of all channels, with zeros between the groups.

    before: Conv(x: NCDHW, W: (outputs, channels / groups, …), group).
    after: Conv(x, W': (outputs, channels, …)), W' with W on its diagonal.
    why exact: 0 is added.
    """
    group, tensor = place.integer("group", 1), place.tensor(place.need(1))
    if group == 1 or tensor is None or tensor.encoding.quantized or len(tensor.shape) != 5:
        return False
    if tensor.elements * group > _DENSE:
        return False
    values = tensor.dequantize()
    outputs, channels = values.shape[0] // group, values.shape[1]
    dense = np.zeros((values.shape[0], channels * group, *values.shape[2:]), np.float32)
    for i in range(group):
        rows = slice(i * outputs, (i + 1) * outputs)
        dense[rows, i * channels : (i + 1) * channels] = values[rows]
    place.node.replace_input_with(1, place.weight(plain_tensor(tensor.name, dense)))
    place.node.attributes.pop("group")
    return True


def transposed_groups(place: Place) -> bool:
    """A transposed convolution in groups is one of all channels, with zeros between the groups.

    before: ConvTranspose(x, W: (channels, outputs / groups, …), group).
    after: ConvTranspose(x, W': (channels, outputs, …)), W' with W on its diagonal.
    why exact: 0 is added.
    """
    group, tensor = place.integer("group", 1), place.tensor(place.need(1))
    if (
        group == 1
        or tensor is None
        or tensor.encoding.quantized
        or tensor.elements * group > _DENSE
    ):
        return False
    values = tensor.dequantize()
    channels, outputs = values.shape[0] // group, values.shape[1]
    dense = np.zeros((values.shape[0], outputs * group, *values.shape[2:]), np.float32)
    for i in range(group):
        rows = slice(i * channels, (i + 1) * channels)
        dense[rows, i * outputs : (i + 1) * outputs] = values[rows]
    place.node.replace_input_with(1, place.weight(plain_tensor(tensor.name, dense)))
    place.node.attributes.pop("group")
    return True


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Conv": (volume_groups, one_axis, explicit_padding, no_bias),
    "ConvTranspose": (transposed_groups, one_axis, transposed_padding),
}
