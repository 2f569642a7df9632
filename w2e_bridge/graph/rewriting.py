"""Small edits of an onnx_ir graph that every lowering needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


def node(
    domain: str,
    op: str,
    inputs: Sequence[ir.Value | None],
    attributes: Mapping[str, object],
    name: str,
    outputs: int = 1,
) -> ir.Node:
    """A node whose first output has its name."""
    made = ir.node(op, inputs, attributes, domain=domain, name=name, num_outputs=outputs)  # type: ignore[arg-type]
    made.outputs[0].name = name
    return made


def given(user: ir.Node, index: int) -> ir.Value:
    """An input that must be there."""
    value = user.inputs[index]
    assert value is not None
    return value


def maker(value: ir.Value | None, op: str, domain: str = "") -> ir.Node | None:
    """The node that makes a value if it is of a kind, else None."""
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != op or producer.domain != domain:
        return None
    return producer


def named(made: ir.Node) -> str:
    """A name that tells a node: that of its first output."""
    return made.outputs[0].name or made.name or made.op_type


def constant(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """A small constant inside the model file, one for each name."""
    if name not in graph.initializers:
        data = ir.tensor(array, name=name)
        kind, shape = ir.TensorType(data.dtype), ir.Shape(array.shape)
        graph.register_initializer(ir.Value(name=name, type=kind, shape=shape, const_value=data))
    return graph.initializers[name]


def replace(graph: ir.Graph, old: Sequence[ir.Node], new: Sequence[ir.Node]) -> None:
    """Put nodes in the place of the first of the old ones; the last new node has their first outputs."""
    before = [gone.outputs[0] for gone in old]
    ir.convenience.replace_nodes_and_values(
        graph, first_of(graph, old), old, new, before, new[-1].outputs[: len(before)]
    )


def first_of(graph: ir.Graph, nodes: Sequence[ir.Node]) -> ir.Node:
    """The one that stands first in the graph."""
    wanted = set(nodes)
    return next(candidate for candidate in graph if candidate in wanted)


def at_start(graph: ir.Graph, made: ir.Node) -> None:
    """Put a node before all others."""
    if len(graph):
        graph.insert_before(graph.node(0), made)
    else:
        graph.append(made)


def read_instead(graph: ir.Graph, value: ir.Value, made: ir.Value) -> None:
    """Let what reads a value, and what gives it out, take one of its type and shape that a node makes of it."""
    made.type, made.shape = value.type, value.shape
    for user, index in list(value.uses()):
        if user is not made.producer():
            user.replace_input_with(index, made)
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = made


def drop_unused(graph: ir.Graph) -> None:
    """Take out nodes and initializers that nothing reads."""
    for candidate in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in candidate.outputs):
            graph.remove(candidate, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
