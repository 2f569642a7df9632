"""Parts of a tensor: slice, split, unpack; and rows that are reversed or overwritten."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.functions import Body
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.bounds import sliced
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import (
    INT32_MAX,
    INT64_MAX,
    extents,
    int32,
    integers,
    number,
    parameter,
    positive,
    rank_of,
)
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.kernels.shape import single

PART, UPDATE, REVERSE = "SliceOf", "DynamicUpdateSlice", "ReverseSequence"


def _slice(operation: Operation, builder: Builder) -> None:
    x, begin, size = operation.inputs
    value = builder.value(x)
    starts, extent = builder.array(begin), builder.array(size)
    if starts is None or extent is None:
        inputs = [value, builder.value(begin), builder.value(size)]
        builder.call(slice_of(), inputs, outputs=operation.outputs)
        return
    first = [int(n) for n in starts.reshape(-1)]
    sizes = [int(n) for n in extent.reshape(-1)]
    ends = [INT64_MAX if n == -1 else s + n for s, n in zip(first, sizes, strict=True)]
    numbers = {"starts": first, "ends": ends, "axes": list(range(len(first)))}
    bounds = [builder.integers(name, column) for name, column in numbers.items()]
    builder.node("Slice", [value, *bounds], outputs=operation.outputs)


def slice_of() -> ir.Function:
    """`SliceOf(x, begin, size) -> y`: `size` elements of each axis from `begin` on, all the rest if -1.

    The bounds are int32 or int64, and computed; constant ones are a Slice.
    """
    body = Body()
    x, begin, size = (ir.Value(name=name) for name in ("x", "begin", "size"))
    wide = [ir.AttrInt64("to", int(ir.DataType.INT64))]
    starts, count = (body.add("Cast", [v], f"{v.name}_wide", wide) for v in (begin, size))
    rest = body.add("Equal", [count, body.integer(-1, "minus_one")], "rest")
    reached = body.add("Add", [starts, count], "reached")
    ends = body.add("Where", [rest, body.integer(INT64_MAX, "end"), reached], "ends")
    y = body.add("Slice", [x, starts, ends], "y")
    return body.finish(PART, [x, begin, size], y)


def _match_slice(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == PART:
        return single("slice", root, tuple(root.inputs))
    x = given(root, 0)
    rows, shape = sliced(root, scope), extents(x)
    if rows is None or shape is None or given(root, 4) is not None:
        return None
    begin, size = [0] * len(shape), [-1 if n is None else n for n in shape]
    for axis, (start, end, _) in rows.items():
        place = positive(axis, len(shape))
        said = _part(start, end, shape[place])
        if said is None:
            return None
        begin[place], size[place] = said
    return single("slice", root, (x, int32("begin", begin), int32("size", size)))


def _part(start: int, end: int, extent: int | None) -> tuple[int, int] | None:
    """Begin and size of an axis; None where they depend on an extent that isn't known."""
    if extent is not None:
        first, last, _ = slice(start, min(end, INT32_MAX)).indices(extent)
        return first, max(0, last - first)
    if start < 0 or end < start:
        return None
    return start, -1 if end >= INT32_MAX else end - start


def _split(operation: Operation, builder: Builder) -> None:
    axis = builder.numbers(operation.inputs[0], "axis of a split")[0]
    x = builder.value(operation.inputs[1])
    attributes = {"axis": axis, "num_outputs": len(operation.outputs)}
    builder.node("Split", [x], attributes, outputs=operation.outputs)


def _match_split(root: ir.Node, scope: Scope) -> Operation | None:
    count = len(root.outputs)
    if given(root, 1) is not None or "split" in root.attributes:
        return None
    axis, length = number(root, "axis", 0), _extent(root)
    if length is not None and length % count:
        return None
    return Operation(
        kind="split",
        inputs=(int32("axis", axis), given(root, 0)),
        outputs=tuple(root.outputs),
        attributes={"num_splits": count},
        nodes=(root,),
    )


def _extent(node: ir.Node) -> int | None:
    """The extent of the axis that a Split cuts."""
    shape = extents(given(node, 0))
    axis = number(node, "axis", 0)
    return None if shape is None else shape[positive(axis, len(shape))]


def _split_v(operation: Operation, builder: Builder) -> None:
    x, sizes = builder.value(operation.inputs[0]), operation.inputs[1]
    axis = builder.numbers(operation.inputs[2], "axis of a split")[0]
    parts = builder.numbers(sizes, "sizes of a split")
    if -1 in parts:
        shape = extents(x)
        whole = None if shape is None else shape[positive(axis, len(shape))]
        if whole is None:
            raise UnsupportedError("a split whose sizes are known at run time only")
        parts[parts.index(-1)] = whole - sum(parts) - 1
    split = builder.integers("sizes", parts)
    builder.node("Split", [x, split], {"axis": axis}, outputs=operation.outputs)


def _match_split_v(root: ir.Node, scope: Scope) -> Operation | None:
    count, axis = len(root.outputs), number(root, "axis", 0)
    sizes = parameter(root, 1, "split", scope)
    if sizes is None:
        length = _extent(root)
        if given(root, 1) is not None or length is None:
            return None
        part = -(-length // count)
        sizes = [part] * (count - 1) + [length - part * (count - 1)]
    return Operation(
        kind="split_v",
        inputs=(given(root, 0), int32("sizes", sizes), int32("axis", axis)),
        outputs=tuple(root.outputs),
        attributes={"num_splits": count},
        nodes=(root,),
    )


def _unpack(operation: Operation, builder: Builder) -> None:
    x, axis = builder.value(operation.inputs[0]), operation.integer("axis")
    count = len(operation.outputs)
    axes = builder.integers("axes", [axis])
    parts = builder.nodes("Split", [x], {"axis": axis, "num_outputs": count}, count)
    for part, output in zip(parts, operation.outputs, strict=True):
        builder.node("Squeeze", [part, axes], outputs=[output])


def _match_unpack(root: ir.Node, scope: Scope) -> Operation | None:
    split = scope.maker(given(root, 0), "Split")
    if split is None or "split" in split.attributes or _unequal(split, scope):
        return None
    axis, rank = number(split, "axis", 0), rank_of(given(split, 0))
    squeezes = []
    for part in split.outputs:
        squeeze = _only_user(part, scope)
        axes = None if squeeze is None else parameter(squeeze, 1, "axes", scope)
        if squeeze is None or axes is None or len(axes) != 1:
            return None
        if axes != [axis] and (rank is None or positive(axes[0], rank) != positive(axis, rank)):
            return None
        squeezes.append(squeeze)
    return Operation(
        kind="unpack",
        inputs=(given(split, 0),),
        outputs=tuple(node.outputs[0] for node in squeezes),
        attributes={"num": len(squeezes), "axis": axis},
        nodes=(split, *squeezes),
    )


def _unequal(split: ir.Node, scope: Scope) -> bool:
    """Whether a Split gives anything but slices of extent 1."""
    length, count = _extent(split), len(split.outputs)
    sizes = integers(given(split, 1), scope)
    if given(split, 1) is not None:
        return sizes != [1] * count
    return length is not None and length != count


def _only_user(value: ir.Value, scope: Scope) -> ir.Node | None:
    users = list(value.uses())
    if len(users) != 1 or scope.quantization(value) is not None or value.is_graph_output():
        return None
    node = users[0].node
    return node if node.op_type == "Squeeze" and node.inputs[0] is value else None


def _reverse_sequence(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    lengths = builder.as_int64(operation.inputs[1], "lengths")
    time, batch = operation.integer("seq_dim"), operation.integer("batch_dim")
    rank = rank_of(x)
    if {time, batch} == {0, 1}:
        attributes = {"time_axis": time, "batch_axis": batch}
        builder.node("ReverseSequence", [x, lengths], attributes, outputs=operation.outputs)
        return
    if rank is None:
        raise UnsupportedError("reverse_sequence of a value of unknown rank")
    turn = _to_front(rank, positive(batch, rank), positive(time, rank))
    back = [int(n) for n in np.argsort(turn)]
    said = {"seq_dim": time, "batch_dim": batch, "turn": turn, "back": back}
    builder.call(reverse_sequence(), [x, lengths], said, outputs=operation.outputs)


def reverse_sequence() -> ir.Function:
    """`ReverseSequence(x, lengths; seq_dim, batch_dim, turn, back) -> y`.

    The standard operator takes the two leading axes: `turn` moves the batch and the sequence there, `back`
    is its inverse.
    """
    body, x, lengths = Body(), ir.Value(name="x"), ir.Value(name="lengths")
    perms = {name: [ir.RefAttr("perm", name, ir.AttributeType.INTS)] for name in ("turn", "back")}
    turned = body.add("Transpose", [x], "turned", perms["turn"])
    axes = [ir.AttrInt64("time_axis", 1), ir.AttrInt64("batch_axis", 0)]
    made = body.add("ReverseSequence", [turned, lengths], "made", axes)
    y = body.add("Transpose", [made], "y", perms["back"])
    attributes = [ir.Attr(name, ir.AttributeType.INT, None) for name in ("seq_dim", "batch_dim")]
    attributes += [ir.Attr(name, ir.AttributeType.INTS, None) for name in perms]
    return body.finish(REVERSE, [x, lengths], y, attributes)


def _to_front(rank: int, *axes: int) -> list[int]:
    return [*axes, *(axis for axis in range(rank) if axis not in axes)]


def _match_reverse_sequence(root: ir.Node, scope: Scope) -> Operation | None:
    own = root.domain == "w2e"
    names = ("batch_dim", "seq_dim") if own else ("batch_axis", "time_axis")
    batch, time = (number(root, name, default) for name, default in zip(names, (1, 0), strict=True))
    lengths = scope.as_int32(given(root, 1), "lengths")
    attributes = {"batch_dim": batch, "seq_dim": time}
    return single("reverse_sequence", root, (given(root, 0), lengths), attributes)


def _update(operation: Operation, builder: Builder) -> None:
    inputs = [builder.value(operand) for operand in operation.inputs]
    builder.call(dynamic_update_slice(), inputs, outputs=operation.outputs)


def dynamic_update_slice() -> ir.Function:
    """`DynamicUpdateSlice(x, update, start) -> y`: x with `update` written over it from `start` on.

    `start` (int32 or int64, one number for each axis) is moved so that the update lies within.
    """
    body = Body()
    x, update, start = (ir.Value(name=name) for name in ("x", "update", "start"))
    whole, part = body.add("Shape", [x], "whole"), body.add("Shape", [update], "part")
    wide = [ir.AttrInt64("to", int(ir.DataType.INT64))]
    first = body.add("Cast", [start], "first", wide)
    room = body.add("Sub", [whole, part], "room")
    low = body.add("Max", [first, body.integer(0, "zero")], "low")
    place = body.add("Min", [low, room], "place")
    one = [ir.AttrTensor("value", ir.tensor(np.ones(1, np.bool_)))]
    everywhere = body.add("ConstantOfShape", [part], "everywhere", one)
    grid = body.add("NonZero", [everywhere], "grid")
    rows = body.add("Transpose", [grid], "rows", [ir.AttrInt64s("perm", [1, 0])])
    indices = body.add("Add", [rows, place], "indices")
    flat = body.add("Reshape", [update, body.integers([-1], "vector")], "flat")
    y = body.add("ScatterND", [x, indices, flat], "y")
    return body.finish(UPDATE, [x, update, start], y)


def _match_update(root: ir.Node, scope: Scope) -> Operation | None:
    x, update, start = root.inputs
    return single("dynamic_update_slice", root, (x, update, start))


KINDS = (
    Kind(name="slice", build=_slice, roots=("Slice", f"w2e::{PART}"), match=_match_slice),
    Kind(name="split", build=_split, roots=("Split",), match=_match_split),
    Kind(name="split_v", build=_split_v, roots=("Split",), match=_match_split_v),
    Kind(name="unpack", build=_unpack, roots=("Squeeze",), match=_match_unpack),
    Kind(
        name="reverse_sequence",
        build=_reverse_sequence,
        roots=("ReverseSequence", f"w2e::{REVERSE}"),
        match=_match_reverse_sequence,
    ),
    Kind(
        name="dynamic_update_slice",
        build=_update,
        roots=(f"w2e::{UPDATE}",),
        match=_match_update,
    ),
)
