"""A canonical graph as a list of operations: every node is read as part of the largest one that fits."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx_ir as ir

from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.kernels.table import by_root, root_of

REPEATABLE = frozenset({"Transpose", "Cast", "Constant", "Identity"})
"""Operators that may be inside of an operation and be read by others too: they cost nothing to say twice."""

Step = Operation | ir.Node


def cover(graph: ir.Graph, scope: Scope, *, stay: Collection[str] = ()) -> list[Step]:
    """Read a graph, from its outputs to its inputs.

    Args:
        graph: canonical, in channels-last normal form, sorted.
        scope: its tensors and quantization.
        stay: standard operators that are left as nodes.

    Returns:
        Operations in an order in which they can be computed; a node that no kind matches stands for
        itself. Nodes that nothing needs are left out.
    """
    needed = set(graph.outputs)
    steps: list[tuple[int, Step]] = []
    done: set[ir.Node] = set()
    position = {node: index for index, node in enumerate(graph)}
    for node in reversed(list(graph)):
        if node in done or not any(output in needed for output in node.outputs):
            continue
        step = (None if root_of(node) in stay else best(node, scope)) or node
        made = step.outputs
        done.update(maker for value in made if (maker := value.producer()) is not None)
        needed.update(value for value in step.inputs if isinstance(value, ir.Value))
        needed.update(
            captured(step.graphs.values() if isinstance(step, Operation) else bodies(node))
        )
        steps.append((position[node], step))
    return _sorted(steps)


def best(node: ir.Node, scope: Scope) -> Operation | None:
    """The largest operation of which a node is the last one."""
    found: Operation | None = None
    for kind in by_root().get(root_of(node), ()):
        candidate = kind.match(node, scope)
        if candidate is None or not _closed(candidate):
            continue
        if found is None or len(candidate.nodes) > len(found.nodes):
            found = candidate
    return found


def _closed(operation: Operation) -> bool:
    """Whether nothing outside reads what is inside."""
    inside, made = set(operation.nodes), set(operation.outputs)
    for node in operation.nodes:
        if node.op_type in REPEATABLE:
            continue
        for value in node.outputs:
            if value in made:
                continue
            if value.is_graph_output() or any(user not in inside for user, _ in value.uses()):
                return False
    return True


def bodies(node: ir.Node) -> list[ir.Graph]:
    """The graphs among a node's attributes."""
    return [
        attribute.as_graph()
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.GRAPH
    ]


def captured(graphs: Iterable[ir.Graph]) -> set[ir.Value]:
    """Values of outer scopes that bodies read."""
    found: set[ir.Value] = set()
    for graph in graphs:
        own = set(graph.inputs) | set(graph.initializers.values())
        own |= {output for node in graph for output in node.outputs}
        for node in graph:
            read = {value for value in node.inputs if value is not None} | captured(bodies(node))
            found |= read - own
        found |= {value for value in graph.outputs if value not in own}
    return found


def _sorted(steps: list[tuple[int, Step]]) -> list[Step]:
    """In the graph's order as far as what each needs is there (an operation of several roots stands late)."""
    waiting = [step for _, step in sorted(steps, key=lambda item: item[0])]
    made = {value for step in waiting for value in step.outputs}
    ready: set[ir.Value] = set()
    result: list[Step] = []
    while waiting:
        left: list[Step] = []
        for step in waiting:
            inputs = {value for value in step.inputs if isinstance(value, ir.Value)}
            graphs = step.graphs.values() if isinstance(step, Operation) else bodies(step)
            if ((inputs | captured(graphs)) & made) - ready:
                left.append(step)
            else:
                result.append(step)
                ready.update(step.outputs)
        assert len(left) < len(waiting), "a cycle"
        waiting = left
    return result
