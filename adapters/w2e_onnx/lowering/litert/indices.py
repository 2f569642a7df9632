"""Codes by their indices: nothing is computed but the sums of scattered ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels import scatter
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Operation
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.moving import WIDE, moved, moves
from w2e_onnx.lowering.litert.rules import NotHere, Rule


def _rows(call: Call) -> Sequence[ir.Value]:
    """embedding_lookup of a quantized table: real numbers, code times scale, one scale or one a row.

    tflite/kernels/embedding_lookup.cc, EvalHybrid: the zero point is not looked at (it has to be 0). Of 4
    and 2 bits it multiplies the code, moved to the top of a byte, with the scale, divided by as much: the
    same number.
    """
    indices, table = call.operand(0), call.operand(1)
    quantized = table.quantized
    if quantized is None or call.outputs[0].quantized is not None:
        raise NotHere("a look-up that isn't from codes to real numbers")
    if quantized.axis not in (None, 0):
        raise NotHere("a table with scales along another axis than its rows")
    assert indices.value is not None
    assert table.value is not None
    assert table.zero_point is not None
    rank = 2 if table.shape is None else len(table.shape)
    axes = call.literal(np.arange(1, rank, dtype=np.int64))
    codes = table.value if table.carried == "int8" else call.cast(table.value, "int8")
    if table.carried == "int4":
        # ONNX Runtime takes no input of four bits that nothing reads, such as this zero.
        zero = call.cast(table.zero_point, "int8")
        zero = zero if quantized.axis is None else call.add("Unsqueeze", [zero, axes])
        codes = call.add("Sub", [codes, zero])
    found = call.cast(call.add("Gather", [codes, indices.value], {"axis": 0}), "float32")
    scale = table.scale
    if quantized.axis == 0:
        of_rows = call.add("Gather", [scale, indices.value], {"axis": 0})
        scale = call.add("Unsqueeze", [of_rows, axes])
    return [call.add("Mul", [found, scale])]


def _where(call: Call) -> Sequence[ir.Value]:
    """Indices of codes that are not 0: tflite/kernels/where.cc doesn't look at the zero point."""
    slot = call.operand(0)
    zero = call.add("Equal", [slot.value, call.literal(_code(slot, 0))])
    found = call.add("NonZero", [call.add("Not", [zero])])
    return [call.add("Transpose", [found], {"perm": [1, 0]})]


def _code(slot: Slot, code: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    """A code as it travels."""
    return np.asarray(code + slot.shift, slot.carried)


def _scatter(call: Call) -> Sequence[ir.Value]:
    """Codes of one place add up in their own type, on nothing: scales and zero points play no part."""
    indices, updates, shape = (call.operand(i) for i in range(3))
    assert updates.value is not None
    assert indices.value is not None
    assert shape.value is not None
    codes = call.cast(updates.value, WIDE)
    shift = call.literal(np.asarray(updates.shift, np.int32))
    codes = call.add("Sub", [codes, shift]) if updates.shift else codes
    zero = {"value": ir.tensor(np.zeros(1, np.int32))}
    base = call.add("ConstantOfShape", [call.cast(shape.value, "int64")], zero)
    places = call.cast(indices.value, "int64")
    total = call.add("ScatterND", [base, places, codes], {"reduction": "add"})
    total = call.add("Add", [total, shift]) if updates.shift else total
    return [call.cast(total, call.outputs[0].carried)]


def _diagonal(call: Call) -> Sequence[ir.Value]:
    """Beside the diagonal stands the code 0, whatever the zero point: tflite/kernels/matrix_diag.cc."""
    slot = call.operand(0)
    fill = call.literal(np.asarray(0, WIDE) if slot.carried == "int16" else _code(slot, 0))

    def build(operation: Operation, builder: Builder) -> None:
        scatter.diagonal(operation, builder, fill)

    return moved(call, build, widened=True)


RULES: Mapping[str, Rule] = {
    "gather": moves(),
    "gather_nd": moves(),
    "embedding_lookup": _rows,
    "one_hot": moves(widened=True),
    "topk_v2": moves(),
    "unique": moves(),
    "where": _where,
    "scatter_nd": _scatter,
    "matrix_diag": _diagonal,
    "matrix_set_diag": moves(widened=True),
}
