"""Comparisons, logic and choice."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import direct, pair, single
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import rank_of
from w2e_bridge.kernels.scope import Scope

DIRECT = {
    "equal": "Equal",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "logical_and": "And",
    "logical_or": "Or",
}
"""Kinds that are one standard operator."""


def _not_equal(operation: Operation, builder: Builder) -> None:
    inputs = [builder.value(operand) for operand in operation.inputs]
    builder.node("Not", [builder.node("Equal", inputs)], outputs=operation.outputs)


def _match_not_equal(root: ir.Node, scope: Scope) -> Operation | None:
    node = scope.inside(root.inputs[0], "Equal")
    operands = None if node is None else pair(node)
    if node is None or operands is None:
        return None
    return single("not_equal", root, operands, inside=(node,))


def _select(operation: Operation, builder: Builder) -> None:
    condition, a, b = (builder.value(operand) for operand in operation.inputs)
    rank = rank_of(operation.inputs[1])
    if operation.kind == "select" and rank_of(operation.inputs[0]) == 1 and rank != 1:
        # SELECT of a vector chooses whole slices of the first axis; Where aligns at the last one.
        if rank is None:
            raise UnsupportedError("select of slices of unknown rank")
        axes = builder.integers("axes", list(range(1, rank)))
        condition = builder.node("Unsqueeze", [condition, axes])
    builder.node("Where", [condition, a, b], outputs=operation.outputs)


KINDS = (
    *(direct(kind, op, 2) for kind, op in DIRECT.items()),
    direct("logical_not", "Not", 1),
    Kind(name="not_equal", build=_not_equal, roots=("Not",), match=_match_not_equal),
    direct("select_v2", "Where", 3),
    # Read again as SELECT_V2, which does all that SELECT does, but for slices, by the same kernel.
    Kind(name="select", build=_select, roots=(), match=lambda _root, _scope: None),
)
