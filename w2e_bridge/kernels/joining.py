"""Several values put together along an old axis or a new one."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import single
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.kernels.reading import number, parameter, positive, rank_of
from w2e_bridge.kernels.scope import Scope, fused


def _concatenation(operation: Operation, builder: Builder) -> None:
    inputs = [builder.value(operand) for operand in operation.inputs]
    axis = _axis(operation, operation.inputs)
    builder.last("Concat", inputs, operation, {"axis": axis})


def _axis(operation: Operation, values: Sequence[Operand]) -> int:
    # Counted from the front where that can be said: what reads a graph needs no ranks then.
    axis, rank = operation.integer("axis"), rank_of(values[0]) if values else None
    return axis if rank is None else positive(axis, rank)


def _match_concatenation(root: ir.Node, scope: Scope) -> Operation | None:
    for way in fused(root, scope):
        inputs = [value for value in way.node.inputs if value is not None]
        if way.node.op_type == "Concat" and inputs:
            return Operation(
                kind="concatenation",
                inputs=tuple(inputs),
                outputs=(root.outputs[0],),
                attributes={
                    "axis": number(way.node, "axis", 0),
                    "fused_activation_function": way.activation,
                },
                nodes=(way.node, *way.nodes),
            )
    return None


def _pack(operation: Operation, builder: Builder) -> None:
    axis = _axis(operation, operation.outputs)
    inputs = [
        builder.node("Unsqueeze", [builder.value(operand), builder.integers("axis", [axis])])
        for operand in operation.inputs
    ]
    builder.node("Concat", inputs, {"axis": axis}, outputs=operation.outputs)


def _match_pack(root: ir.Node, scope: Scope) -> Operation | None:
    rank = rank_of(root.outputs[0])
    axis = number(root, "axis", 0)
    inputs: list[Operand] = []
    inside: list[ir.Node] = []
    for value in root.inputs:
        node = scope.inside(value, "Unsqueeze")
        axes = None if node is None else parameter(node, 1, "axes", scope)
        if node is None or axes is None or len(axes) != 1:
            return None
        if axes[0] != axis and (rank is None or positive(axes[0], rank) != positive(axis, rank)):
            return None
        inputs.append(given(node, 0))
        inside.append(node)
    if not inputs:
        return None
    return single("pack", root, inputs, {"values_count": len(inputs), "axis": axis}, inside=inside)


KINDS = (
    Kind(
        name="concatenation",
        build=_concatenation,
        roots=("Concat", "Relu", "Clip"),
        match=_match_concatenation,
    ),
    Kind(name="pack", build=_pack, roots=("Concat",), match=_match_pack),
)
