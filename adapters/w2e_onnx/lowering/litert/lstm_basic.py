"""LSTM's old kernel on uint8 codes with an int16 state of 4 integer bits, one step at a time.

Source: tensorflow/lite/kernels/internal/optimized/optimized_ops.h, `LstmCell<4>`, whose product is ruy's
(halves of its second rounding go up); both kernel sets have it. It takes every zero point of an activation
to be 128.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics import lstm as numbers
from w2e_bridge.numerics.fixed_point import quantize_multiplier
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert import lstm_parts as parts
from w2e_onnx.lowering.litert.call import SHIFT, Call
from w2e_onnx.lowering.litert.lstm_integer import HIGHEST, LOWEST, NUDGE, saturated
from w2e_onnx.lowering.litert.lstm_parts import scale_of, value_of
from w2e_onnx.lowering.litert.rules import NotHere

STATE_BITS, UNIT = 4, 2.0**-15
STEP = 1 / float(numbers.GATE_SCALE)


def rule(call: Call) -> Sequence[ir.Value]:
    """The rule."""
    x, before, weights, bias, state = (call.operand(place) for place in range(5))
    kinds = (x.type, before.type, weights.type, bias.type, state.type)
    exponent = numbers.power_of_two(scale_of(state))
    if kinds != ("uint8", "uint8", "uint8", "int32", "int16") or exponent != STATE_BITS - 15:
        raise NotHere("codes of other types, or a state of other bits, than the kernel has")
    joined = parts.joined(call, [value_of(x), value_of(before)], -1)
    turned = call.add("Transpose", [value_of(weights)], {"perm": (1, 0)})
    middle = call.literal(np.uint8(SHIFT), "middle")
    sums = call.add("MatMulInteger", [joined, turned, middle, weights.zero_point])
    sums = call.cast(call.add("Add", [sums, value_of(bias)]), "float64")
    multiplier, shift = quantize_multiplier(np.float64(STEP * scale_of(bias)))
    gates = saturated(call, fixed_point.multiply(call, sums, multiplier, shift, up=True))
    after, output = _cell(call, gates, call.cast(value_of(state), "float64"))
    kept = call.cast(after, "int16")
    results = [output, kept, joined, call.cast(gates, "int16"), output, kept]
    return results[: len(call.outputs)]


def _cell(call: Call, gates: ir.Value, state: ir.Value) -> tuple[ir.Value, ir.Value]:
    """The next state, and the output's codes."""
    taken, candidate, forget, output = call.add_many(
        "Split", [gates], {"axis": -1, "num_outputs": 4}, count=4
    )
    sigmoid = parts.table(call, numbers.sigmoid_table())
    tanh = parts.table(call, numbers.tanh_table(numbers.GATE_BITS))
    taken, forget, output = (_looked_up(call, sigmoid, gate) for gate in (taken, forget, output))
    new = _product(call, taken, _looked_up(call, tanh, candidate))
    new = _divided(call, new, STATE_BITS)
    after = saturated(call, call.add("Add", [new, _product(call, forget, state)]))
    two = call.literal(np.float64(2.0 ** (STATE_BITS - numbers.GATE_BITS)), "two")
    reduced = saturated(call, call.add("Mul", [after, two]))
    hidden = _divided(call, _product(call, output, _looked_up(call, tanh, reduced)), 8)
    held = saturated(call, hidden, -SHIFT, SHIFT - 1)
    codes = call.add("Add", [held, call.literal(np.float64(SHIFT), "zero")])
    return after, call.cast(codes, "uint8")


def _looked_up(call: Call, table: ir.Value, gate: ir.Value) -> ir.Value:
    first = call.literal(np.int32(-LOWEST), "first")
    return call.add("Gather", [table, call.add("Add", [call.cast(gate, "int32"), first])])


def _product(call: Call, a: ir.Value, b: ir.Value) -> ir.Value:
    """`SaturatingRoundingDoublingHighMul` of 16 bits: halves go up."""
    scaled = call.add("Mul", [call.add("Mul", [a, b]), call.literal(np.float64(UNIT), "unit")])
    whole = call.add("Floor", [call.add("Add", [scaled, fixed_point.half(call)])])
    return call.add("Min", [whole, call.literal(np.float64(HIGHEST), "most")])


def _divided(call: Call, value: ir.Value, exponent: int) -> ir.Value:
    """`RoundingDivideByPOT`."""
    factor = call.literal(np.float64(np.ldexp(NUDGE, -exponent)), "divisor")
    return call.add("Round", [call.add("Mul", [value, factor])])
