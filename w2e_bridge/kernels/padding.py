"""Padding: with zeros, with a number, and mirrored with or without the border."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.functions import Body
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

PADDED, FILLED = "Padded", "PaddedWith"
"""Functions of domain `w2e` for paddings that are computed at run time."""


def _around(builder: Builder, operation: Operation, mode: str, fill: ir.Value | None) -> None:
    """A Pad by TensorFlow Lite's pairs, which ONNX has as all befores and then all afters."""
    x, array = builder.value(operation.inputs[0]), builder.array(operation.inputs[1])
    if array is None:
        computed = [x, builder.value(operation.inputs[1]), *([] if fill is None else [fill])]
        function = padded(filled=fill is not None)
        builder.call(function, computed, {"mode": mode}, outputs=operation.outputs)
        return
    pads = builder.integers("pads", [int(n) for n in array.T.reshape(-1)])
    inputs = [x, pads] if fill is None else [x, pads, fill]
    builder.node(
        "Pad", inputs, {"mode": mode} if mode != "constant" else {}, outputs=operation.outputs
    )


def padded(*, filled: bool) -> ir.Function:
    """`Padded(x, paddings; mode) -> y`, or `PaddedWith(x, paddings, fill; mode)`.

    `paddings` (int32 or int64, two numbers for each axis) are computed; constant ones are a Pad.
    """
    body = Body()
    names = ("x", "paddings", "fill") if filled else ("x", "paddings")
    x, paddings, *fill = (ir.Value(name=name) for name in names)
    wide = body.add("Cast", [paddings], "wide", [ir.AttrInt64("to", int(ir.DataType.INT64))])
    turned = body.add("Transpose", [wide], "turned", [ir.AttrInt64s("perm", [1, 0])])
    pads = body.add("Reshape", [turned, body.integers([-1], "vector")], "pads")
    mode = [ir.RefAttr("mode", "mode", ir.AttributeType.STRING)]
    y = body.add("Pad", [x, pads, *fill], "y", mode)
    attributes = [ir.Attr("mode", ir.AttributeType.STRING, None)]
    return body.finish(FILLED if filled else PADDED, [x, paddings, *fill], y, attributes)


def _pad(operation: Operation, builder: Builder) -> None:
    pad(operation, builder)


def pad(operation: Operation, builder: Builder, fill: ir.Value | None = None) -> None:
    """The nodes of pad and padv2.

    Args:
        operation: what is computed.
        builder: takes the nodes.
        fill: what stands around, where it is not the operand or 0.
    """
    if fill is None and len(operation.inputs) > 2:
        fill = builder.value(operation.inputs[2])
    _around(builder, operation, "constant", fill)


def _match_pad(root: ir.Node, scope: Scope) -> Operation | None:
    paddings, value = _paddings(root, scope, "constant"), given(root, 2)
    if paddings is None or (value is not None and scope.number(value) != 0.0):
        return None
    return single("pad", root, (given(root, 0), paddings))


def _match_pad_with(root: ir.Node, scope: Scope) -> Operation | None:
    paddings, value = _paddings(root, scope, "constant"), given(root, 2)
    if paddings is None or value is None:
        return None
    return single("padv2", root, (given(root, 0), paddings, value))


def _paddings(node: ir.Node, scope: Scope, mode: str) -> Operand:
    """The pairs of a Pad of a mode; None where they can't be said as such."""
    if text(node, "mode", "constant") != mode:
        return None
    if node.domain == "w2e":
        return given(node, 1)
    pairs = unpadded(node, scope)
    return None if pairs is None else int32("paddings", pairs)


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


def _mirror(operation: Operation, builder: Builder) -> None:
    x, paddings = operation.inputs
    if operation.text("mode", "REFLECT") == "REFLECT":
        _around(builder, operation, "reflect", None)
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
    paddings = _paddings(root, scope, "reflect")
    if paddings is None:
        return None
    return single("mirror_pad", root, (given(root, 0), paddings), {"mode": "REFLECT"})


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
    more = len(numbers) - extent
    pairs = ((before, more - before) for before in range(more + 1))
    # An axis of one index repeats it on either side: any split is right that LiteRT takes.
    fitting = (
        (before, after)
        for before, after in pairs
        if max(before, after) <= extent
        and (numbers[before], numbers[before + extent - 1]) == (0, extent - 1)
    )
    return next((p for p in fitting if mirrored(extent, p).tolist() == numbers), None)


KINDS = (
    Kind(name="pad", build=_pad, roots=("Pad", f"w2e::{PADDED}"), match=_match_pad),
    Kind(name="padv2", build=_pad, roots=("Pad", f"w2e::{FILLED}"), match=_match_pad_with),
    Kind(
        name="mirror_pad",
        build=_mirror,
        roots=("Pad", f"w2e::{PADDED}", "Gather"),
        match=_match_mirror,
    ),
)
