"""Slices with strides and masks, and the reversal of axes, which ONNX says as a Slice too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.functions import Body
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.bounds import MASKS, WHOLE, Plan, Row, fixed, masks_of, planned, sliced
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Attribute, Operand, Operation
from w2e_bridge.kernels.reading import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    inside,
    int32,
    parameter,
    positive,
    rank_of,
)
from w2e_bridge.kernels.scope import Scope, attribute
from w2e_bridge.kernels.shape import single

MOST_AXES = 5
"""tensorflow/lite/kernels/strided_slice.cc: axes of the input, new ones included."""
DYNAMIC = "StridedSlice"
"""The function of domain `w2e` for bounds that are computed at run time."""


def _build(operation: Operation, builder: Builder) -> None:
    x, _, _, strides = operation.inputs
    value = builder.value(x)
    steps, rank = builder.array(strides), rank_of(value)
    if rank is None:
        raise UnsupportedError("a strided slice of a value of unknown rank")
    if steps is None:
        raise UnsupportedError("a strided slice with strides computed at run time")
    plan = planned(rank, steps.size, masks_of(operation))
    rows = fixed(operation, builder, plan)
    if rows is None:
        pieces = _dynamic(operation, builder, masks_of(operation))
    else:
        # A Slice needs an axis to be read as one.
        named = [(s, e, a, t) for a, (s, e, t) in (rows or {0: WHOLE}).items()]
        columns = zip(("starts", "ends", "axes", "steps"), zip(*named, strict=True), strict=True)
        bounds = [builder.integers(name, list(column)) for name, column in columns]
        pieces = _Pieces(op="Slice", domain="", inputs=[value, *bounds], attributes={})
    _finish(operation, builder, pieces, plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pieces:
    """The node that slices, before axes vanish or appear."""

    op: str
    domain: str
    inputs: Sequence[ir.Value]
    attributes: Mapping[str, object]


def _finish(operation: Operation, builder: Builder, piece: _Pieces, plan: Plan) -> None:
    """The node that slices, then a Squeeze and an Unsqueeze where axes vanish and appear."""
    after = [("Squeeze", plan.shrunk)] if plan.shrunk else []
    after += [("Unsqueeze", plan.new)] if plan.new else []
    whole = operation.outputs
    value = builder.node(
        piece.op,
        piece.inputs,
        piece.attributes,
        outputs=None if after else whole,
        domain=piece.domain,
    )
    for number, (op, axes) in enumerate(after):
        inputs = [value, builder.integers("axes", axes)]
        last = number == len(after) - 1
        value = builder.node(op, inputs, outputs=whole if last else None)


def _dynamic(operation: Operation, builder: Builder, masks: Mapping[str, int]) -> _Pieces:
    if masks["ellipsis_mask"] or masks["new_axis_mask"]:
        raise UnsupportedError("a strided slice of computed bounds with new axes or an ellipsis")
    x, begin, end, strides = (builder.value(operand) for operand in operation.inputs)
    count = len(builder.numbers(operation.inputs[3], "strides"))
    attributes = {
        name: [masks[name] >> i & 1 for i in range(count)]
        for name in ("begin_mask", "end_mask", "shrink_axis_mask")
    }
    function = strided_slice()
    builder.functions[function.name] = function
    if operation.integer("offset"):
        end = builder.node("Add", [begin, end])
    return _Pieces(op=DYNAMIC, domain="w2e", inputs=[x, begin, end, strides], attributes=attributes)


def strided_slice() -> ir.Function:
    """`StridedSlice(x, begin, end, strides; begin_mask, end_mask, shrink_axis_mask) -> y`, of x's rank.

    Bounds are int32 or int64 of the leading axes; a mask has a number, 0 or 1, for each of them. An axis
    that is to vanish has extent 1.
    """
    body = Body()
    x, begin, end, strides = (ir.Value(name=n) for n in ("x", "begin", "end", "strides"))
    wide = [ir.AttrInt64("to", int(ir.DataType.INT64))]
    first, last, step = (
        body.add("Cast", [v], f"{v.name}_wide", wide) for v in (begin, end, strides)
    )
    low, high = body.integer(INT64_MIN, "low"), body.integer(INT64_MAX, "high")
    one, zero = body.integer(1, "one"), body.integer(0, "zero")
    forward = body.add("Greater", [step, zero], "forward")
    head = body.add("Where", [forward, zero, high], "head")
    tail = body.add("Where", [forward, high, low], "tail")
    starts = body.add("Where", [_flags(body, "begin_mask"), head, first], "starts")
    ends = body.add("Where", [_flags(body, "end_mask"), tail, last], "ends")
    is_last = body.add("Equal", [starts, body.integer(-1, "minus_one")], "is_last")
    next_one = body.add("Add", [starts, one], "next_one")
    after = body.add("Where", [is_last, high, next_one], "after")
    shrunk = _flags(body, "shrink_axis_mask")
    ends = body.add("Where", [shrunk, after, ends], "chosen_ends")
    step = body.add("Where", [shrunk, one, step], "chosen_steps")
    count = body.add("Size", [step], "count")
    axes = body.add("Range", [zero, count, one], "axes")
    y = body.add("Slice", [x, starts, ends, axes, step], "y")
    # attributes without a default: every call says them
    names = ("begin_mask", "end_mask", "shrink_axis_mask")
    attributes = [ir.Attr(name, ir.AttributeType.INTS, None) for name in names]
    return body.finish(DYNAMIC, [x, begin, end, strides], y, attributes)


def _flags(body: Body, name: str) -> ir.Value:
    reference = ir.RefAttr("value_ints", name, ir.AttributeType.INTS)
    held = body.add("Constant", [], name, [reference])
    return body.add("Cast", [held], f"{name}_is", [ir.AttrInt64("to", int(ir.DataType.BOOL))])


def _match(root: ir.Node, scope: Scope) -> Operation | None:
    """Read Unsqueeze(Squeeze(Slice(x))), each of the first two optional."""
    nodes: list[ir.Node] = []
    node, changed = root, {"Squeeze": list[int](), "Unsqueeze": list[int]()}
    for op in ("Unsqueeze", "Squeeze"):
        if node.op_type != op:
            continue
        axes = parameter(node, 1, "axes", scope)
        inner = inside(node, 0, scope, "Slice", "Squeeze") or _call(node, scope)
        if axes is None or inner is None:
            return None
        nodes, node, changed[op] = [node, *nodes], inner, axes
    if node.domain == "w2e" and node.op_type == DYNAMIC and not changed["Unsqueeze"]:
        return _match_dynamic(root, node, changed["Squeeze"], nodes)
    if node.op_type != "Slice" or (node is not root and given(node, 4) is None):
        return None
    said = _said(node, scope, changed)
    if said is None:
        return None
    inputs, attributes = said
    before = () if node is root else (node, *nodes[:-1])
    return single("strided_slice", root, inputs, attributes, before)


def _call(node: ir.Node, scope: Scope) -> ir.Node | None:
    value = given(node, 0)
    if value is None or scope.quantization(value) is not None or len(value.uses()) != 1:
        return None
    return scope.maker(value, DYNAMIC, domain="w2e")


def _match_dynamic(
    root: ir.Node, node: ir.Node, squeezed: list[int], nodes: list[ir.Node]
) -> Operation | None:
    flags = {}
    for name in ("begin_mask", "end_mask", "shrink_axis_mask"):
        held = attribute(node, name)
        if not isinstance(held, tuple):
            return None
        flags[name] = sum(1 << i for i, flag in enumerate(held) if flag)
    if flags["shrink_axis_mask"] != sum(1 << axis for axis in squeezed):
        return None
    before = () if node is root else (node, *nodes[:-1])
    return single("strided_slice", root, tuple(node.inputs), flags, before)


Said = tuple[tuple[Operand, ...], dict[str, Attribute]]


def _said(node: ir.Node, scope: Scope, changed: Mapping[str, list[int]]) -> Said | None:
    """Operands and masks of a Slice of constant bounds and the axes that vanish and appear behind it."""
    x = given(node, 0)
    rank = rank_of(x)
    rows = sliced(node, scope)
    if rank is None or rows is None:
        return None
    rows = {positive(axis, rank): row for axis, row in rows.items()}
    shrunk = {positive(axis, rank) for axis in changed["Squeeze"]}
    shown = rank - len(shrunk) + len(changed["Unsqueeze"])
    new = {positive(axis, shown) for axis in changed["Unsqueeze"]}
    if rank + len(new) > MOST_AXES or not all(_one(rows.get(axis)) for axis in shrunk):
        return None
    return _encoded(x, rank, rows, shrunk, new)


def _encoded(
    x: ir.Value | None,
    rank: int,
    rows: Mapping[int, Row],
    shrunk: set[int],
    new: set[int],
) -> Said:
    masks = dict.fromkeys(MASKS, 0)
    columns: tuple[list[int], list[int], list[int]] = ([], [], [])

    def say(begin: int, end: int, step: int, **bits: bool) -> None:
        for name, bit in bits.items():
            masks[name] |= bit << len(columns[0])
        for column, n in zip(columns, (begin, end, step), strict=True):
            column.append(n)

    shown = 0
    for axis in range(rank):
        while shown in new:
            say(0, 0, 1, new_axis_mask=True)
            shown += 1
        start, end, step = rows.get(axis, WHOLE)
        if axis in shrunk:
            say(start, start + 1, 1, shrink_axis_mask=True)
            continue
        first = start == 0 if step > 0 and axis not in rows else abs(start) > INT32_MAX
        last = end > INT32_MAX if step > 0 else end < INT32_MIN
        held = min(end, INT32_MAX) if step > 0 else max(end, INT32_MIN)
        say(0 if first else start, 0 if last else held, step, begin_mask=first, end_mask=last)
        shown += 1
    while shown in new:
        say(0, 0, 1, new_axis_mask=True)
        shown += 1
    names = ("begin", "end", "strides")
    operands = [int32(name, column) for name, column in zip(names, columns, strict=True)]
    return (x, *operands), dict(masks)


def _one(row: Row | None) -> bool:
    """Whether a row of bounds is one index."""
    if row is None:
        return False
    start, end, step = row
    return step == 1 and (end == start + 1 or (start == -1 and end > INT32_MAX))


def _reverse(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    axes = builder.numbers(operation.inputs[1], "axes to reverse")
    count = len(axes)
    numbers = {"starts": [-1] * count, "ends": [INT64_MIN] * count, "axes": axes}
    bounds = [builder.integers(name, n) for name, n in numbers.items()]
    steps = builder.integers("steps", [-1] * count)
    builder.node("Slice", [x, *bounds, steps], outputs=operation.outputs)


def _match_reverse(root: ir.Node, scope: Scope) -> Operation | None:
    rows = sliced(root, scope)
    if not rows or not all(s == t == -1 and e <= INT32_MIN for s, e, t in rows.values()):
        return None
    return single("reverse_v2", root, (given(root, 0), int32("axes", list(rows))))


KINDS = (
    Kind(name="reverse_v2", build=_reverse, roots=("Slice",), match=_match_reverse),
    Kind(
        name="strided_slice",
        build=_build,
        roots=("Slice", "Squeeze", "Unsqueeze", f"w2e::{DYNAMIC}"),
        match=_match,
    ),
)
