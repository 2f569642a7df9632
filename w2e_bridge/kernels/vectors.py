"""Vectors of integers that a graph puts together of numbers and of what is known at run time only."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.bounds import sliced
from w2e_bridge.kernels.reading import extents, integers, number, rank_of
from w2e_bridge.kernels.scope import Scope

Entry = int | tuple[ir.Value, int]
"""A number, or one that is computed: an extent of a value by its axis, or a number of a vector."""


def entries_of(value: ir.Value | None, scope: Scope) -> list[Entry] | None:
    """What a vector is put together of; None where that is not known."""
    numbers = integers(value, scope)
    if numbers is not None:
        return list(numbers)
    for op, read in _READERS.items():
        node = scope.maker(value, op)
        if node is not None:
            return read(node, scope)
    length = extents(value)
    if value is None or length is None or len(length) != 1 or length[0] is None:
        return None
    return [(value, i) for i in range(length[0])]


def _joined(node: ir.Node, scope: Scope) -> list[Entry] | None:
    found: list[Entry] = []
    for part in node.inputs:
        entries = entries_of(part, scope)
        if entries is None:
            return None
        found += entries
    return found


def _shape(node: ir.Node, scope: Scope) -> list[Entry] | None:
    del scope
    value, rank = given(node, 0), rank_of(given(node, 0))
    start, end = number(node, "start", 0), number(node, "end", -1 if rank is None else rank)
    if value is None or (rank is None and min(start, end) < 0):
        return None
    axes = range(start, end) if rank is None else range(rank)[start:end]
    return [(value, axis) for axis in axes]


def _chosen(node: ir.Node, scope: Scope) -> list[Entry] | None:
    whole, places = entries_of(given(node, 0), scope), integers(given(node, 1), scope)
    if whole is None or places is None or not all(-len(whole) <= p < len(whole) for p in places):
        return None
    return [whole[place] for place in places]


def _part(node: ir.Node, scope: Scope) -> list[Entry] | None:
    whole, rows = entries_of(given(node, 0), scope), sliced(node, scope)
    if whole is None or rows is None or len(rows) != 1:
        return None
    ((start, end, step),) = rows.values()
    return whole[start:end:step] if step > 0 else None


def _cast(node: ir.Node, scope: Scope) -> list[Entry] | None:
    source = given(node, 0)
    whole = source is not None and source.dtype in (None, ir.DataType.INT32, ir.DataType.INT64)
    return entries_of(source, scope) if whole else None


_READERS = {
    "Cast": _cast,
    "Concat": _joined,
    "Shape": _shape,
    "Gather": _chosen,
    "Slice": _part,
}
