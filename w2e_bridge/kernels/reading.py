"""What matches of shapes and indices ask of nodes and values, beyond `Scope`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import ArrayLike

from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.operation import Constant, Operand
from w2e_bridge.kernels.scope import Scope, attribute

INT32_MAX, INT32_MIN = (1 << 31) - 1, -(1 << 31)
INT64_MAX, INT64_MIN = (1 << 63) - 1, -(1 << 63)

Extents = tuple[int | None, ...]
"""A shape; None for a dimension that is known at run time only."""


def extents(operand: Operand) -> Extents | None:
    """The shape of an operand, None where not even its rank is known."""
    if isinstance(operand, Constant):
        return operand.array.shape
    if operand is None or operand.shape is None:
        return None
    return tuple(d if isinstance(d, int) else None for d in operand.shape)


def rank_of(operand: Operand) -> int | None:
    """The rank of an operand."""
    shape = extents(operand)
    return None if shape is None else len(shape)


def integers(value: Operand, scope: Scope) -> list[int] | None:
    """The integers of a constant, flat; None where it is none."""
    array = scope.array(value)
    if array is None or not np.issubdtype(array.dtype, np.integer):
        return None
    return [int(n) for n in array.reshape(-1)]


def chosen(node: ir.Node, scope: Scope) -> list[int] | None:
    """The indices of a Gather that stands for something else: int64, where an operator's own are int32."""
    array = scope.array(given(node, 1))
    if array is None or array.ndim != 1 or array.dtype != np.int64:
        return None
    return [int(n) for n in array]


def parameter(node: ir.Node, index: int, name: str, scope: Scope) -> list[int] | None:
    """Integers of a constant input, or of the attribute that older operator sets have in its place."""
    value = given(node, index)
    if value is not None:
        return integers(value, scope)
    held = attribute(node, name)
    return [int(n) for n in held] if isinstance(held, tuple) else None


def number(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    value = attribute(node, name, default)
    return value if isinstance(value, int) else default


def text(node: ir.Node, name: str, default: str) -> str:
    """An attribute that is text."""
    value = attribute(node, name, default)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, str) else default


def int32(name: str, numbers: ArrayLike) -> Constant:
    """An int32 constant operand."""
    return Constant(array=np.asarray(numbers, np.int32), name=name)


def fits_int32(numbers: Sequence[int]) -> bool:
    """Whether numbers can be stored as int32."""
    return all(INT32_MIN <= n <= INT32_MAX for n in numbers)


def positive(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    return axis + rank if axis < 0 else axis


def inside(node: ir.Node, index: int, scope: Scope, *ops: str) -> ir.Node | None:
    """The maker of an input that may vanish inside an operation."""
    return scope.inside(given(node, index), *ops)
