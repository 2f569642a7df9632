"""Comparisons and choice.

Kernels scale both operands to whole numbers (`numerics.elementwise.compared`) and compare those; of
8-bit codes that is a bound for one operand's codes, given the other's. Both kernel sets do the
same. 16-bit codes are compared as they are, whatever their scales, but by EQUAL and NOT_EQUAL.
Measured against ai-edge-litert 2.3.0 on x86 without a difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics import elementwise
from w2e_onnx.lowering.litert import whole
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.lookup import look_up
from w2e_onnx.lowering.litert.moving import moved, travelling
from w2e_onnx.lowering.litert.pairs import EIGHT, Operand, affine, operand, same
from w2e_onnx.lowering.litert.rules import NotHere, Rule

OPS = {
    "equal": "Equal",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
}
MIRRORED = {
    "equal": "equal",
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}
"""What holds for (b, a) where a kind holds for (a, b)."""

Bounds = NDArray[np.int64]


def _comparison(call: Call) -> Sequence[ir.Value]:
    slots = [call.operand(0), call.operand(1)]
    kinds = {slot.type for slot in slots if slot.quantized is not None}
    kind = call.operation.kind
    name = "equal" if kind == "not_equal" else kind
    if kinds == {"int16"}:
        made = _sixteen(call, slots, name)
    elif len(kinds) == 1 and kinds <= set(EIGHT):
        made = _eight(call, name)
    else:
        raise NotHere(f"types {', '.join(sorted(kinds))}")
    return [call.add("Not", [made]) if kind == "not_equal" else made]


def _sixteen(call: Call, slots: list[Slot], kind: str) -> ir.Value:
    a, b = (affine(slot) for slot in slots)
    values = [slot.value for slot in slots]
    if kind == "equal" and not (a.same(b) and _told_apart(a)):
        if max(a.scale, b.scale) >= 1:
            raise NotHere("16-bit codes of scale 1 or more")
        values = [
            whole.term(call, slot, x.centred(x.all()), float(x.scale), elementwise.COMPARED)
            for slot, x in zip(slots, (a, b), strict=True)
        ]
    return call.add(OPS[kind], values)


def _told_apart(x: elementwise.Affine) -> bool:
    """Whether no two codes are scaled to the same number."""
    return bool((np.diff(elementwise.compared(x.all(), x)) > 0).all())


def _eight(call: Call, kind: str) -> ir.Value:
    a, b = operand(call, 0), operand(call, 1)
    if a.affine.same(b.affine) and _told_apart(a.affine):
        return call.add(OPS[kind], [travelling(call, x.slot) for x in (a, b)])
    if a.places is not None and b.places is None:
        return _bounded(call, MIRRORED[kind], b, a)
    return _bounded(call, kind, a, b)


def _bounded(call: Call, kind: str, a: Operand, b: Operand) -> ir.Value:
    """Compare a's codes with the bounds that b's codes set."""
    numbers = elementwise.compared(a.affine.all(), a.affine)
    others = elementwise.compared(b.codes + b.affine.low, b.affine)
    # Codes from 0 on below `first` are less than b, those from `after` on are greater.
    first, after = (np.searchsorted(numbers, others, side) for side in ("left", "right"))
    codes = travelling(call, a.slot)
    if kind in ("less", "greater_equal"):
        return _against(call, OPS[kind], codes, (b, first))
    if kind in ("less_equal", "greater"):
        op = "Less" if kind == "less_equal" else "GreaterOrEqual"
        return _against(call, op, codes, (b, after))
    if (after - first > 1).any():
        above = _against(call, "GreaterOrEqual", codes, (b, first))
        return call.add("And", [above, _against(call, "Less", codes, (b, after))])
    return _against(call, "Equal", codes, (b, np.where(after > first, first, -1)))


def _against(call: Call, op: str, codes: ir.Value, bounds: tuple[Operand, Bounds]) -> ir.Value:
    b, bound = bounds
    if b.places is not None and bound.min() >= 0 and bound.max() <= 255:
        return call.add(op, [codes, call.constant("bound", bound[b.places].astype(np.uint8))])
    wide = call.cast(codes, "int32")
    if b.places is not None:
        return call.add(op, [wide, call.constant("bound", bound[b.places].astype(np.int32))])
    table = call.constant("bounds", bound.astype(np.int32))
    index = call.cast(travelling(call, b.slot), "int32")
    return call.add(op, [wide, look_up(call, table, index, b.slot)])


def _choice(call: Call) -> Sequence[ir.Value]:
    """SELECT_V2 moves codes: all values have one scale, or codes would mean something else."""
    same(call)
    return moved(call, widened=True)


RULES: dict[str, Rule] = {
    **dict.fromkeys((*OPS, "not_equal"), _comparison),
    "select": _choice,
    "select_v2": _choice,
}
