"""Positions moved between depth, space and batch: a Reshape, a Transpose and a Reshape of the codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from w2e_bridge.kernels import spaces
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Operation
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.moving import fill_of, moved, moves
from w2e_onnx.lowering.litert.rules import Rule


def _to_batch(call: Call) -> Sequence[ir.Value]:
    fill = fill_of(call, call.outputs[0], widened=True)

    def build(operation: Operation, builder: Builder) -> None:
        spaces.space_to_batch(operation, builder, fill)

    return moved(call, build, widened=True)


RULES: Mapping[str, Rule] = {
    "depth_to_space": moves(spaces.turned),
    "space_to_depth": moves(spaces.turned),
    "space_to_batch_nd": _to_batch,
    "batch_to_space_nd": moves(),
}
