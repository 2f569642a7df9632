"""Addition, multiplication and their kin, with broadcasting and a fused activation."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Match, Scope, fused

BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}
"""Kinds with a fused activation to their ONNX operators."""


def _build(operation: Operation, builder: Builder) -> None:
    a, b = (builder.value(operand) for operand in operation.inputs)
    builder.last(BINARY[operation.kind], [a, b], operation)


def _match(kind: str, op: str) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        for way in fused(root, scope):
            if way.node.op_type == op:
                return Operation(
                    kind=kind,
                    inputs=tuple(way.node.inputs),
                    outputs=(root.outputs[0],),
                    attributes={"fused_activation_function": way.activation},
                    nodes=(way.node, *way.nodes),
                )
        return None

    return match


KINDS = tuple(
    Kind(name=name, build=_build, roots=(op, "Relu", "Clip"), match=_match(name, op))
    for name, op in BINARY.items()
)
