"""Operations that move codes without looking at them: the canonical nodes, on the codes as they travel.

LiteRT copies codes whatever the scales are, so equal codes come out, moved by 128 or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.kernels.build import Build, Builder
from w2e_bridge.kernels.operation import Constant, Operand
from w2e_bridge.kernels.table import build as canonical
from w2e_onnx.lowering.litert.call import SHIFT, Call, Slot
from w2e_onnx.lowering.litert.rules import NotHere, Rule

WIDE = "int32"
"""What codes of 16 bits are computed with where ONNX Runtime has no kernel for them."""


def moves(build: Build = canonical, *, widened: bool = False) -> Rule:
    """The rule of a kind that moves codes.

    Args:
        build: appends the nodes.
        widened: whether its nodes can't do int16.
    """

    def rule(call: Call) -> Sequence[ir.Value]:
        return moved(call, build, widened=widened)

    return rule


def moved(call: Call, build: Build = canonical, *, widened: bool = False) -> list[ir.Value]:
    """Append the nodes of an operation, and return its outputs.

    Raises:
        NotHere: the nodes can't be built of what is known before the model runs.
    """
    reals = [slot for slot in call.outputs if slot.quantized is None and slot.type == "float32"]
    if reals and any(slot.quantized for slot in call.slots()):
        raise NotHere("real numbers of codes")
    narrow = [slot for slot in call.slots() if slot.quantized and slot.carried == "int16"]
    widened = widened and bool(narrow)
    inputs = tuple(_operand(call, slot, i, widened) for i, slot in enumerate(call.operands))
    outputs = tuple(ir.Value(name=call.fresh("moved")) for _ in call.outputs)
    for made, slot in zip(outputs, call.outputs, strict=True):
        made.type = ir.TensorType(DTYPES[_type(slot, widened)])
    operation = replace(call.operation, inputs=inputs, outputs=outputs)
    builder = Builder(place=call, tensors={}, functions=call.functions)
    try:
        build(operation, builder)
    except UnsupportedError as reason:
        raise NotHere(str(reason)) from reason
    for value in (*inputs, *outputs):
        # A function is called with values of any shape.
        if isinstance(value, ir.Value):
            value.shape = value.type = None
    pairs = zip(outputs, call.outputs, strict=True)
    return [_narrowed(call, made, slot) if widened else made for made, slot in pairs]


def _type(slot: Slot, widened: bool) -> str:
    return WIDE if widened and slot.quantized and slot.carried == "int16" else slot.carried


def _narrowed(call: Call, made: ir.Value, slot: Slot) -> ir.Value:
    return call.cast(made, "int16") if slot.quantized and slot.carried == "int16" else made


def _operand(call: Call, slot: Slot | None, index: int, widened: bool) -> Operand:
    if slot is None:
        return None
    if slot.quantized is None and (slot.tensor is not None or slot.numbers is not None):
        return Constant(array=slot.array(), name=f"operand_{index}")
    value = travelling(call, slot)
    if widened and slot.quantized and slot.carried == "int16":
        value = call.cast(value, WIDE)
    value.type = ir.TensorType(DTYPES[_type(slot, widened) if value is slot.value else _cast(slot)])
    value.shape = None if slot.shape is None else ir.Shape(slot.shape)
    return value


def _cast(slot: Slot) -> str:
    return WIDE if slot.carried == "int16" else "uint8"


def travelling(call: Call, slot: Slot) -> ir.Value:
    """The codes of an operand as those of a value travel: constants are stored in their own type."""
    assert slot.value is not None
    if slot.quantized is None or slot.carried != "int8":
        return slot.value
    unsigned = call.cast(slot.value, "uint8")
    return call.add("BitwiseXor", [unsigned, call.literal(np.asarray(SHIFT, np.uint8))])


def fill_of(call: Call, slot: Slot, *, widened: bool) -> ir.Value | None:
    """The code that stands for the real number 0, None where it is 0."""
    if slot.zero_point is None:
        return None
    if slot.carried != "int16" or not widened:
        return slot.zero_point
    return call.cast(slot.zero_point, WIDE)
