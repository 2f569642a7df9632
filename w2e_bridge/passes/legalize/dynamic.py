"""Shapes, bounds and counts that are computed at run time: kernels read them as 32 bits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_op
from w2e_bridge.kernels.strided import strided_slice
from w2e_bridge.passes.layout.site import is_constant
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule

INT32, INT64 = ir.DataType.INT32, ir.DataType.INT64
MOST = (1 << 31) - 1

OPERANDS: Mapping[str, int] = {
    "ConstantOfShape": 0,
    "Expand": 1,
    "Pad": 1,
    "Reshape": 1,
    "Tile": 1,
    "TopK": 1,
}
"""Operators to the input that kernels want as int32."""


def narrow(place: Place) -> bool:
    """A computed operand of 64 bits is one of 32 for a moment.

    before: Reshape(x, shape: int64).
    after: Reshape(x, Cast(Cast(shape, int32), int64)), of which kernels read the inner one.
    why exact: extents fit into 32 bits.
    """
    slot = OPERANDS[place.node.op_type]
    value = place.input(slot)
    made = None if value is None else value.producer()
    if value is None or is_constant(value) or made is None or value.dtype not in (None, INT64):
        return False
    if is_op(made, "Cast") and made.inputs[0] is not None and made.inputs[0].dtype == INT32:
        return False
    place.node.replace_input_with(slot, _wide(place, place.cast(value, INT32)))
    return True


def _wide(place: Place, value: ir.Value) -> ir.Value:
    if value.dtype is None:
        value.dtype = INT32
    return place.cast(value, INT64)


def copied_extents(place: Place) -> bool:
    """A shape that copies several extents which are known at run time only.

    before: Reshape(x, [0, 0, 4, -1]).
    after: Reshape(x, shape), shape put together of Shape(x) and numbers.
    why exact: onnx/onnx docs/Operators.md, Reshape: 0 copies the extent of the input.
    """
    numbers, shape = place.array(place.input(1)), place.shape(place.need(0))
    if numbers is None or shape is None or place.integer("allowzero"):
        return False
    wanted = [int(n) for n in numbers.reshape(-1)]
    known = [
        n if n or axis >= len(shape) or not isinstance(shape[axis], int) else int(shape[axis] or 0)
        for axis, n in enumerate(wanted)
    ]
    if known.count(0) + known.count(-1) < 2 or 0 not in known:
        return False
    whole = place.cast(place.add("Shape", place.need(0)), INT32)
    whole.type = ir.TensorType(INT32)
    parts: list[ir.Value] = []
    for axis, n in enumerate(known):
        if n:
            parts.append(place.constant(np.array([n], np.int32), np.int32))
            continue
        bounds = [place.constant([number]) for number in (axis, axis + 1, 0)]
        parts.append(place.add("Slice", whole, *bounds))
    joined = place.add("Concat", *parts, attributes={"axis": 0})
    joined.type = ir.TensorType(INT32)
    return place.replace(place.add("Reshape", place.need(0), _wide(place, joined)))


def computed_bounds(place: Place) -> bool:
    """A Slice whose bounds are computed.

    before: Slice(x, starts, ends, axes, steps), starts or ends computed.
    after: StridedSlice(x, begin, end, strides) of the leading axes, masks where an axis is whole.
    why exact: both clamp bounds alike (tensorflow/lite/kernels/internal/strided_slice_logic.h).
    """
    starts, ends = place.need(1), place.need(2)
    if is_constant(starts) and is_constant(ends):
        return False
    rank, axes = place.rank(place.need(0)), _axes(place)
    steps = [1] * len(axes or ()) if place.input(4) is None else place.listed(4, "steps")
    if rank is None or axes is None or steps is None or any(step < 1 for step in steps):
        return False
    count = max(a % rank for a in axes) + 1
    rows = {a % rank: i for i, a in enumerate(axes)}
    begin, begin_mask = _bounds(place, 1, rows, count)
    end, end_mask = _bounds(place, 2, rows, count)
    strides = np.ones(count, np.int32)
    for axis, i in rows.items():
        strides[axis] = steps[i]
    masks = {"begin_mask": begin_mask, "end_mask": end_mask, "shrink_axis_mask": [0] * count}
    held = place.constant(strides, np.int32)
    return place.replace(
        place.call(strided_slice(), place.need(0), begin, end, held, attributes=masks)
    )


def _axes(place: Place) -> list[int] | None:
    if place.input(3) is not None:
        return place.listed(3, "axes")
    shape = place.static(place.need(1))
    return None if shape is None or len(shape) != 1 else list(range(shape[0]))


def _bounds(
    place: Place, slot: int, rows: Mapping[int, int], count: int
) -> tuple[ir.Value, list[int]]:
    """A bound for each leading axis, and for each whether it is that of the whole axis."""
    value = place.need(slot)
    array = place.array(value)
    mask: list[int] = []
    parts: list[ir.Value] = []
    narrowed = None
    if array is None:
        narrowed = value if value.dtype == INT32 else place.cast(value, INT32)
        narrowed.type = ir.TensorType(INT32)
    for axis in range(count):
        row = rows.get(axis)
        number = None if array is None or row is None else int(array.reshape(-1)[row])
        whole = row is None or (number is not None and abs(number) >= MOST)
        mask.append(int(whole))
        if whole or number is not None:
            parts.append(place.constant(np.array([0 if whole else number], np.int32), np.int32))
        else:
            assert narrowed is not None
            parts.append(_one(place, narrowed, row or 0, len(rows)))
    if len(parts) == 1:
        return parts[0], mask
    return place.add("Concat", *parts, attributes={"axis": 0}), mask


def _one(place: Place, vector: ir.Value, index: int, length: int) -> ir.Value:
    """One number of a vector, as a vector."""
    if length == 1:
        return vector
    bounds = [place.constant([number]) for number in (index, index + 1, 0)]
    return place.add("Slice", vector, *bounds)


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Reshape": (copied_extents, narrow),
    "Slice": (computed_bounds,),
    **dict.fromkeys(sorted(OPERANDS.keys() - {"Reshape"}), (narrow,)),
}
