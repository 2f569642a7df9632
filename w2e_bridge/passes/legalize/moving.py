"""Operators that move elements, in the forms that kernels have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule


def one_part(place: Place) -> bool:
    """A Concat of one value.

    before: Concat(x).
    after: x.
    why exact: nothing is put together.
    """
    if len(place.node.inputs) != 1:
        return False
    return place.replace(place.add("Identity", place.need(0)))


def columns_first(place: Place) -> bool:
    """DepthToSpace with the blocks behind the channels.

    before: DepthToSpace(x, mode=CRD).
    after: DepthToSpace(Gather(x, channels in the other order), mode=DCR).
    why exact: the modes differ in which channel is which (onnx/onnx docs/Operators.md).
    """
    shape, block = place.shape(place.need(0)), place.integer("blocksize")
    if place.text("mode", "DCR") != "CRD" or not shape or not isinstance(shape[1], int):
        return False
    order = np.arange(shape[1]).reshape(-1, block * block).T.reshape(-1)
    x = place.add("Gather", place.need(0), place.constant(order), attributes={"axis": 1})
    attributes = {"blocksize": block, "mode": "DCR"}
    return place.replace(place.add("DepthToSpace", x, attributes=attributes))


Chosen = Callable[[int, int, int], AnyArray]
"""(extent, before, after) to the indices of what stands there."""


def _edge(extent: int, before: int, after: int) -> AnyArray:
    return np.clip(np.arange(-before, extent + after), 0, extent - 1)


def _wrap(extent: int, before: int, after: int) -> AnyArray:
    return np.arange(-before, extent + after) % extent


_CHOSEN: Mapping[str, Chosen] = {"edge": _edge, "wrap": _wrap}


def _pads(place: Place) -> list[tuple[int, int]] | None:
    """What stands before and behind each axis."""
    rank, numbers = place.rank(place.need(0)), place.listed(1, "pads")
    if rank is None or numbers is None:
        return None
    axes = list(range(rank)) if place.input(3) is None else place.listed(3, "axes")
    if axes is None or len(numbers) != 2 * len(axes):
        return None
    pads = [(0, 0)] * rank
    for i, axis in enumerate(axes):
        pads[axis % rank] = (numbers[i], numbers[i + len(axes)])
    return pads


def chosen_padding(place: Place) -> bool:
    """Paddings that repeat what is there.

    before: Pad(x, mode=edge or wrap).
    after: Gather(x, indices) along each axis that is padded.
    why exact: these are the elements that the mode says.
    """
    choose, pads = _CHOSEN.get(place.text("mode", "constant")), _pads(place)
    shape = place.shape(place.need(0))
    if choose is None or pads is None or shape is None:
        return False
    value = place.need(0)
    for axis, (before, after) in enumerate(pads):
        extent = shape[axis]
        if not before and not after:
            continue
        if not isinstance(extent, int) or min(before, after) < 0:
            return False
        indices = place.constant(choose(extent, before, after))
        value = place.add("Gather", value, indices, attributes={"axis": axis})
    return place.replace(value if value is not place.need(0) else place.add("Identity", value))


def negative_padding(place: Place) -> bool:
    """Paddings that take away.

    before: Pad(x, pads below 0).
    after: Pad(Slice(x), pads of at least 0).
    why exact: onnx/onnx docs/Operators.md, Pad: negative numbers remove.
    """
    pads = _pads(place)
    if (
        pads is None
        or min(min(pair) for pair in pads) >= 0
        or place.text("mode", "constant") != "constant"
    ):
        return False
    cut = [axis for axis, pair in enumerate(pads) if min(pair) < 0]
    starts = [max(0, -pads[axis][0]) for axis in cut]
    ends = [min(0, pads[axis][1]) or (1 << 31) - 1 for axis in cut]
    bounds = [place.constant(numbers) for numbers in (starts, ends, cut)]
    x = place.add("Slice", place.need(0), *bounds)
    befores, afters = ([max(0, pair[i]) for pair in pads] for i in (0, 1))
    value = place.input(2)
    rest = [] if value is None else [value]
    return place.replace(place.add("Pad", x, place.constant([*befores, *afters]), *rest))


def _range(place: Place, like: ir.Value, axis: int, unsqueezed: int) -> ir.Value:
    """The numbers of the places along an axis, as a column or a row."""
    bounds = {"start": axis, "end": axis + 1} if axis != -1 else {"start": axis}
    extent = place.add("Shape", like, attributes=bounds)
    count = place.add("Squeeze", extent, place.constant([0]))
    zero, one = (place.constant(np.int64(n)) for n in (0, 1))
    places = place.add("Range", zero, count, one)
    return place.add("Unsqueeze", places, place.constant([unsqueezed]))


def triangle(place: Place) -> bool:
    """One half of a matrix.

    before: Trilu(x, k, upper).
    after: Where(column - row compared with k, x, 0).
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    x, k = place.need(0), place.input(1)
    upper = place.integer("upper", 1)
    rows, columns = _range(place, x, -2, 1), _range(place, x, -1, 0)
    distance = place.add("Sub", columns, rows)
    offset = (
        place.constant(np.int64(0)) if k is None else place.add("Reshape", k, place.constant([-1]))
    )
    kept = place.add("GreaterOrEqual" if upper else "LessOrEqual", distance, offset)
    return place.replace(place.add("Where", kept, x, place.like(0.0, x)))


def identity_matrix(place: Place) -> bool:
    """A matrix with ones on a diagonal, of a known shape.

    before: EyeLike(x, k).
    after: its numbers.
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    shape = place.static(place.need(0))
    if shape is None or len(shape) != 2:
        return False
    kind = ir.DataType(place.integer("dtype", int(place.dtype(place.need(0)))))
    array = np.eye(shape[0], shape[1], k=place.integer("k")).astype(kind.numpy())
    return place.pass_on(place.constant(array, array.dtype))


def part_of_a_shape(place: Place) -> bool:
    """Some of the extents of a value.

    before: Shape(x, start, end).
    after: Slice(Shape(x)).
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    start, end = place.integer("start", 0), place.integer("end", (1 << 31) - 1)
    if not {"start", "end"} & place.node.attributes.keys():
        return False
    whole = place.add("Shape", place.need(0))
    bounds = [place.constant([number]) for number in (start, end, 0)]
    return place.replace(place.add("Slice", whole, *bounds))


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Concat": (one_part,),
    "Shape": (part_of_a_shape,),
    "DepthToSpace": (columns_first,),
    "Pad": (chosen_padding, negative_padding),
    "Trilu": (triangle,),
    "EyeLike": (identity_matrix,),
}
