"""Padding of quantized tensors: what is added is the code of 0, a given code, or a copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from w2e_bridge.kernels import padding
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Operation
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.moving import fill_of, moved, moves
from w2e_onnx.lowering.litert.rules import Rule


def _pad(call: Call) -> Sequence[ir.Value]:
    fill = fill_of(call, call.outputs[0], widened=True)

    def build(operation: Operation, builder: Builder) -> None:
        padding.pad(operation, builder, fill)

    return moved(call, build, widened=True)


RULES: Mapping[str, Rule] = {
    "pad": _pad,
    "padv2": moves(widened=True),
    "mirror_pad": moves(widened=True),
}
