"""SOFTMAX along the last axis: in float32 (default kernels, 8 bits), or in fixed point.

Measured against ai-edge-litert 2.3.0: no code differs in rows of 1 to 1000, among them constant ones.
XNNPACK takes no SOFTMAX of codes, so the default kernels are TensorFlow Lite's optimized ones.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics.softmax import (
    SUM_BITS,
    exponentials,
    exponentials_16,
    fixed,
    multiplier_16,
    reciprocals_16,
)
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.fixed_point import half, multiply
from w2e_onnx.lowering.litert.gemmlowp import BITS, Fixed
from w2e_onnx.lowering.litert.lookup import elements, interpolated, look_up
from w2e_onnx.lowering.litert.rules import NotHere
from w2e_onnx.lowering.litert.unary import affine, pair

ALMOST_HALF = np.nextafter(np.float32(0.5), np.float32(0))
"""Added to a positive float32 and cut off, it rounds to the nearest, halves up; 0.5 would take the number
just below a half up as well."""

MANY = 2048
"""Codes from which on rows are added up as columns."""


def last_axis(call: Call) -> ir.Value:
    """The last axis, as a list."""
    return call.literal(np.asarray([-1], np.int64), "last")


def distances(call: Call) -> tuple[ir.Value, ir.Value]:
    """How far each code lies below its row's highest, and that: int32, as they travel."""
    x = call.operand(0)
    assert x.value is not None
    code = call.cast(x.value, "int32")
    highest = call.add("ReduceMax", [code, last_axis(call)], {"keepdims": 1})
    return call.add("Sub", [highest, code]), highest


def running_sum(call: Call, numbers: ir.Value) -> ir.Value:
    """The sum of each row from left to right, which rounds as a loop does; ReduceSum adds otherwise."""
    sums = call.add("CumSum", [numbers, call.literal(np.int64(-1), "axis")])
    return call.add("Gather", [sums, last_axis(call)], {"axis": -1})


def rule(call: Call) -> list[ir.Value]:
    """The codes of a SOFTMAX."""
    x, y = pair(call, ("int8", "uint8", "int16"))
    wanted = {"int8": -128, "int16": 0}.get(y.type, y.zero)
    if y.zero != wanted or (x.type == "int16" and x.zero):
        raise NotHere("SOFTMAX of other zero points than LiteRT takes")
    if y.type == "int16":
        return [_wide(call)]
    return [_fixed(call) if call.reference else _float(call)]


def _float(call: Call) -> ir.Value:
    x = call.operand(0)
    table = call.constant(
        "table", exponentials(affine(x).scale, call.operation.number("beta", 1.0))
    )
    if not _by_columns(x):
        distance, _ = distances(call)
        found = look_up(call, table, distance, x)
        return _rounded(call, found, running_sum(call, found))
    # Row by row ONNX Runtime adds whole vectors, from the first to the last.
    assert x.value is not None
    assert x.shape is not None
    rows = call.constant("rows", np.asarray([-1, x.shape[-1]], np.int64))
    turned = call.add("Transpose", [call.add("Reshape", [x.value, rows])], {"perm": [1, 0]})
    first = call.literal(np.asarray([0], np.int64), "first")
    highest = call.add("ReduceMax", [turned, first], {"keepdims": 1})
    distance = call.add("Sub", [call.cast(highest, "int32"), call.cast(turned, "int32")])
    found = look_up(call, table, distance, x)
    total = call.add("ReduceSum", [found, first], {"keepdims": 1})
    codes = call.add("Transpose", [_rounded(call, found, total)], {"perm": [1, 0]})
    return call.add("Reshape", [codes, call.add("Shape", [x.value])])


def _by_columns(x: Slot) -> bool:
    """Whether rows are so many that two Transposes cost less than CumSum."""
    count, length = elements(x), x.shape[-1] if x.shape else None
    return count is not None and isinstance(length, int) and count >= MANY and count >= 2 * length


def _rounded(call: Call, found: ir.Value, total: ir.Value) -> ir.Value:
    y = affine(call.outputs[0])
    steps = np.float32(1) / y.scale
    if float(steps) * float(y.scale) == 1.0 and np.frexp(y.scale)[0] == 0.5:
        # 1 / (total * scale), of a scale that is a power of two.
        inverse = call.add("Div", [call.constant("steps", np.asarray(steps)), total])
    else:
        one = call.literal(np.float32(1), "one")
        inverse = call.add("Div", [one, call.add("Mul", [total, call.outputs[0].scale])])
    nudge = ALMOST_HALF if y.type == "int8" else np.float32(0.5)
    raised = call.add("Add", [call.add("Mul", [found, inverse]), call.literal(nudge, "nudge")])
    return call.cast(call.add("Min", [raised, call.literal(np.float32(255), "highest")]), "uint8")


def _fixed(call: Call) -> ir.Value:
    math = Fixed(call)
    known = fixed(affine(call.operand(0)).scale, call.operation.number("beta", 1.0))
    distance, _ = distances(call)
    addends = look_up(call, call.constant("addends", known.addends), distance, call.operand(0))
    total = call.add("ReduceSum", [addends, last_axis(call)], {"keepdims": 1})
    bits = math.bit_length(total)
    lengths = np.arange(33, dtype=np.int64)
    one_plus = math.product(total, math.select(np.int64(1) << (32 - lengths), bits))
    inverse = math.reciprocal_of_one_plus(math.subtract(one_plus, 1 << BITS))
    powers = call.constant("exponentials", known.exponentials)
    found = math.times(look_up(call, powers, distance, call.operand(0)), inverse)
    # Bits over one of the sum, and 8 of the output, to go.
    exponent = np.maximum(lengths + SUM_BITS - 32 + BITS - 8, 0)
    nudge = math.select(np.int64(1) << np.maximum(exponent - 1, 0), bits)
    rounded = math.quotient(
        call.add("Add", [found, nudge]), math.select(np.int64(1) << exponent, bits)
    )
    return call.cast(call.add("Min", [rounded, math.number(255)]), "uint8")


def _wide(call: Call) -> ir.Value:
    math = Fixed(call)
    distance, _ = distances(call)
    found = look_up(call, _exponentials(call), distance, call.operand(0))
    total = call.add("ReduceSum", [found, last_axis(call)], {"keepdims": 1})
    whole = call.cast(total, "int64")
    bits, lengths = math.bit_length(whole), np.arange(33, dtype=np.int64)
    # The sum with 17 bits, without its first: ((sum << (31 - bits)) + 2**13) >> 14, minus 2**16.
    raised = math.product(whole, math.select(np.int64(1) << np.maximum(31 - lengths, 0), bits))
    short = math.subtract(math.quotient(math.add(raised, 1 << 13), 1 << 14), 1 << 16)
    position = call.add("Min", [short, math.number((1 << 16) - 1)])
    inverse = call.add("Gather", [interpolated(call, reciprocals_16(), fixed=True), position])
    # exponential * inverse / 2**(bits - 1), halves up; exact in float64.
    units = call.literal(np.ldexp(1.0, -np.maximum(lengths - 1, 0)), "units")
    factor = call.add("Mul", [call.cast(inverse, "float64"), call.add("Gather", [units, bits])])
    raised = call.add("Add", [call.add("Mul", [found, factor]), half(call)])
    return call.cast(call.add("Min", [raised, call.literal(np.float64(32767), "highest")]), "int16")


def _exponentials(call: Call) -> ir.Value:
    """An entry for every distance of 16-bit codes, float64; computed at load."""
    scale, beta = affine(call.operand(0)).scale, call.operation.number("beta", 1.0)
    number, shift = multiplier_16(scale, beta)
    ends = [call.literal(np.float64(n), "bound") for n in (0, -(1 << 16), -1)]
    scaled = multiply(
        call,
        call.add("Range", ends),
        np.asarray(number, np.int32),
        np.asarray(shift, np.int32),
        bound=1 << 16,
    )
    moved = call.add("Add", [scaled, call.literal(np.float64((1 << 16) - 1), "highest")])
    position = call.add("Max", [moved, call.literal(np.float64(0), "zero")])
    table = interpolated(call, exponentials_16(), fixed=True)
    return call.cast(call.add("Gather", [table, call.cast(position, "int32")]), "float64")
