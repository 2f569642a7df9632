"""Pools: paddings without a name, one axis of space, whole images."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule
from w2e_bridge.passes.legalize.windows import (
    Pads,
    Sliding,
    padded_image,
    sliding,
    widened,
    without_padding,
)

LOWEST = float(np.finfo(np.float32).min)


def whole(op: str) -> Rule:
    """A pool over whole images is a reduction.

    before: GlobalAveragePool(x), GlobalMaxPool(x), GlobalLpPool(x, p=2).
    after: ReduceMean(x), ReduceMax(x), ReduceL2(x) over all axes of space, which stay as 1.
    why exact: it is their definition.
    """

    def rule(place: Place) -> bool:
        rank = place.rank(place.need(0))
        if rank is None or rank < 3 or place.integer("p", 2) != 2:
            return False
        axes = place.constant(list(range(2, rank)))
        return place.replace(place.add(op, place.need(0), axes, attributes={"keepdims": 1}))

    return rule


def one_axis(place: Place) -> bool:
    """A pool along one axis is one of images of height 1.

    before: MaxPool(x: NCW).
    after: Squeeze(MaxPool(Unsqueeze(x): NC1W)).
    why exact: the window has height 1.
    """
    if place.rank(place.need(0)) != 3 or len(place.node.outputs) > 1:
        return False
    axis = place.constant([2])
    x = place.add("Unsqueeze", place.need(0), axis)
    made = place.add(place.node.op_type, x, attributes=widened(place))
    return place.replace(place.add("Squeeze", made, axis))


def _places(found: Sliding, pads: Pads, *, up: bool) -> list[int] | None:
    """How many places a window has along each axis; with `up`, a last one may reach beyond."""
    counts = []
    for axis, size in enumerate(found.sizes):
        if size is None:
            return None
        window, stride = found.window, found.window.strides[axis]
        taps = (window.kernel[axis] - 1) * window.dilations[axis] + 1
        room = size + pads[axis] + pads[axis + found.rank] - taps
        count = (-(-room // stride) if up else room // stride) + 1
        if up and (count - 1) * stride >= size + pads[axis]:
            count -= 1  # a window must begin inside
        counts.append(count)
    return counts


def _reach(found: Sliding, pads: Pads, counts: list[int]) -> Pads:
    """Paddings behind with which the windows fit in exactly as far as they reach."""
    after = []
    for axis, count in enumerate(counts):
        window, size = found.window, found.sizes[axis]
        assert size is not None
        taps = (window.kernel[axis] - 1) * window.dilations[axis] + 1
        reached = (count - 1) * window.strides[axis] + taps
        after.append(max(pads[axis + found.rank], reached - size - pads[axis]))
    return (*pads[: found.rank], *after)


def _needed(place: Place) -> tuple[Sliding, Pads, Pads] | None:
    """A window, its paddings as said and as far as it reaches; None where kernels can say it already."""
    found = sliding(place)
    if found is None or found.rank != 2 or len(place.node.outputs) > 1:
        return None
    pads, up = found.numbers(), bool(place.integer("ceil_mode"))
    if pads is None:
        return None
    if not up:
        return found, pads, pads
    counts = _places(found, pads, up=True)
    return None if counts is None else (found, pads, _reach(found, pads, counts))


def max_pool(place: Place) -> bool:
    """Paddings of a maximum become a Pad of the least number.

    before: MaxPool(x, pads, ceil_mode).
    after: MaxPool(Pad(x, pads, least)), no padding; no padding behind that no window reaches.
    why exact: the least number is never larger than one inside, and each window has one inside.
    """
    needed = _needed(place)
    if needed is None or place.integer("storage_order"):
        return False
    found, pads, reach = needed
    if found.named and reach == pads and not place.integer("ceil_mode"):
        return False
    if place.dtype(place.need(0)) != ir.DataType.FLOAT:
        return False
    if reach == pads and found.named:
        place.node.attributes.pop("ceil_mode")
        return True
    x = padded_image(place, place.need(0), reach, LOWEST)
    place.node.replace_input_with(0, x)
    without_padding(place)
    place.node.attributes.pop("ceil_mode", None)
    return True


def average_pool(place: Place) -> bool:
    """Paddings of an average become a Pad of zeros, and a factor where they don't count.

    before: AveragePool(x, pads, ceil_mode, count_include_pad).
    after: AveragePool(Pad(x, pads)) · (size of the window / elements that count).
    why exact: zeros add nothing to the sum; the factor puts the number of elements right.
    """
    needed = _needed(place)
    if needed is None:
        return False
    found, pads, reach = needed
    counted, up = bool(place.integer("count_include_pad")), bool(place.integer("ceil_mode"))
    plain = found.named and not up
    if plain and (not counted or not any(pads)):
        return False
    factor = _factor(found, pads, reach, counted=counted)
    if factor is None:
        return False
    x = place.need(0) if not any(reach) else padded_image(place, place.need(0), reach)
    kept = {
        n: a.value
        for n, a in place.node.attributes.items()
        if n in ("kernel_shape", "strides", "dilations")
    }
    made = place.add("AveragePool", x, attributes=kept)
    if not (factor == 1).all():
        made = place.add("Mul", made, place.constant(factor))
    return place.replace(made)


def _factor(found: Sliding, pads: Pads, reach: Pads, *, counted: bool) -> AnyArray | None:
    """Size of a window over the elements that count in it, (1, 1, places, places)."""
    inside = tuple(reach) == tuple(pads)
    if counted and inside:
        return np.ones((1, 1, 1, 1), np.float32)
    counts = _places(found, reach, up=False)
    if counts is None:
        return None
    shares = []
    for axis, count in enumerate(counts):
        window, size = found.window, found.sizes[axis]
        assert size is not None
        first, last = pads[axis], pads[axis] + size
        if counted:
            first, last = 0, pads[axis] + size + pads[axis + found.rank]
        starts = np.arange(count)[:, None] * window.strides[axis]
        taps = starts + np.arange(window.kernel[axis]) * window.dilations[axis]
        shares.append(((taps >= first) & (taps < last)).sum(1))
    number = np.multiply.outer(*shares)
    factor: AnyArray = (math.prod(found.window.kernel) / number).astype(np.float32)
    return factor[None, None]


def root_pool(place: Place) -> bool:
    """LpPool of p = 2 as a root of averaged squares.

    before: LpPool(x, p=2).
    after: Sqrt(AveragePool(x · x, paddings counted) · size of the window).
    why exact: an average of squares times their number is their sum.
    """
    found = sliding(place)
    if found is None or place.integer("p", 2) != 2:
        return False
    x = place.need(0)
    attributes = {n: a.value for n, a in place.node.attributes.items() if n != "p"}
    attributes["count_include_pad"] = 1
    mean = place.add("AveragePool", place.add("Mul", x, x), attributes=attributes)
    size = place.constant(np.float32(math.prod(found.window.kernel)))
    return place.replace(place.add("Sqrt", place.add("Mul", mean, size)))


def volume(place: Place) -> bool:
    """A pool of volumes is one of images and one along the axis of depth.

    before: MaxPool(x: NCDHW), AveragePool(x: NCDHW).
    after: the pool of each slice (N, C · D, H, W), then that along D of (N, C, D, H · W).
    why exact: the largest of the largest is the largest; all slices count alike many elements, so that
        the mean of their means is the mean.
    """
    shape = place.shape(place.need(0))
    size = place.integers("kernel_shape")
    known = shape is not None and all(isinstance(n, int) for n in shape[1:])
    if shape is None or size is None or len(shape) != 5 or not known or len(place.node.outputs) > 1:
        return False
    first = shape[0] if isinstance(shape[0], int) else -1
    channels, depth, height, width = (n for n in shape[1:] if isinstance(n, int))
    output = place.shape(place.output)
    extents = [n if isinstance(n, int) else -1 for n in output or ()]
    if len(extents) != 5 or -1 in extents[1:]:
        return False
    slices = [first, channels * depth, height, width]
    x = place.add("Reshape", place.need(0), place.constant(slices))
    pooled = place.add(place.node.op_type, x, attributes=_along(place, [1, 2]))
    plane = [first, channels, depth, extents[3] * extents[4]]
    turned = place.add("Reshape", pooled, place.constant(plane))
    deep = place.add(place.node.op_type, turned, attributes=_along(place, [0]))
    return place.replace(place.add("Reshape", deep, place.constant([first, *extents[1:]])))


def _along(place: Place, axes: list[int]) -> dict[str, object]:
    """A node's attributes for some axes of space, as those of an image; along a second one nothing happens."""
    attributes: dict[str, object] = {}
    for name, attribute in place.node.attributes.items():
        if name in ("kernel_shape", "strides", "dilations"):
            numbers = list(attribute.as_ints())
            attributes[name] = [numbers[a] for a in axes] + [1] * (2 - len(axes))
        elif name == "pads":
            numbers = list(attribute.as_ints())
            rest = [0] * (2 - len(axes))
            half = len(numbers) // 2
            attributes[name] = (
                [numbers[a] for a in axes] + rest + [numbers[a + half] for a in axes] + rest
            )
        else:
            attributes[name] = attribute.value
    return attributes


RULES: Mapping[str, tuple[Rule, ...]] = {
    "GlobalAveragePool": (whole("ReduceMean"),),
    "GlobalMaxPool": (whole("ReduceMax"),),
    "GlobalLpPool": (whole("ReduceL2"),),
    "MaxPool": (one_axis, volume, max_pool),
    "AveragePool": (one_axis, volume, average_pool),
    "LpPool": (one_axis, root_pool),
}
