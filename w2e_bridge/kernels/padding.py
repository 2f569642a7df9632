"""Padding: with zeros, with a number, and mirrored with or without the border."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.kernels.reading import (
    Extents,
    chosen,
    extents,
    fits_int32,
    inside,
    int32,
    integers,
    number,
    parameter,
    positive,
    rank_of,
    text,
)
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.kernels.shape import single

Pairs = Sequence[tuple[int, int]]
"""What stands before and behind each axis."""


def pads(operand: Operand, builder: Builder) -> ir.Value:
    """`pads` of ONNX (all befores, then all afters) from TensorFlow Lite's pairs."""
    array = builder.array(operand)
    if array is not None:
        return builder.integers("pads", [int(n) for n in array.T.reshape(-1)])
    wide = builder.as_int64(operand, "pads")
    turned = builder.node("Transpose", [wide], {"perm": [1, 0]})
    return builder.node("Reshape", [turned, builder.integers("vector", [-1])])


def _pad(operation: Operation, builder: Builder) -> None:
    pad(operation, builder)


def pad(operation: Operation, builder: Builder, fill: ir.Value | None = None) -> None:
    """The nodes of pad and padv2.

    Args:
        operation: what is computed.
        builder: takes the nodes.
        fill: what stands around, where it is not the operand or 0.
    """
    x, paddings, *value = operation.inputs
    inputs = [builder.value(x), pads(paddings, builder)]
    if fill is not None or value:
        inputs.append(builder.value(value[0]) if fill is None else fill)
    builder.node("Pad", inputs, outputs=operation.outputs)


def _match_pad(root: ir.Node, scope: Scope) -> Operation | None:
    if text(root, "mode", "constant") != "constant":
        return None
    paddings, nodes = _paddings(root, scope)
    value = given(root, 2)
    if paddings is None or (value is not None and scope.number(value) != 0.0):
        return None
    return single("pad", root, (given(root, 0), paddings), nodes=nodes)


def _match_pad_with(root: ir.Node, scope: Scope) -> Operation | None:
    value = given(root, 2)
    if text(root, "mode", "constant") != "constant" or value is None:
        return None
    paddings, nodes = _paddings(root, scope)
    if paddings is None:
        return None
    return single("padv2", root, (given(root, 0), paddings, value), nodes=nodes)


def _paddings(node: ir.Node, scope: Scope) -> tuple[Operand, tuple[ir.Node, ...]]:
    """The pairs of a Pad and the nodes that rearrange them; None where they can't be said as such."""
    if parameter(node, 1, "pads", scope) is None:
        return _computed(node, scope)
    pairs = unpadded(node, scope)
    return None if pairs is None else int32("paddings", pairs), ()


def unpadded(node: ir.Node, scope: Scope) -> NDArray[np.int64] | None:
    """What a Pad puts before and behind each axis, (rank, 2); None where it is computed or takes away."""
    rank = rank_of(given(node, 0)) or rank_of(node.outputs[0])
    numbers = parameter(node, 1, "pads", scope)
    axes = None if numbers is None else list(range(len(numbers) // 2))
    if given(node, 3) is not None:
        axes = integers(given(node, 3), scope)
    if rank is None or numbers is None or axes is None or len(numbers) != 2 * len(axes):
        return None
    pairs = np.zeros((rank, 2), np.int64)
    pairs[[positive(axis, rank) for axis in axes]] = np.reshape(numbers, (2, -1)).T
    return None if (pairs < 0).any() or not fits_int32(numbers) else pairs


def _computed(node: ir.Node, scope: Scope) -> tuple[Operand, tuple[ir.Node, ...]]:
    flat = inside(node, 1, scope, "Reshape")
    turned = None if flat is None else inside(flat, 0, scope, "Transpose")
    if flat is None or turned is None or given(node, 3) is not None:
        return None, ()
    return scope.as_int32(given(turned, 0), "paddings"), (turned, flat)


def _mirror(operation: Operation, builder: Builder) -> None:
    x, paddings = operation.inputs
    if operation.text("mode", "REFLECT") == "REFLECT":
        inputs = [builder.value(x), pads(paddings, builder)]
        builder.node("Pad", inputs, {"mode": "reflect"}, outputs=operation.outputs)
        return
    value = builder.value(x)
    numbers = builder.numbers(paddings, "paddings")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    axes = [axis for axis, pair in enumerate(pairs) if pair != (0, 0)] or [0]
    shape = extents(value)
    for axis in axes:
        extent = None if shape is None or not shape else shape[axis]
        if extent is None:
            raise UnsupportedError("a mirrored border of an axis whose extent isn't known")
        last = axis == axes[-1]
        indices = builder.integers("mirrored", mirrored(extent, pairs[axis]).tolist())
        outputs = operation.outputs if last else None
        value = builder.node("Gather", [value, indices], {"axis": axis}, outputs=outputs)


def mirrored(extent: int, pair: tuple[int, int]) -> NDArray[np.int64]:
    """The indices along an axis of a symmetric padding, which repeats the border."""
    return np.pad(np.arange(extent, dtype=np.int64), pair, "symmetric")


def _match_mirror(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "Gather":
        return _match_symmetric(root, scope)
    if text(root, "mode", "constant") != "reflect":
        return None
    paddings, nodes = _paddings(root, scope)
    if paddings is None:
        return None
    inputs = (given(root, 0), paddings)
    return single("mirror_pad", root, inputs, {"mode": "REFLECT"}, nodes)


def _match_symmetric(root: ir.Node, scope: Scope) -> Operation | None:
    """Read Gathers, one for each padded axis."""
    chain = [root]
    while (inner := inside(chain[0], 0, scope, "Gather")) is not None:
        chain.insert(0, inner)
    for start in range(len(chain)):
        x = given(chain[start], 0)
        pairs = _mirrored_pairs(chain[start:], extents(x), scope)
        if pairs is not None:
            attributes = {"mode": "SYMMETRIC"}
            inputs = (x, int32("paddings", pairs))
            return single("mirror_pad", root, inputs, attributes, tuple(chain[start:-1]))
    return None


def _mirrored_pairs(
    chain: Sequence[ir.Node], shape: Extents | None, scope: Scope
) -> list[tuple[int, int]] | None:
    """The paddings that Gathers along different axes are, None where one of them is something else."""
    if not shape:
        return None
    pairs: dict[int, tuple[int, int]] = {}
    for node in chain:
        axis = positive(number(node, "axis", 0), len(shape))
        numbers = chosen(node, scope)
        pair = None if numbers is None else _mirrored_pair(numbers, shape[axis])
        if pair is None or axis in pairs:
            return None
        pairs[axis] = pair
    return [pairs.get(axis, (0, 0)) for axis in range(len(shape))]


def _mirrored_pair(numbers: list[int], extent: int | None) -> tuple[int, int] | None:
    """The padding that indices are, None where they are none."""
    if not extent or len(numbers) <= extent:
        return None
    before = _start(numbers, extent)
    if before is None:
        return None
    pair = before, len(numbers) - extent - before
    same = max(pair) <= extent and mirrored(extent, pair).tolist() == numbers
    return pair if same else None


def _start(numbers: list[int], extent: int) -> int | None:
    whole = list(range(extent))
    places = range(len(numbers) - extent + 1)
    return next((p for p in places if numbers[p : p + extent] == whole), None)


KINDS = (
    Kind(name="pad", build=_pad, roots=("Pad",), match=_match_pad),
    Kind(name="padv2", build=_pad, roots=("Pad",), match=_match_pad_with),
    Kind(name="mirror_pad", build=_mirror, roots=("Pad", "Gather"), match=_match_mirror),
)
