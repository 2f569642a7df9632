"""Shapes: reshape, squeeze, transpose, broadcast, tile; and the numbers of shapes themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Attribute, Constant, Operand, Operation
from w2e_bridge.kernels.reading import (
    Extents,
    extents,
    fits_int32,
    inside,
    int32,
    integers,
    number,
    parameter,
    positive,
    rank_of,
)
from w2e_bridge.kernels.scope import Scope, attribute

INT32, INT64 = {"to": int(ir.DataType.INT32)}, {"to": int(ir.DataType.INT64)}


def single(
    kind: str,
    root: ir.Node,
    inputs: tuple[Operand, ...],
    attributes: Mapping[str, Attribute] | None = None,
    nodes: tuple[ir.Node, ...] = (),
) -> Operation:
    """An operation whose last node makes its one output."""
    return Operation(
        kind=kind,
        inputs=inputs,
        outputs=(root.outputs[0],),
        attributes=attributes or {},
        nodes=(*nodes, root),
    )


def _reshape(operation: Operation, builder: Builder) -> None:
    x, shape = builder.value(operation.inputs[0]), operation.input(1)
    numbers = None if shape is None else builder.array(shape)
    if shape is not None and numbers is None:
        target = builder.as_int64(shape, "shape")
        builder.node("Reshape", [x, target], outputs=operation.outputs)
        return
    if numbers is None or numbers.ndim != 1:
        # tensorflow/lite/kernels/reshape.cc: the options decide where no vector is given; [0] was a scalar.
        said = operation.attributes.get("new_shape", ())
        if not isinstance(said, tuple):
            raise UnsupportedError("reshape without a shape")
        numbers = np.asarray(() if said == (0,) else said, np.int64)
    target = builder.integers("shape", [int(n) for n in numbers])
    attributes = {"allowzero": 1} if (numbers == 0).any() else {}
    builder.node("Reshape", [x, target], attributes, outputs=operation.outputs)


def _match_reshape(root: ir.Node, scope: Scope) -> Operation | None:
    x = given(root, 0)
    if root.op_type == "Reshape":
        shape = parameter(root, 1, "shape", scope)
        if shape is None:
            target = scope.as_int32(given(root, 1), "shape")
            return None if target is None else single("reshape", root, (x, target))
        if not number(root, "allowzero", 0):
            shape = resolved(shape, extents(x), extents(root.outputs[0]))
    elif root.op_type == "Flatten":
        shape = _flattened(extents(x), number(root, "axis", 1))
    else:
        shape = _unsqueezed(extents(x), parameter(root, 1, "axes", scope))
    if shape is None or not fits_int32(shape):
        return None
    return single("reshape", root, (x, int32("shape", shape)))


def resolved(shape: list[int], before: Extents | None, after: Extents | None) -> list[int] | None:
    """A shape without the zeros that copy a dimension of the input."""
    result = list(shape)
    for axis in (a for a, n in enumerate(shape) if n == 0):
        known = None if before is None or axis >= len(before) else before[axis]
        if known is None and after is not None and axis < len(after):
            known = after[axis]
        result[axis] = -1 if known is None else known
    if result.count(-1) > 1 and after is not None and len(after) == len(result):
        result = [-1 if a is None else a for a in after]
    return None if result.count(-1) > 1 else result


def _flattened(before: Extents | None, axis: int) -> list[int] | None:
    if before is None:
        return None
    axis = positive(axis, len(before))
    halves = (before[:axis], before[axis:])
    result = [-1 if None in h else math.prod(n for n in h if n is not None) for h in halves]
    return None if result.count(-1) > 1 else result


def _unsqueezed(before: Extents | None, axes: list[int] | None) -> list[int] | None:
    if before is None or axes is None or before.count(None) > 1:
        return None
    rank = len(before) + len(axes)
    ones = {positive(axis, rank) for axis in axes}
    rest = iter(before)
    result = [1 if axis in ones else next(rest) for axis in range(rank)]
    return [-1 if n is None else n for n in result]


def _squeeze(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    dims = operation.attributes.get("squeeze_dims", ())
    axes = (
        [builder.integers("axes", [int(d) for d in dims])]
        if isinstance(dims, tuple) and dims
        else []
    )
    builder.node("Squeeze", [x, *axes], outputs=operation.outputs)


def _match_squeeze(root: ir.Node, scope: Scope) -> Operation | None:
    axes = parameter(root, 1, "axes", scope)
    if axes is None and given(root, 1) is not None:
        return None
    return single("squeeze", root, (given(root, 0),), {"squeeze_dims": tuple(axes or ())})


def _expand_dims(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    (axis,) = builder.numbers(operation.inputs[1], "axis of a new dimension")
    axes = builder.integers("axes", [axis])
    builder.node("Unsqueeze", [x, axes], outputs=operation.outputs)


def _match_expand_dims(root: ir.Node, scope: Scope) -> Operation | None:
    axes = parameter(root, 1, "axes", scope)
    if axes is None or len(axes) != 1:
        return None
    return single("expand_dims", root, (given(root, 0), int32("axis", axes[0])))


def _transpose(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    perm = builder.numbers(operation.inputs[1], "permutation")
    rank = len(perm)
    turned = [positive(axis, rank) for axis in perm]
    builder.node("Transpose", [x], {"perm": turned}, outputs=operation.outputs)


def _match_transpose(root: ir.Node, scope: Scope) -> Operation | None:
    x = given(root, 0)
    perm = attribute(root, "perm")
    rank = rank_of(x)
    if not isinstance(perm, tuple):
        if rank is None:
            return None
        perm = tuple(reversed(range(rank)))
    return single("transpose", root, (x, int32("perm", perm)))


def _broadcast_to(operation: Operation, builder: Builder) -> None:
    x, shape = builder.value(operation.inputs[0]), builder.as_int64(operation.inputs[1], "shape")
    builder.node("Expand", [x, shape], outputs=operation.outputs)


def _match_broadcast_to(root: ir.Node, scope: Scope) -> Operation | None:
    x, shape = given(root, 0), given(root, 1)
    if rank_of(x) == 0:
        return None
    numbers = integers(shape, scope)
    if numbers is None:
        target = scope.as_int32(shape, "shape")
    else:
        both = _broadcast(numbers, extents(x))
        target = None if both is None else int32("shape", both)
    return None if target is None else single("broadcast_to", root, (x, target))


def _broadcast(shape: list[int], before: Extents | None) -> list[int] | None:
    """What Expand's shape, which may have ones where the input has more, comes to."""
    if before is None:
        return None
    rank = max(len(shape), len(before))
    wanted = [1] * (rank - len(shape)) + shape
    held = [1] * (rank - len(before)) + list(before)
    result = [h if w == 1 else w for w, h in zip(wanted, held, strict=True)]
    return None if None in result else [n for n in result if n is not None]


def _fill(operation: Operation, builder: Builder) -> None:
    shape, value = builder.as_int64(operation.inputs[0], "shape"), operation.inputs[1]
    builder.node("Expand", [builder.value(value), shape], outputs=operation.outputs)


def _match_fill(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "Expand":
        value, shape = given(root, 0), scope.as_int32(given(root, 1), "dims")
        if rank_of(value) != 0 or shape is None:
            return None
        return single("fill", root, (shape, value))
    shape, held = scope.as_int32(given(root, 0), "dims"), filling(root)
    if shape is None or held is None or inside(root, 0, scope, "Shape") is not None:
        return None
    return single("fill", root, (shape, Constant(array=held.reshape(()), name="value")))


def filling(node: ir.Node) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]] | None:
    """The one number of a ConstantOfShape."""
    held = node.attributes.get("value")
    if held is None:
        return np.zeros(1, np.float32)
    if held.is_ref() or held.type != ir.AttributeType.TENSOR:
        return None
    return held.as_tensor().numpy()


def zeros(
    builder: Builder, shape: ir.Value, like: ir.Value
) -> tuple[list[ir.Value], dict[str, object]]:
    """Inputs and attributes of a ConstantOfShape: zeros of a value's type."""
    name = DTYPE_NAMES.get(like.dtype or ir.DataType.FLOAT, "float32")
    dtype = numpy_type(PLAIN[name]) if name != "bool" else np.dtype(bool)
    return [shape], {"value": ir.tensor(np.zeros(1, dtype))}


def _zeros_like(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    inputs, attributes = zeros(builder, builder.node("Shape", [x]), x)
    builder.node("ConstantOfShape", inputs, attributes, outputs=operation.outputs)


def _match_zeros_like(root: ir.Node, scope: Scope) -> Operation | None:
    shape, held = inside(root, 0, scope, "Shape"), filling(root)
    if shape is None or held is None or held.any() or "start" in shape.attributes:
        return None
    x = given(shape, 0)
    if x is None or x.dtype != root.outputs[0].dtype:
        return None
    return single("zeros_like", root, (x,), nodes=(shape,))


def _shape(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    if operation.text("out_type", "INT32") == "INT64":
        builder.node("Shape", [x], outputs=operation.outputs)
    else:
        builder.node("Cast", [builder.node("Shape", [x])], INT32, outputs=operation.outputs)


def _match_shape(root: ir.Node, scope: Scope) -> Operation | None:
    node = root
    if root.op_type == "Cast":
        found = inside(root, 0, scope, "Shape")
        if found is None or number(root, "to", 0) != INT32["to"]:
            return None
        node = found
    if number(node, "start", 0) or "end" in node.attributes:
        return None
    out_type = "INT64" if node is root else "INT32"
    nodes = () if node is root else (node,)
    return single("shape", root, (given(node, 0),), {"out_type": out_type}, nodes)


def _rank(operation: Operation, builder: Builder) -> None:
    shape = builder.node("Shape", [builder.value(operation.inputs[0])])
    size = builder.node("Size", [shape])
    builder.node("Cast", [size], INT32, outputs=operation.outputs)


def _match_rank(root: ir.Node, scope: Scope) -> Operation | None:
    size = inside(root, 0, scope, "Size")
    shape = None if size is None else inside(size, 0, scope, "Shape")
    if size is None or shape is None or number(root, "to", 0) != INT32["to"]:
        return None
    return single("rank", root, (given(shape, 0),), nodes=(shape, size))


def _range(operation: Operation, builder: Builder) -> None:
    bounds = [builder.value(operand) for operand in operation.inputs]
    builder.node("Range", bounds, outputs=operation.outputs)


def _match_range(root: ir.Node, scope: Scope) -> Operation | None:
    return single("range", root, tuple(root.inputs))


def _broadcast_args(operation: Operation, builder: Builder) -> None:
    a, b = (builder.as_int64(operand, "shape") for operand in operation.inputs)
    # Expand broadcasts both ways; what is in it doesn't matter.
    held = builder.node("ConstantOfShape", [a], {"value": ir.tensor(np.zeros(1, np.bool_))})
    shape = builder.node("Shape", [builder.node("Expand", [held, b])])
    wide = operation.outputs[0].dtype == ir.DataType.INT64
    builder.node("Cast", [shape], INT64 if wide else INT32, outputs=operation.outputs)


def _match_broadcast_args(root: ir.Node, scope: Scope) -> Operation | None:
    shape = inside(root, 0, scope, "Shape")
    expand = None if shape is None else inside(shape, 0, scope, "Expand")
    held = None if expand is None else inside(expand, 0, scope, "ConstantOfShape")
    if shape is None or expand is None or held is None:
        return None
    a, b = scope.as_int32(given(held, 0), "shape_a"), scope.as_int32(given(expand, 1), "shape_b")
    return single("broadcast_args", root, (a, b), nodes=(held, expand, shape))


def _tile(operation: Operation, builder: Builder) -> None:
    x, repeats = (
        builder.value(operation.inputs[0]),
        builder.as_int64(operation.inputs[1], "repeats"),
    )
    builder.node("Tile", [x, repeats], outputs=operation.outputs)


def _match_tile(root: ir.Node, scope: Scope) -> Operation | None:
    multiples = scope.as_int32(given(root, 1), "multiples")
    return None if multiples is None else single("tile", root, (given(root, 0), multiples))


KINDS = (
    Kind(name="expand_dims", build=_expand_dims, roots=("Unsqueeze",), match=_match_expand_dims),
    Kind(
        name="reshape",
        build=_reshape,
        roots=("Reshape", "Flatten", "Unsqueeze"),
        match=_match_reshape,
    ),
    Kind(name="squeeze", build=_squeeze, roots=("Squeeze",), match=_match_squeeze),
    Kind(name="transpose", build=_transpose, roots=("Transpose",), match=_match_transpose),
    Kind(name="broadcast_to", build=_broadcast_to, roots=("Expand",), match=_match_broadcast_to),
    Kind(name="fill", build=_fill, roots=("Expand", "ConstantOfShape"), match=_match_fill),
    Kind(name="zeros_like", build=_zeros_like, roots=("ConstantOfShape",), match=_match_zeros_like),
    Kind(name="shape", build=_shape, roots=("Cast", "Shape"), match=_match_shape),
    Kind(name="rank", build=_rank, roots=("Cast",), match=_match_rank),
    Kind(name="range", build=_range, roots=("Range",), match=_match_range),
    Kind(
        name="broadcast_args",
        build=_broadcast_args,
        roots=("Cast",),
        match=_match_broadcast_args,
    ),
    Kind(name="tile", build=_tile, roots=("Tile",), match=_match_tile),
)
