"""Reductions: means, sums, products, extremes, truth, running sums, places of extremes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import single
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Constant, Operand, Operation
from w2e_bridge.kernels.reading import int32, number, parameter, rank_of
from w2e_bridge.kernels.scope import Match, Scope, attribute, image

REDUCTIONS = {
    "mean": "ReduceMean",
    "sum": "ReduceSum",
    "reduce_prod": "ReduceProd",
    "reduce_max": "ReduceMax",
    "reduce_min": "ReduceMin",
}
TRUTH = {"reduce_any": "ReduceMax", "reduce_all": "ReduceMin"}
"""Reductions of truth values, which ONNX orders: false before true."""

PLACES = {"arg_max": "ArgMax", "arg_min": "ArgMin"}
PLACE_TYPES = {"INT32": ir.DataType.INT32, "INT64": ir.DataType.INT64}


def _reduce(operation: Operation, builder: Builder) -> None:
    op = REDUCTIONS.get(operation.kind) or TRUTH[operation.kind]
    array = builder.array(operation.inputs[1])
    if array is not None:
        axes = builder.integers("axes", [int(axis) for axis in array.reshape(-1)])
    else:
        axes = builder.as_int64(operation.inputs[1], "axes")
    # Without axes TensorFlow Lite reduces nothing, ONNX by default everything.
    nothing = 1 if array is None or array.size == 0 else 0
    attributes = {"keepdims": operation.integer("keep_dims"), "noop_with_empty_axes": nothing}
    x = builder.value(operation.inputs[0])
    builder.node(op, [x, axes], attributes, outputs=operation.outputs)


def _match_reduce(kind: str, *, truth: bool) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        x = given(root, 0)
        if x is None or (DTYPE_NAMES.get(x.dtype or ir.DataType.FLOAT) == "bool") != truth:
            return None
        axes = _axes(root, x, scope)
        if axes is None:
            return None
        keep = bool(number(root, "keepdims", 1))
        return single(kind, root, [x, axes], {"keep_dims": keep})

    return match


def _axes(root: ir.Node, x: ir.Value, scope: Scope) -> Operand:
    """The axes as an int32 operand."""
    said = parameter(root, 1, "axes", scope)
    if said is None and given(root, 1) is not None:
        return scope.as_int32(given(root, 1), "axes")
    if not said:
        rank = rank_of(x)
        if number(root, "noop_with_empty_axes", 0):
            return int32("axes", [])
        return None if rank is None else int32("axes", list(range(rank)))
    return int32("axes", said)


def _match_pool(root: ir.Node, scope: Scope) -> Operation | None:
    """An average over whole images."""
    found = image(root, scope, "GlobalAveragePool")
    if found is None or rank_of(found.x) != 4:
        return None
    return Operation(
        kind="mean",
        inputs=(found.x, int32("axes", [1, 2])),
        outputs=(root.outputs[0],),
        attributes={"keep_dims": True},
        nodes=found.nodes,
    )


def _match_mean(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "Transpose":
        return _match_pool(root, scope)
    return _match_reduce("mean", truth=False)(root, scope)


def _place(operation: Operation, builder: Builder) -> None:
    axis = builder.numbers(operation.inputs[1], "the axis of an extreme")
    x = builder.value(operation.inputs[0])
    kind = operation.text("output_type", "INT64")
    if kind not in PLACE_TYPES or len(axis) != 1:
        raise UnsupportedError(f"{operation.kind} with indices of type {kind}, {len(axis)} axes")
    attributes = {"axis": axis[0], "keepdims": 0}
    if kind == "INT64":
        builder.node(PLACES[operation.kind], [x], attributes, outputs=operation.outputs)
        return
    found = builder.node(PLACES[operation.kind], [x], attributes)
    to = {"to": int(PLACE_TYPES[kind])}
    builder.node("Cast", [found], to, outputs=operation.outputs)


def _match_place(kind: str) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        node, nodes, output_type = root, [], "INT64"
        if root.op_type == "Cast":
            inner = scope.inside(given(root, 0), PLACES[kind])
            if inner is None or attribute(root, "to") != int(ir.DataType.INT32):
                return None
            node, nodes, output_type = inner, [inner], "INT32"
        if number(node, "keepdims", 1) or number(node, "select_last_index", 0):
            return None
        axis = Constant(array=np.asarray(number(node, "axis", 0), np.int32), name="axis")
        return single(kind, root, [given(node, 0), axis], {"output_type": output_type}, nodes)

    return match


def _running(operation: Operation, builder: Builder) -> None:
    attributes = {name: operation.integer(name) for name in ("exclusive", "reverse")}
    x, axis = builder.value(operation.inputs[0]), builder.as_int64(operation.inputs[1], "axis")
    builder.node("CumSum", [x, axis], attributes, outputs=operation.outputs)


def _match_running(root: ir.Node, scope: Scope) -> Operation | None:
    attributes = {name: bool(number(root, name, 0)) for name in ("exclusive", "reverse")}
    axis = scope.as_int32(given(root, 1), "axis")
    return single("cumsum", root, [given(root, 0), axis], dict(attributes))


KINDS = (
    Kind(name="mean", build=_reduce, roots=("ReduceMean", "Transpose"), match=_match_mean),
    *(
        Kind(name=kind, build=_reduce, roots=(op,), match=_match_reduce(kind, truth=False))
        for kind, op in REDUCTIONS.items()
        if kind != "mean"
    ),
    *(
        Kind(name=kind, build=_reduce, roots=(op,), match=_match_reduce(kind, truth=True))
        for kind, op in TRUTH.items()
    ),
    *(
        Kind(name=kind, build=_place, roots=(op, "Cast"), match=_match_place(kind))
        for kind, op in PLACES.items()
    ),
    Kind(name="cumsum", build=_running, roots=("CumSum",), match=_match_running),
)
