"""Functions of one number, element by element."""

from __future__ import annotations

import math

import onnx_ir as ir

from w2e_bridge.graph.inspecting import given
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import direct, single
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import text
from w2e_bridge.kernels.scope import Scope, attribute

DIRECT = {
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "abs": "Abs",
    "neg": "Neg",
    "sin": "Sin",
    "cos": "Cos",
    "ceil": "Ceil",
    "floor": "Floor",
    "round": "Round",
    "sign": "Sign",
}
"""Kinds that are one operator without attributes."""

GELU = {True: "tanh", False: "none"}
"""Whether GELU is approximate to what ONNX calls that."""


def _elu(operation: Operation, builder: Builder) -> None:
    builder.node("Elu", [builder.value(operation.inputs[0])], outputs=operation.outputs)


def _match_elu(root: ir.Node, _scope: Scope) -> Operation | None:
    if attribute(root, "alpha", 1.0) != 1.0:
        return None
    return single("elu", root, [given(root, 0)])


def _gelu(operation: Operation, builder: Builder) -> None:
    approximate = GELU[bool(operation.integer("approximate"))]
    x = builder.value(operation.inputs[0])
    builder.node("Gelu", [x], {"approximate": approximate}, outputs=operation.outputs)


def _match_gelu(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "Gelu":
        approximate = text(root, "approximate", "none") == GELU[True]
        return single("gelu", root, [given(root, 0)], {"approximate": approximate})
    return _match_erf(root, scope)


def _match_erf(root: ir.Node, scope: Scope) -> Operation | None:
    """GELU as it was exported before it was an operator: x * (1 + erf(x / sqrt(2))) / 2 in products."""
    factors, nodes = _factors(root, scope)
    half = [f for f in factors if scope.number(f) is not None and _near(scope.number(f), 0.5)]
    rest = [f for f in factors if f not in half]
    if len(half) != 1 or len(rest) != 2:
        return None
    for x, one_plus in (rest, rest[::-1]):
        inner = _one_plus_erf(one_plus, x, scope)
        if inner is not None:
            return single("gelu", root, [x], {"approximate": False}, [*inner, *nodes[1:]])
    return None


def _factors(root: ir.Node, scope: Scope) -> tuple[list[ir.Value], list[ir.Node]]:
    """The factors of nested products, and the Mul nodes, the root first."""
    factors: list[ir.Value] = []
    nodes = [root]
    for value in root.inputs:
        inner = scope.inside(value, "Mul") if len(nodes) < 2 else None
        if inner is not None:
            nodes.append(inner)
            factors += [v for v in inner.inputs if v is not None]
        elif value is not None:
            factors.append(value)
    return factors, nodes


def _one_plus_erf(value: ir.Value, x: ir.Value, scope: Scope) -> list[ir.Node] | None:
    add = scope.inside(value, "Add")
    if add is None:
        return None
    for one, other in (add.inputs, tuple(add.inputs)[::-1]):
        erf = scope.inside(other, "Erf")
        if erf is None or not _near(scope.number(one), 1.0):
            continue
        scaled = scope.inside(given(erf, 0), "Div", "Mul")
        if scaled is not None and given(scaled, 0) is x and _by_root_2(scaled, scope):
            return [scaled, erf, add]
    return None


def _by_root_2(node: ir.Node, scope: Scope) -> bool:
    number = scope.number(given(node, 1))
    return _near(number, math.sqrt(2.0) if node.op_type == "Div" else math.sqrt(0.5))


def _near(number: float | None, wanted: float) -> bool:
    return number is not None and math.isclose(number, wanted, rel_tol=1e-5)


def _match_hard_swish(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "HardSwish":
        return single("hard_swish", root, [given(root, 0)])
    if root.op_type != "Mul":
        return None
    for x, other in (root.inputs, tuple(root.inputs)[::-1]):
        gate = scope.inside(other, "HardSigmoid")
        if x is None or gate is None or given(gate, 0) is not x:
            continue
        alpha, beta = attribute(gate, "alpha", 0.2), attribute(gate, "beta", 0.5)
        if isinstance(alpha, float) and _near(alpha, 1 / 6) and beta == 0.5:
            return single("hard_swish", root, [x], inside=[gate])
    return None


def _hard_swish(operation: Operation, builder: Builder) -> None:
    builder.node("HardSwish", [builder.value(operation.inputs[0])], outputs=operation.outputs)


def _rsqrt(operation: Operation, builder: Builder) -> None:
    root = builder.node("Sqrt", [builder.value(operation.inputs[0])])
    builder.node("Reciprocal", [root], outputs=operation.outputs)


def _match_rsqrt(root: ir.Node, scope: Scope) -> Operation | None:
    index = 0 if root.op_type == "Reciprocal" else 1
    if index and scope.number(given(root, 0)) != 1.0:
        return None
    inner = scope.inside(given(root, index), "Sqrt")
    return None if inner is None else single("rsqrt", root, [given(inner, 0)], inside=[inner])


def _square(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    builder.node("Mul", [x, x], outputs=operation.outputs)


def _match_square(root: ir.Node, scope: Scope) -> Operation | None:
    x = given(root, 0)
    if (
        x is None
        or given(root, 1) is not x
        or DTYPE_NAMES.get(x.dtype or ir.DataType.FLOAT) != "float32"
    ):
        return None
    # SQUARE has no integer kernel; MUL has.
    if scope.quantization(x) is not None or scope.quantization(root.outputs[0]) is not None:
        return None
    return single("square", root, [x])


KINDS = (
    *(direct(kind, op, 1) for kind, op in DIRECT.items()),
    Kind(name="elu", build=_elu, roots=("Elu",), match=_match_elu),
    Kind(name="gelu", build=_gelu, roots=("Gelu", "Mul"), match=_match_gelu),
    Kind(name="hard_swish", build=_hard_swish, roots=("HardSwish", "Mul"), match=_match_hard_swish),
    Kind(name="rsqrt", build=_rsqrt, roots=("Reciprocal", "Div"), match=_match_rsqrt),
    Kind(name="square", build=_square, roots=("Mul",), match=_match_square),
)
