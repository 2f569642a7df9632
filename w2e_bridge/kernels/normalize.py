"""Softmax and other normalizations along the last axis."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.functions import DOMAIN, Body
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import single
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.reading import number, parameter, rank_of
from w2e_bridge.kernels.scope import Scope, attribute, image

SCALED_SOFTMAX = "ScaledSoftmax"
EPSILON = 1e-6
"""The least norm that L2_NORMALIZATION divides by (tensorflow/lite/kernels/l2norm.cc)."""


@cache
def scaled_softmax() -> ir.Function:
    """`ScaledSoftmax(x; beta) -> y`: the softmax of beta * x along the last axis.

    Two nodes would say the same, but a Mul before a Softmax is an operation of its own elsewhere.
    """
    body, x = Body(), ir.Value(name="x")
    reference = ir.RefAttr("value_float", "beta", ir.AttributeType.FLOAT)
    beta = body.add("Constant", [], "factor", [reference])
    scaled = body.add("Mul", [x, beta], "scaled")
    y = body.add("Softmax", [scaled], "y", [ir.AttrInt64("axis", -1)])
    return body.finish(SCALED_SOFTMAX, [x], y, [ir.AttrFloat32("beta", 1.0)])


def _is_last(axis: int, x: ir.Value | None) -> bool:
    rank = rank_of(x)
    return axis == -1 or (rank is not None and axis == rank - 1)


def _softmax(operation: Operation, builder: Builder) -> None:
    x, beta = builder.value(operation.inputs[0]), operation.number("beta", 1.0)
    if beta == 1.0:
        builder.node("Softmax", [x], {"axis": -1}, outputs=operation.outputs)
    else:
        builder.call(scaled_softmax(), [x], {"beta": beta}, outputs=operation.outputs)


def _match_softmax(root: ir.Node, _scope: Scope) -> Operation | None:
    x, beta = given(root, 0), 1.0
    if root.op_type == SCALED_SOFTMAX:
        said = attribute(root, "beta", 1.0)
        beta = float(said) if isinstance(said, int | float) else 1.0
    elif not _is_last(number(root, "axis", -1), x):
        return None
    return single("softmax", root, [x], {"beta": beta})


def _log_softmax(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    builder.node("LogSoftmax", [x], {"axis": -1}, outputs=operation.outputs)


def _match_log_softmax(root: ir.Node, _scope: Scope) -> Operation | None:
    x = given(root, 0)
    return single("log_softmax", root, [x]) if _is_last(number(root, "axis", -1), x) else None


def _l2(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    norm = builder.node("ReduceL2", [x, builder.integers("axes", [-1])], {"keepdims": 1})
    least = builder.node("Max", [norm, builder.reals("epsilon", EPSILON)])
    builder.last("Div", [x, least], operation)


def _match_l2(root: ir.Node, scope: Scope) -> Operation | None:
    none: dict[str, Attribute] = {"fused_activation_function": "NONE"}
    x = given(root, 0)
    if root.op_type == "LpNormalization":
        last = _is_last(number(root, "axis", -1), x) and number(root, "p", 2) == 2
        return single("l2_normalization", root, [x], none) if last else None
    nodes: list[ir.Node] = []
    value = given(root, 1)
    # As PyTorch writes it: an Expand, and a Clip in the place of the Max.
    for ops in (("Expand",), ("Max", "Clip")):
        inner = scope.inside(value, *ops)
        if inner is not None:
            nodes.append(inner)
            value = given(inner, 0)
    norm = scope.inside(value, "ReduceL2")
    if norm is None or given(norm, 0) is not x or not _small(nodes, scope):
        return None
    axes = parameter(norm, 1, "axes", scope)
    if (
        axes is None
        or len(axes) != 1
        or not _is_last(axes[0], x)
        or not number(norm, "keepdims", 1)
    ):
        return None
    return single("l2_normalization", root, [x], none, [norm, *reversed(nodes)])


def _small(nodes: list[ir.Node], scope: Scope) -> bool:
    """Whether norms are bounded by no more than what every kernel bounds them by."""
    bounds = [scope.number(given(node, 1)) for node in nodes if node.op_type != "Expand"]
    # float32(1e-6) lies a little below 1e-6.
    return all(bound is not None and bound <= EPSILON for bound in bounds)


def _response(operation: Operation, builder: Builder) -> None:
    size = 2 * operation.integer("radius") + 1
    attributes = {
        "size": size,
        "bias": operation.number("bias"),
        # ONNX divides alpha by the number of channels summed.
        "alpha": float(np.float32(operation.number("alpha")) * np.float32(size)),
        "beta": operation.number("beta"),
    }
    builder.channels_last("LRN", [builder.value(operation.inputs[0])], operation, attributes)


def _match_response(root: ir.Node, scope: Scope) -> Operation | None:
    found = image(root, scope, "LRN")
    if found is None:
        return None
    node = found.node
    size = number(node, "size", 0)
    if size % 2 == 0:
        return None
    numbers = {
        name: float(value)
        for name, default in (("bias", 1.0), ("alpha", 1e-4), ("beta", 0.75))
        if isinstance(value := attribute(node, name, default), int | float)
    }
    numbers["alpha"] = float(np.float32(numbers["alpha"]) / np.float32(size))
    return Operation(
        kind="local_response_normalization",
        inputs=(found.x,),
        outputs=(root.outputs[0],),
        attributes={"radius": size // 2, **numbers},
        nodes=found.nodes,
    )


KINDS = (
    Kind(
        name="softmax",
        build=_softmax,
        roots=("Softmax", f"{DOMAIN}::{SCALED_SOFTMAX}"),
        match=_match_softmax,
    ),
    Kind(name="log_softmax", build=_log_softmax, roots=("LogSoftmax",), match=_match_log_softmax),
    Kind(name="l2_normalization", build=_l2, roots=("LpNormalization", "Div"), match=_match_l2),
    Kind(
        name="local_response_normalization",
        build=_response,
        roots=("Transpose",),
        match=_match_response,
    ),
)
