"""Positions moved between depth, space and batch: a Reshape, a Transpose and a Reshape of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from w2e_bridge.kernels import spaces
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Operation
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.moving import fill_of, moved, moves
from w2e_onnx.lowering.litert.rules import NotHere, Rule

TURNED = (0, 1, 3, 2, 4, 5)
"""Puts each axis of blocks behind (or its extent before) the axis it belongs to."""


def _image(call: Call) -> tuple[int, list[int]]:
    """The batch, -1 where it isn't known, and the other extents."""
    shape = call.operand(0).shape
    rest = [] if shape is None else [n for n in shape[1:] if isinstance(n, int)]
    if shape is None or len(shape) != 4 or len(rest) != 3:
        raise NotHere("an image of unknown extent")
    return shape[0] if isinstance(shape[0], int) else -1, rest


def _to_space(call: Call) -> Sequence[ir.Value]:
    batch, (height, width, depth) = _image(call)
    block = call.operation.integer("block_size")
    inner = depth // block**2
    first = (batch, height, width, block, block, inner)
    return _turned(call, first, (batch, height * block, width * block, inner))


def _to_depth(call: Call) -> Sequence[ir.Value]:
    batch, (height, width, depth) = _image(call)
    block = call.operation.integer("block_size")
    first = (batch, height // block, block, width // block, block, depth)
    return _turned(call, first, (batch, height // block, width // block, depth * block**2))


def _turned(call: Call, first: Sequence[int], last: Sequence[int]) -> Sequence[ir.Value]:
    def build(operation: Operation, builder: Builder) -> None:
        x = builder.value(operation.inputs[0])
        split = builder.node("Reshape", [x, builder.integers("blocks", first)])
        turned = builder.node("Transpose", [split], {"perm": list(TURNED)})
        target = builder.integers("shape", last)
        builder.node("Reshape", [turned, target], outputs=operation.outputs)

    return moved(call, build)


def _to_batch(call: Call) -> Sequence[ir.Value]:
    fill = fill_of(call, call.outputs[0], widened=True)

    def build(operation: Operation, builder: Builder) -> None:
        spaces.space_to_batch(operation, builder, fill)

    return moved(call, build, widened=True)


RULES: Mapping[str, Rule] = {
    "depth_to_space": _to_space,
    "space_to_depth": _to_depth,
    "space_to_batch_nd": _to_batch,
    "batch_to_space_nd": moves(),
}
