"""Places and what is there: one-hot rows, the largest, those that are not zero, buckets."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.functions import Body
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Constant, Operation
from w2e_bridge.kernels.reading import (
    inside,
    int32,
    integers,
    number,
    positive,
    rank_of,
)
from w2e_bridge.kernels.scope import Scope, attribute
from w2e_bridge.kernels.shape import INT32, INT64, single

BUCKETS = "Bucketize"
WIDE_ENOUGH = (ir.DataType.INT32, ir.DataType.INT64)


def _one_hot(operation: Operation, builder: Builder) -> None:
    # OneHot counts negative indices from the end, TensorFlow Lite has no one for them.
    indices, depth, on, off = operation.inputs
    count = builder.numbers(depth, "depth of one-hot rows")[0]
    value, rank = builder.value(indices), rank_of(indices)
    if rank is None:
        raise UnsupportedError("one-hot rows of indices of unknown rank")
    axis = positive(operation.integer("axis", -1), rank + 1)
    places = np.arange(count, dtype=np.int64 if value.dtype == ir.DataType.INT64 else np.int32)
    shape = [-1] + [1] * (rank - axis)
    deep = builder.node("Unsqueeze", [value, builder.integers("axes", [axis])])
    classes = builder.place.constant("classes", places.reshape(shape))
    hit = builder.node("Equal", [deep, classes])
    inputs = [hit, builder.value(on), builder.value(off)]
    builder.node("Where", inputs, outputs=operation.outputs)


def _match_one_hot(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "OneHot":
        return _match_standard_one_hot(root, scope)
    hit = inside(root, 0, scope, "Equal")
    deep = None if hit is None else inside(hit, 0, scope, "Unsqueeze")
    on, off = given(root, 1), given(root, 2)
    if hit is None or deep is None or rank_of(on) != 0 or rank_of(off) != 0:
        return None
    indices, axes = given(deep, 0), integers(given(deep, 1), scope)
    classes, rank = scope.array(given(hit, 1)), rank_of(given(deep, 0))
    if classes is None or rank is None or axes is None or len(axes) != 1:
        return None
    axis = positive(axes[0], rank + 1)
    same = classes.shape == (classes.size, *(1,) * (rank - axis))
    if not same or classes.reshape(-1).tolist() != list(range(classes.size)):
        return None
    inputs = (indices, int32("depth", classes.size), on, off)
    return single("one_hot", root, inputs, {"axis": -1 if axis == rank else axis}, (deep, hit))


def _match_standard_one_hot(root: ir.Node, scope: Scope) -> Operation | None:
    depth, values = scope.number(given(root, 1)), scope.array(given(root, 2))
    indices = given(root, 0)
    if depth is None or values is None or values.size != 2 or indices is None:
        return None
    if indices.dtype not in WIDE_ENOUGH:
        return None
    off, on = (
        Constant(array=values.reshape(-1)[i : i + 1].reshape(()), name=name)
        for i, name in enumerate(("off", "on"))
    )
    inputs = (indices, int32("depth", int(depth)), on, off)
    return single("one_hot", root, inputs, {"axis": number(root, "axis", -1)})


def _top(operation: Operation, builder: Builder) -> None:
    x, k = builder.value(operation.inputs[0]), operation.inputs[1]
    if (array := builder.array(k)) is not None:
        count = builder.integers("k", [int(array.reshape(-1)[0])])
    else:
        wide = builder.as_int64(k, "k")
        count = builder.node("Reshape", [wide, builder.integers("vector", [-1])])
    values, places = operation.outputs
    found = ir.Value(name=builder.place.fresh("places"))
    builder.node("TopK", [x, count], outputs=[values, found])
    builder.node("Cast", [found], INT32, outputs=[places])


def _match_top(root: ir.Node, scope: Scope) -> Operation | None:
    node = root
    if root.op_type == "Cast":
        maker = scope.maker(given(root, 0), "TopK")
        if maker is None or root.inputs[0] is not maker.outputs[1]:
            return None
        node = maker
    rank, axis = rank_of(given(node, 0)), number(node, "axis", -1)
    last = axis == -1 or (rank is not None and axis == rank - 1)
    if not last or not number(node, "largest", 1):
        return None
    places, cast = _narrow(node.outputs[1], scope)
    k = scope.as_int32(given(node, 1), "k")
    reshape = inside(node, 1, scope, "Reshape")
    nodes = [node, *cast]
    if isinstance(k, Constant):
        k = Constant(array=k.array.reshape(()), name="k")
    elif reshape is not None:
        k, nodes = scope.as_int32(given(reshape, 0), "k"), [reshape, *nodes]
    return Operation(
        kind="topk_v2",
        inputs=(given(node, 0), k),
        outputs=(node.outputs[0], places),
        nodes=tuple(nodes),
    )


def _narrow(value: ir.Value, scope: Scope) -> tuple[ir.Value, list[ir.Node]]:
    """The int32 copy of int64 indices and the Cast that makes it; a new value where nothing reads them."""
    casts = [user.node for user in value.uses() if user.node.op_type == "Cast"]
    if len(casts) == 1 and number(casts[0], "to", 0) == INT32["to"]:
        return casts[0].outputs[0], casts
    if value.uses() or value.is_graph_output():
        return value, []
    made = ir.Value(name=f"{value.name}.narrow", type=ir.TensorType(ir.DataType.INT32))
    made.shape = value.shape
    return made, []


def _where(operation: Operation, builder: Builder) -> None:
    found = builder.node("NonZero", [builder.value(operation.inputs[0])])
    builder.node("Transpose", [found], {"perm": [1, 0]}, outputs=operation.outputs)


def _match_where(root: ir.Node, scope: Scope) -> Operation | None:
    found = inside(root, 0, scope, "NonZero")
    if found is None or attribute(root, "perm", (1, 0)) != (1, 0):
        return None
    return single("where", root, (given(found, 0),), nodes=(found,))


UNIQUE_TYPES = (ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.INT8)
"""What ONNX Runtime's Unique computes on."""


def _unique(operation: Operation, builder: Builder) -> None:
    x, (values, places) = builder.value(operation.inputs[0]), operation.outputs
    direct = x.dtype in (None, *UNIQUE_TYPES)
    source = x if direct else builder.node("Cast", [x], INT64)
    found = ir.Value(name=builder.place.fresh("unique"))
    narrow = operation.text("idx_out_type", "INT32") == "INT32"
    inverse = ir.Value(name=builder.place.fresh("inverse")) if narrow else places
    skipped = ir.Value(name=builder.place.fresh("firsts"))
    outputs = [values if direct else found, skipped, inverse]
    builder.node("Unique", [source], {"sorted": 0}, outputs=outputs)
    if not direct:
        assert x.dtype is not None
        builder.node("Cast", [found], {"to": int(x.dtype)}, outputs=[values])
    if narrow:
        builder.node("Cast", [inverse], INT32, outputs=[places])


def _match_unique(root: ir.Node, scope: Scope) -> Operation | None:
    node = scope.maker(given(root, 0), "Unique") if root.op_type == "Cast" else root
    if node is None or number(node, "sorted", 1) or "axis" in node.attributes:
        return None
    if len(node.outputs) < 3 or (len(node.outputs) > 3 and node.outputs[3].uses()):
        return None
    x, values, nodes = given(node, 0), node.outputs[0], [node]
    cast = scope.maker(x, "Cast")
    back = [u.node for u in values.uses() if u.node.op_type == "Cast"]
    if cast is not None and len(back) == 1 and back[0].outputs[0].dtype == _type_of(cast):
        x, values, nodes = given(cast, 0), back[0].outputs[0], [cast, node, *back]
    places, narrow = _narrow(node.outputs[2], scope)
    wide = places is node.outputs[2]
    return Operation(
        kind="unique",
        inputs=(x,),
        outputs=(values, places),
        attributes={"idx_out_type": "INT64" if wide else "INT32"},
        nodes=(*nodes, *narrow),
    )


def _type_of(cast: ir.Node) -> ir.DataType | None:
    value = given(cast, 0)
    return None if value is None else value.dtype


def _bucketize(operation: Operation, builder: Builder) -> None:
    said = operation.attributes.get("boundaries", ())
    bounds = (
        [float(n) for n in said if isinstance(n, int | float)] if isinstance(said, tuple) else []
    )
    if not bounds:
        raise UnsupportedError("bucketize without boundaries")
    x = builder.value(operation.inputs[0])
    builder.call(bucketize(), [x], {"boundaries": bounds}, outputs=operation.outputs)


def bucketize() -> ir.Function:
    """`Bucketize(x; boundaries) -> y`, int32: how many of the boundaries each number reaches."""
    body, x = Body(), ir.Value(name="x")
    reference = ir.RefAttr("value_floats", "boundaries", ir.AttributeType.FLOATS)
    bounds = body.add("Constant", [], "bounds", [reference])
    real = body.add("Cast", [x], "real", [ir.AttrInt64("to", int(ir.DataType.FLOAT))])
    last = body.integers([-1], "last")
    deep = body.add("Unsqueeze", [real, last], "deep")
    reached = body.add("GreaterOrEqual", [deep, bounds], "reached")
    ones = body.add("Cast", [reached], "ones", [ir.AttrInt64("to", int(ir.DataType.INT32))])
    y = body.add("ReduceSum", [ones, last], "y", [ir.AttrInt64("keepdims", 0)])
    attributes = [ir.Attr("boundaries", ir.AttributeType.FLOATS, None)]
    return body.finish(BUCKETS, [x], y, attributes)


def _match_bucketize(root: ir.Node, scope: Scope) -> Operation | None:
    held = attribute(root, "boundaries")
    if not isinstance(held, tuple):
        return None
    boundaries = tuple(float(n) for n in held)
    return single("bucketize", root, (given(root, 0),), {"boundaries": boundaries})


KINDS = (
    Kind(name="one_hot", build=_one_hot, roots=("Where", "OneHot"), match=_match_one_hot),
    Kind(name="topk_v2", build=_top, roots=("TopK", "Cast"), match=_match_top),
    Kind(name="where", build=_where, roots=("Transpose",), match=_match_where),
    Kind(name="unique", build=_unique, roots=("Unique", "Cast"), match=_match_unique),
    Kind(name="bucketize", build=_bucketize, roots=(f"w2e::{BUCKETS}",), match=_match_bucketize),
)
