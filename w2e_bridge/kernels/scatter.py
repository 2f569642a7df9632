"""Sums into places: scatter and segments; and what lies on a diagonal."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.functions import Body
from w2e_bridge.graph.inspecting import given
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.kernels.build import Build, Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import extents, inside, integers, text
from w2e_bridge.kernels.scope import Match, Scope
from w2e_bridge.kernels.shape import filling, single, zeros

SEGMENTS, UNSORTED = "SegmentSum", "UnsortedSegment"

REDUCTIONS = {
    "unsorted_segment_sum": "add",
    "unsorted_segment_prod": "mul",
    "unsorted_segment_max": "max",
    "unsorted_segment_min": "min",
}
"""Kinds to the reductions of ScatterND."""

WIDE = [ir.AttrInt64("to", int(ir.DataType.INT64))]


def _scatter(operation: Operation, builder: Builder) -> None:
    places, updates, shape = operation.inputs
    value = builder.value(updates)
    inputs, attributes = zeros(builder, builder.as_int64(shape, "shape"), value)
    base = builder.node("ConstantOfShape", inputs, attributes)
    indices = builder.as_int64(places, "indices")
    # Updates of one place add up: tensorflow/lite/kernels/internal/reference/reference_ops.h, ScatterNd.
    builder.node(
        "ScatterND", [base, indices, value], {"reduction": "add"}, outputs=operation.outputs
    )


def _match_scatter(root: ir.Node, scope: Scope) -> Operation | None:
    base = inside(root, 0, scope, "ConstantOfShape")
    held = None if base is None else filling(base)
    if base is None or held is None or held.any() or text(root, "reduction", "none") != "add":
        return None
    places = scope.as_int32(given(root, 1), "indices")
    shape = scope.as_int32(given(base, 0), "shape")
    return single("scatter_nd", root, (places, given(root, 2), shape), nodes=(base,))


def _segments(operation: Operation, builder: Builder) -> None:
    data, ids = (builder.value(operand) for operand in operation.inputs)
    zero = builder.place.constant("zero", start("add", data))
    builder.call(segment_sum(), [data, ids, zero], outputs=operation.outputs)


def _match_segments(root: ir.Node, scope: Scope) -> Operation | None:
    return single("segment_sum", root, tuple(root.inputs[:2]))


def _unsorted(kind: str) -> Build:
    def build(operation: Operation, builder: Builder) -> None:
        data, ids, count = (builder.value(operand) for operand in operation.inputs)
        first = builder.place.constant("start", start(REDUCTIONS[kind], data))
        builder.call(
            unsorted_segment(),
            [data, ids, count, first],
            {"reduction": REDUCTIONS[kind]},
            outputs=operation.outputs,
        )

    return build


def _match_unsorted(kind: str) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        if text(root, "reduction", "") != REDUCTIONS[kind]:
            return None
        return single(kind, root, tuple(root.inputs[:3]))

    return match


def start(reduction: str, like: ir.Value) -> NDArray[np.generic]:
    """What an empty segment has: the neutral number, of max and min the end of the type.

    Raises:
        UnsupportedError: the type is none of those that TensorFlow Lite has here.
    """
    dtype = np.dtype(DTYPE_NAMES.get(like.dtype or ir.DataType.FLOAT, "float32"))
    if dtype.kind not in "fi":
        raise UnsupportedError(f"segments of {dtype}")
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    number = {"add": 0, "mul": 1, "max": limits.min, "min": limits.max}[reduction]
    return np.asarray(number, dtype)


def segment_sum() -> ir.Function:
    """`SegmentSum(data, ids, zero) -> y`: sums of rows of `data` that have the same of ascending `ids`."""
    body = Body()
    data, ids, zero = (ir.Value(name=name) for name in ("data", "ids", "zero"))
    wide = body.add("Cast", [ids], "wide", WIDE)
    last = body.add("ReduceMax", [wide], "last", [ir.AttrInt64("keepdims", 1)])
    count = body.add("Add", [last, body.integer(1, "one")], "count")
    count = body.add("Reshape", [count, body.integers([1], "vector")], "rows")
    y = _scattered(body, data, wide, count, zero, [ir.AttrString("reduction", "add")])
    return body.finish(SEGMENTS, [data, ids, zero], y)


def unsorted_segment() -> ir.Function:
    """`UnsortedSegment(data, ids, count, start; reduction) -> y`: rows of `data` with the same of `ids`.

    They are reduced to row id of `count`; rows of negative ids are left out.
    """
    body = Body()
    names = ("data", "ids", "count", "start")
    data, ids, count, first = (ir.Value(name=name) for name in names)
    wide, total = body.add("Cast", [ids], "wide", WIDE), body.add("Cast", [count], "total", WIDE)
    rows = body.add("Reshape", [total, body.integers([1], "vector")], "rows")
    # A row behind the last takes what has no segment.
    negative = body.add("Less", [wide, body.integer(0, "zero")], "negative")
    kept = body.add("Where", [negative, rows, wide], "kept")
    more = body.add("Add", [rows, body.integer(1, "one")], "more")
    reduction = [ir.RefAttr("reduction", "reduction", ir.AttributeType.STRING)]
    whole = _scattered(body, data, kept, more, first, reduction)
    begin, axes = body.integers([0], "begin"), body.integers([0], "axes")
    y = body.add("Slice", [whole, begin, rows, axes], "segments")
    attributes = [ir.Attr("reduction", ir.AttributeType.STRING, None)]
    return body.finish(UNSORTED, [data, ids, count, first], y, attributes)


def _scattered(
    body: Body, data: ir.Value, ids: ir.Value, rows: ir.Value, first: ir.Value, how: list[ir.Attr]
) -> ir.Value:
    """`data` reduced into `rows` rows of `first`; ids may have several axes, data's leading ones."""
    flat = body.add("Reshape", [ids, body.integers([-1, 1], "column")], "places")
    rank = body.add("Shape", [body.add("Shape", [ids], "ids_shape")], "ids_rank")
    shape = body.add("Shape", [data], "data_shape")
    end = body.integers([1 << 30], "end")
    row = body.add("Slice", [shape, rank, end, body.integers([0], "first_axis")], "row_shape")
    parts = [ir.AttrInt64("axis", 0)]
    many = body.add("Concat", [body.integers([-1], "any"), row], "many", parts)
    updates = body.add("Reshape", [data, many], "updates")
    extent = body.add("Concat", [rows, row], "extent", parts)
    base = body.add("Expand", [first, extent], "base")
    return body.add("ScatterND", [base, flat, updates], "y", how)


def _diagonal(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    diagonal(operation, builder, builder.place.constant("zero", _zero(x)))


def diagonal(operation: Operation, builder: Builder, fill: ir.Value) -> None:
    """The nodes of matrix_diag: `fill` stands beside the diagonal."""
    x = builder.value(operation.inputs[0])
    shape = extents(x)
    length = None if not shape else shape[-1]
    if length is None:
        raise UnsupportedError("a diagonal of a length that isn't known")
    eye = builder.place.constant("diagonal", np.eye(length, dtype=np.bool_))
    deep = builder.node("Unsqueeze", [x, builder.integers("axes", [-1])])
    builder.node("Where", [eye, deep, fill], outputs=operation.outputs)


def _zero(like: ir.Value) -> NDArray[np.generic]:
    name = DTYPE_NAMES.get(like.dtype or ir.DataType.FLOAT, "float32")
    return np.zeros((), np.bool_ if name == "bool" else np.dtype(name))


def _match_diagonal(root: ir.Node, scope: Scope) -> Operation | None:
    deep = inside(root, 1, scope, "Unsqueeze")
    if deep is None or scope.number(given(root, 2)) != 0.0 or not _is_eye(root, scope):
        return None
    if integers(given(deep, 1), scope) != [-1]:
        return None
    return single("matrix_diag", root, (given(deep, 0),), nodes=(deep,))


def _is_eye(root: ir.Node, scope: Scope) -> bool:
    eye = scope.array(given(root, 0))
    if eye is None or eye.ndim != 2 or eye.dtype != np.bool_:
        return False
    return np.array_equal(eye, np.eye(*eye.shape, dtype=np.bool_))


def _set_diagonal(operation: Operation, builder: Builder) -> None:
    x, diagonal = (builder.value(operand) for operand in operation.inputs)
    shape = extents(x)
    rows, columns = (None, None) if shape is None or len(shape) < 2 else shape[-2:]
    if rows is None or columns is None:
        raise UnsupportedError("a diagonal of a length that isn't known")
    eye = builder.place.constant("diagonal", np.eye(rows, columns, dtype=np.bool_))
    axes = builder.integers("axes", [-1 if rows <= columns else -2])
    deep = builder.node("Unsqueeze", [diagonal, axes])
    builder.node("Where", [eye, deep, x], outputs=operation.outputs)


def _match_set_diagonal(root: ir.Node, scope: Scope) -> Operation | None:
    deep, x = inside(root, 1, scope, "Unsqueeze"), given(root, 2)
    shape = extents(x)
    if deep is None or not shape or len(shape) < 2 or not _is_eye(root, scope):
        return None
    rows, columns = shape[-2:]
    if rows is None or columns is None:
        return None
    if integers(given(deep, 1), scope) != [-1 if rows <= columns else -2]:
        return None
    return single("matrix_set_diag", root, (x, given(deep, 0)), nodes=(deep,))


KINDS = (
    Kind(name="scatter_nd", build=_scatter, roots=("ScatterND",), match=_match_scatter),
    Kind(name="segment_sum", build=_segments, roots=(f"w2e::{SEGMENTS}",), match=_match_segments),
    *(
        Kind(
            name=name,
            build=_unsorted(name),
            roots=(f"w2e::{UNSORTED}",),
            match=_match_unsorted(name),
        )
        for name in REDUCTIONS
    ),
    Kind(name="matrix_diag", build=_diagonal, roots=("Where",), match=_match_diagonal),
    Kind(name="matrix_set_diag", build=_set_diagonal, roots=("Where",), match=_match_set_diagonal),
)
