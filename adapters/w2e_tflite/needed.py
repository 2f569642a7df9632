"""Operators that nothing reads: no part of what a graph computes.

Formats whose graphs are read from their outputs back have no place for them, nor for their weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from w2e_bridge.graph.functions import DOMAIN
from w2e_bridge.graph.inspecting import name_of
from w2e_tflite.lifting import Lifted


def drop_unread(lifted: Lifted) -> None:
    """Take out the nodes of operators of which no result is read, and the functions that only they call."""
    for nodes in reversed(lifted.built):
        if nodes and not _read(nodes):
            _forget(nodes, lifted)
    called = {name for nodes in lifted.built for name in _calls(nodes)}
    ahead = list(called)
    while ahead:
        further = set(_calls(lifted.functions[ahead.pop()])) - called
        called |= further
        ahead += further
    for name in lifted.functions.keys() - called:
        del lifted.functions[name]


def _read(nodes: Sequence[ir.Node]) -> bool:
    """Whether anything but themselves reads what nodes make, or it is a result of their graph."""
    mine = set(nodes)
    values = [value for node in nodes for value in node.outputs]
    return any(v.is_graph_output() or any(u not in mine for u, _ in v.uses()) for v in values)


def _forget(nodes: list[ir.Node], lifted: Lifted) -> None:
    for value in (value for node in nodes for value in node.outputs):
        lifted.values.pop(name_of(value), None)
        made = lifted.made.get(name_of(value))
        if made is not None:
            lifted.remark(made.tensor, "nothing reads this result of an operator")
    graph = nodes[0].graph
    assert graph is not None
    graph.remove(nodes, safe=True)
    nodes.clear()


def _calls(nodes: Sequence[ir.Node] | ir.Function) -> Iterator[str]:
    return (node.op_type for node in nodes if node.domain == DOMAIN)
