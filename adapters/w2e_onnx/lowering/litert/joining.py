"""Several values put together.

Kernels copy codes, but for CONCATENATION of uint8 codes with another scale than the output's
(`numerics.elementwise.join_scaled`; the same in both kernel sets).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from w2e_bridge.numerics import elementwise
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.moving import moved
from w2e_onnx.lowering.litert.pairs import affine, operand, same, types, unary
from w2e_onnx.lowering.litert.rules import NotHere, Rule


def _concatenation(call: Call) -> Sequence[ir.Value]:
    if call.operation.text("fused_activation_function") != "NONE":
        raise NotHere("a fused activation")
    slots = [slot for slot in call.operands if slot is not None]
    out = affine(call.outputs[0])
    if all(affine(slot).same(out) and slot.type == out.type for slot in slots):
        return moved(call)
    types(call, "uint8")
    parts = []
    for index in range(len(slots)):
        x = operand(call, index)
        parts.append(unary(call, x, elementwise.join_scaled(x.codes, x.affine, out)))
    return [call.add("Concat", parts, {"axis": call.operation.integer("axis")})]


def _pack(call: Call) -> Sequence[ir.Value]:
    same(call)
    return moved(call)


RULES: dict[str, Rule] = {"concatenation": _concatenation, "pack": _pack}
