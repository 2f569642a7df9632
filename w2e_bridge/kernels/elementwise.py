"""What the kinds that work element by element share: kinds that are one standard operator."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_op
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Attribute, Operand, Operation
from w2e_bridge.kernels.scope import Match, Scope


def single(
    kind: str,
    root: ir.Node,
    inputs: Sequence[Operand],
    attributes: dict[str, Attribute] | None = None,
    inside: Sequence[ir.Node] = (),
) -> Operation:
    """An operation whose last node makes its one output."""
    return Operation(
        kind=kind,
        inputs=tuple(inputs),
        outputs=(root.outputs[0],),
        attributes=attributes or {},
        nodes=(*inside, root),
    )


def direct(kind: str, op: str, count: int) -> Kind:
    """A kind that is one standard operator of the same operands, without attributes.

    Args:
        kind: its name.
        op: the operator.
        count: of its operands; matched only with so many.
    """

    def build(operation: Operation, builder: Builder) -> None:
        inputs = [builder.value(operand) for operand in operation.inputs]
        builder.node(op, inputs, outputs=operation.outputs)

    return Kind(name=kind, build=build, roots=(op,), match=operands(kind, count))


def operands(kind: str, count: int) -> Match:
    """A match of a node with so many operands, all of them there."""

    def match(root: ir.Node, _scope: Scope) -> Operation | None:
        if len(root.inputs) != count or None in root.inputs:
            return None
        return single(kind, root, root.inputs)

    return match


def pair(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The two inputs of a node."""
    if len(node.inputs) != 2:
        return None
    a, b = node.inputs
    return None if a is None or b is None else (a, b)


def type_of(value: Operand) -> str:
    """The element type of a value, "" where nobody says it."""
    if not isinstance(value, ir.Value) or value.dtype is None:
        return ""
    return DTYPE_NAMES.get(value.dtype, "")


def hidden(value: ir.Value, scope: Scope, op: str, readers: set[ir.Node]) -> ir.Node | None:
    """The maker of a value that only `readers` read, that is no output and not quantized."""
    node = value.producer()
    if node is None or not is_op(node, op):
        return None
    if value.is_graph_output() or scope.quantization(value) is not None:
        return None
    return node if all(user in readers for user, _ in value.uses()) else None
