"""Resources that bodies of control flow read and assign, as operands and results of the control flow.

A body is a function, as the graph is: what it reads of a resource is an input of the body and an operand
of the operation, what it assigns an output of both. The bodies of one operation take and give the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_tflite.lifting import Subgraph
from w2e_tflite.resources import NEXT, quantized_copy


def share(
    work: Subgraph, kind: str, bodies: Mapping[str, Subgraph]
) -> tuple[list[ir.Value], list[ir.Value]]:
    """Give the bodies of an operation all resources that one of them uses.

    Args:
        work: the graph that the operation is in.
        kind: "if" or "while": of a loop all that goes in comes out.
        bodies: by role.

    Returns:
        Further operands and further outputs of the operation.
    """
    used = {n: v for body in bodies.values() for n, v in body.variables.begin.items()}
    changed = {name for body in bodies.values() for name in body.variables.changed()}
    assigned = [name for name in used if kind == "while" or name in changed]
    for role, body in bodies.items():
        for name, like in used.items():
            if name not in body.variables.begin:
                body.variables.read(name, _like(body, like, ""))
            body.graph.inputs.append(body.variables.begin[name])
        if role != "cond":
            for name in assigned:
                body.graph.outputs.append(_given_on(body, name))
    operands = [work.variables.read(name, _first(work, name, like)) for name, like in used.items()]
    results = []
    for name in assigned:
        value = _like(work, used[name], NEXT)
        work.variables.assign(name, value, work.variables.begin[name])
        results.append(value)
    return operands, results


def _first(work: Subgraph, name: str, like: ir.Value) -> ir.Value:
    """What stands for a resource before anything reads it; nothing new where that is known."""
    return like if name in work.variables.current else _like(work, like, "")


def _given_on(body: Subgraph, name: str) -> ir.Value:
    """What a resource is after a body, as an output of its own."""
    value = body.variables.current[name]
    if is_weight(value) or value in body.graph.outputs:
        return quantized_copy(body, value, name + NEXT)
    return value


def _like(work: Subgraph, value: ir.Value, suffix: str) -> ir.Value:
    """A fresh value of the same type, shape and quantization."""
    name = work.lifted.names.free(name_of(value) + suffix)
    quantization = work.lifted.values.get(name_of(value))
    if quantization is not None:
        work.lifted.values[name] = quantization
    return ir.Value(name=name, type=value.type, shape=value.shape)
