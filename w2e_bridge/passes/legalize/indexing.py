"""Elements by their places: gathered, scattered, the largest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule


def gather_elements(place: Place) -> bool:
    """A place of its own for each element along an axis.

    before: GatherElements(x, indices, axis).
    after: GatherND(x, indices as last axis, batch_dims), the axis moved to the end by a Transpose; where
        the other extents differ, GatherND of whole coordinates.
    why exact: both read x at the same places.
    """
    x, indices = place.need(0), place.need(1)
    shape, own = place.shape(x), place.shape(indices)
    if shape is None or own is None or len(shape) != len(own):
        return False
    rank = len(shape)
    axis = place.integer("axis") % rank
    indices = _positive(place, indices, shape[axis])
    if any(
        a != b or a is None for i, (a, b) in enumerate(zip(shape, own, strict=True)) if i != axis
    ):
        places = _coordinates(place, indices, axis)
        return places is not None and place.replace(place.add("GatherND", x, places))
    perm = [a for a in range(rank) if a != axis] + [axis]
    if axis != rank - 1:
        x, indices = (place.add("Transpose", v, attributes={"perm": perm}) for v in (x, indices))
    deep = place.add("Unsqueeze", indices, place.constant([-1]))
    made = place.add("GatherND", x, deep, attributes={"batch_dims": rank - 1})
    if axis != rank - 1:
        made = place.add(
            "Transpose", made, attributes={"perm": [perm.index(a) for a in range(rank)]}
        )
    return place.replace(made)


def _positive(place: Place, indices: ir.Value, extent: object) -> ir.Value:
    """Indices counted from the front; those that are computed are taken for such."""
    array = place.array(indices)
    if array is None or not isinstance(extent, int) or (array >= 0).all():
        return indices
    return place.constant(np.where(array < 0, array + extent, array))


def _coordinates(place: Place, indices: ir.Value, axis: int) -> ir.Value | None:
    """All coordinates of elements, along a further axis; None where extents are not known."""
    shape = place.static(indices)
    if shape is None:
        return None
    grid = np.indices(shape).astype(np.int64)
    wide = (
        indices
        if place.dtype(indices) == ir.DataType.INT64
        else place.cast(indices, ir.DataType.INT64)
    )
    last = place.constant([-1])
    parts = [
        place.add("Unsqueeze", wide, last) if a == axis else place.constant(grid[a][..., None])
        for a in range(len(shape))
    ]
    return parts[0] if len(parts) == 1 else place.add("Concat", *parts, attributes={"axis": -1})


def scatter_elements(place: Place) -> bool:
    """Elements written to places of their own along an axis.

    before: ScatterElements(x, indices, updates, axis, reduction).
    after: ScatterND(x, coordinates, updates, reduction).
    why exact: both write to the same places.
    """
    shape = place.shape(place.need(0))
    if shape is None:
        return False
    axis = place.integer("axis") % len(shape)
    indices = _positive(place, place.need(1), shape[axis])
    places = _coordinates(place, indices, axis)
    if places is None:
        return False
    attributes = {"reduction": place.text("reduction", "none")}
    return place.replace(
        place.add("ScatterND", place.need(0), places, place.need(2), attributes=attributes)
    )


def scatter(place: Place) -> bool:
    """Rows written over others, by sums into zeros, which is what kernels have.

    before: ScatterND(x, places, updates), written or added.
    after: x + ScatterND(0, places, updates, add); of those written, where sums of ones are not 0 those of
        updates, else x.
    why exact: no place is written twice (onnx/onnx docs/Operators.md, ScatterND), so that sums are what
        is written.
    """
    how, x = place.text("reduction", "none"), place.need(0)
    made = x.producer()
    if how == "add" and made is not None and made.op_type == "ConstantOfShape":
        return False
    if how not in ("none", "add") or place.dtype(x) == ir.DataType.BOOL:
        return False
    updates = place.need(2)
    total, array = _into_zeros(place, x, updates), place.array(x)
    if array is not None and not array.any():
        return place.replace(total)
    if how == "add":
        return place.replace(place.add("Add", x, total))
    ones = place.add("Expand", place.like(1.0, updates), place.add("Shape", updates))
    written = place.add("Greater", _into_zeros(place, x, ones), place.like(0.0, updates))
    return place.replace(place.add("Where", written, total, x))


def _into_zeros(place: Place, x: ir.Value, updates: ir.Value) -> ir.Value:
    zero = ir.tensor(np.zeros(1, place.dtype(x).numpy()))
    base = place.add("ConstantOfShape", place.add("Shape", x), attributes={"value": zero})
    return place.add("ScatterND", base, place.need(1), updates, attributes={"reduction": "add"})


def top(place: Place) -> bool:
    """The largest along another axis than the last, or the smallest.

    before: TopK(x, k, axis, largest).
    after: TopK(Transpose(x), k) along the last axis, back again; of -x for the smallest.
    why exact: a Transpose moves numbers, and the order of -x is that of x turned round.
    """
    x, rank = place.need(0), place.rank(place.need(0))
    axis = place.integer("axis", -1)
    if rank is None:
        return False
    last, largest = axis % rank == rank - 1, place.integer("largest", 1)
    if last and largest:
        return False
    perm = [a for a in range(rank) if a != axis % rank] + [axis % rank]
    if not last:
        x = place.add("Transpose", x, attributes={"perm": perm})
    if not largest:
        x = place.add("Neg", x)
    values, places = place.many("TopK", [x, place.need(1)], {"axis": -1}, 2)
    if not largest:
        values = place.add("Neg", values)
    if not last:
        back = [perm.index(a) for a in range(rank)]
        values, places = (
            place.add("Transpose", v, attributes={"perm": back}) for v in (values, places)
        )
    return place.replace(values, places)


def wide_places(place: Place) -> bool:
    """Places that a kernel gives as int32, of which int64 is wanted.

    before: the second output of TopK, read as int64.
    after: Cast(Cast(places, int32), int64).
    why exact: places fit into 32 bits.
    """
    places = place.node.outputs[1] if len(place.node.outputs) > 1 else None
    if places is None or not (places.uses() or places.is_graph_output()):
        return False
    casts = [user for user, _ in places.uses() if user.op_type == "Cast"]
    narrow = [c for c in casts if c.attributes["to"].as_int() == int(ir.DataType.INT32)]
    if len(casts) == len(places.uses()) == len(narrow) == 1 and not places.is_graph_output():
        return False
    attributes = {n: a.value for n, a in place.node.attributes.items()}
    values, fresh = place.many("TopK", place.node.inputs, attributes, 2)
    fresh.type = places.type
    thin = place.cast(fresh, ir.DataType.INT32)
    return place.replace(values, place.cast(thin, ir.DataType.INT64))


def non_zero(place: Place) -> bool:
    """Places of what is not zero, one in each row, which is what the kernel gives.

    before: NonZero(x).
    after: Transpose(Transpose(NonZero(x))), the inner one with it a kernel.
    why exact: two Transposes of a matrix undo each other.
    """
    users = {user for user, _ in place.output.uses()}
    if not place.output.is_graph_output() and all(user.op_type == "Transpose" for user in users):
        return False
    turn = {"perm": [1, 0]}
    rows = place.add("Transpose", place.add("NonZero", place.need(0)), attributes=turn)
    return place.replace(place.add("Transpose", rows, attributes=turn))


def compress(place: Place) -> bool:
    """Slices chosen by constant truth values.

    before: Compress(x, condition, axis).
    after: Gather(x, their places, axis).
    why exact: the slices where the condition is true.
    """
    condition = place.array(place.need(1))
    if condition is None:
        return False
    x, axis = place.need(0), place.node.attributes.get("axis")
    if axis is None:
        x = place.add("Reshape", x, place.constant([-1]))
    places = place.constant(np.flatnonzero(condition))
    return place.replace(
        place.add("Gather", x, places, attributes={"axis": axis.as_int() if axis else 0})
    )


def negative_index(place: Place) -> bool:
    """Constant indices counted from the end.

    before: Gather(x, indices below 0).
    after: Gather(x, indices + extent).
    why exact: onnx/onnx docs/Operators.md, Gather.
    """
    shape, indices = place.shape(place.need(0)), place.array(place.need(1))
    if shape is None or indices is None or (indices >= 0).all():
        return False
    extent = shape[place.integer("axis") % len(shape)]
    if not isinstance(extent, int):
        return False
    place.node.replace_input_with(1, _positive(place, place.need(1), extent))
    return True


RULES: Mapping[str, tuple[Rule, ...]] = {
    "GatherElements": (gather_elements,),
    "ScatterElements": (scatter_elements,),
    "ScatterND": (scatter,),
    "TopK": (top, wide_places),
    "NonZero": (non_zero,),
    "Compress": (compress,),
    "Gather": (negative_index,),
}
