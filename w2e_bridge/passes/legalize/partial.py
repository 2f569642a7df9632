"""Vectors of integers that are computed from shapes: known numbers, and extents known at run time only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.passes.layout.site import Dim, constant, dims

DEPTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a vector.

    Attributes:
        numbers: an integer, the name of an extent, or None.
        scalar: whether it is one number rather than a vector.
    """

    numbers: tuple[Dim, ...]
    scalar: bool = False


Tensors = Mapping[str, Tensor]


def known_of(value: ir.Value | None, tensors: Tensors, depth: int = DEPTH) -> Known | None:
    """What is known of a value of integers; None where it is no vector or nothing is known."""
    if value is None or depth == 0:
        return None
    array = constant(value, tensors)
    if array is not None:
        if array.ndim > 1 or array.dtype.kind not in "iu":
            return None
        return Known(numbers=tuple(int(n) for n in array.reshape(-1)), scalar=array.ndim == 0)
    node = value.producer()
    if node is None or node.domain not in STANDARD:
        return None
    rule = _RULES.get(node.op_type)
    return None if rule is None else rule(node, tensors, depth - 1)


def _input(node: ir.Node, slot: int) -> ir.Value | None:
    return node.inputs[slot] if slot < len(node.inputs) else None


def _shape(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    del tensors, depth
    shape = dims(_input(node, 0))
    if shape is None:
        return None
    start = node.attributes.get("start")
    end = node.attributes.get("end")
    cut = slice(start.as_int() if start else None, end.as_int() if end else None)
    return Known(numbers=shape[cut])


def _size(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    found = _shape(node, tensors, depth)
    if found is None or any(not isinstance(n, int) for n in found.numbers):
        return None
    return Known(
        numbers=(int(np.prod([int(n) for n in found.numbers if n is not None])),), scalar=True
    )


def _same(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    return known_of(_input(node, 0), tensors, depth)


def _cast(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    to = node.attributes["to"].as_int()
    if to not in (int(ir.DataType.INT64), int(ir.DataType.INT32)):
        return None
    return _same(node, tensors, depth)


def _gather(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    whole = known_of(_input(node, 0), tensors, depth)
    indices = constant(_input(node, 1), tensors)
    if whole is None or whole.scalar or indices is None or indices.ndim > 1:
        return None
    count = len(whole.numbers)
    if any(not -count <= int(i) < count for i in indices.reshape(-1)):
        return None
    numbers = tuple(whole.numbers[int(i)] for i in indices.reshape(-1))
    return Known(numbers=numbers, scalar=indices.ndim == 0)


def _slice(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    whole = known_of(_input(node, 0), tensors, depth)
    bounds = [constant(_input(node, slot), tensors) for slot in (1, 2)]
    step = constant(_input(node, 4), tensors)
    if whole is None or whole.scalar or any(b is None or b.size != 1 for b in bounds):
        return None
    if _input(node, 4) is not None and (step is None or step.size != 1):
        return None
    start, end = (int(b.reshape(-1)[0]) for b in bounds if b is not None)
    stride = 1 if step is None else int(step.reshape(-1)[0])
    if stride < 0:
        return None
    return Known(numbers=whole.numbers[start:end:stride])


def _concat(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    numbers: list[Dim] = []
    for value in node.inputs:
        found = known_of(value, tensors, depth)
        length = dims(value)
        if found is not None:
            numbers += found.numbers
        elif length is not None and len(length) == 1 and isinstance(length[0], int):
            numbers += [None] * length[0]
        else:
            return None
    return Known(numbers=tuple(numbers))


def _unsqueeze(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    found = known_of(_input(node, 0), tensors, depth)
    if found is None or not found.scalar:
        return None
    return Known(numbers=found.numbers)


def _squeeze(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
    found = known_of(_input(node, 0), tensors, depth)
    if found is None or len(found.numbers) != 1:
        return None
    return Known(numbers=found.numbers, scalar=True)


def _arithmetic(how: Callable[[int, int], int]) -> Rule:
    def rule(node: ir.Node, tensors: Tensors, depth: int) -> Known | None:
        a, b = (known_of(_input(node, slot), tensors, depth) for slot in (0, 1))
        if a is None or b is None:
            return None
        count = max(len(a.numbers), len(b.numbers))
        if any(len(x.numbers) not in (1, count) for x in (a, b)):
            return None
        pairs = zip(_wide(a, count), _wide(b, count), strict=True)
        numbers = tuple(
            how(x, y) if isinstance(x, int) and isinstance(y, int) else None for x, y in pairs
        )
        return Known(numbers=numbers, scalar=a.scalar and b.scalar)

    return rule


def _wide(known: Known, count: int) -> tuple[Dim, ...]:
    return known.numbers * count if len(known.numbers) == 1 else known.numbers


def _divided(a: int, b: int) -> int:
    """ONNX's division of integers drops the remainder."""
    return 0 if b == 0 else int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)


Rule = Callable[[ir.Node, Tensors, int], Known | None]
_RULES: Mapping[str, Rule] = {
    "Shape": _shape,
    "Size": _size,
    "Identity": _same,
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Concat": _concat,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Add": _arithmetic(lambda a, b: a + b),
    "Sub": _arithmetic(lambda a, b: a - b),
    "Mul": _arithmetic(lambda a, b: a * b),
    "Div": _arithmetic(_divided),
}
