"""LSTM over a sequence: which kernel an operation has, and the loop over its steps.

tensorflow/lite/kernels/unidirectional_sequence_lstm.cc, `Eval`: by the types of the input and of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.lstm import turned
from w2e_bridge.kernels.lstm_cell import steps_of, time_first
from w2e_bridge.numerics import lstm as numbers
from w2e_onnx.lowering.litert import lstm_basic, lstm_hybrid
from w2e_onnx.lowering.litert import lstm_parts as parts
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.lstm_integer import Cell, bound, known, product, rescaled, saturated
from w2e_onnx.lowering.litert.lstm_parts import scale_of, value_of, zero_of
from w2e_onnx.lowering.litert.lstm_step import step_of
from w2e_onnx.lowering.litert.rules import NotHere, Rule


def unidirectional(call: Call) -> Sequence[ir.Value]:
    """The rule of UNIDIRECTIONAL_SEQUENCE_LSTM."""
    return integer(call) if call.operand(0).quantized is not None else hybrid(call)


def hybrid(call: Call) -> Sequence[ir.Value]:
    """The rule of the operators that have no integer kernel."""
    if call.operand(0).dynamic is None:
        raise NotHere("codes of another kind than its kernels know")
    return lstm_hybrid.rule(call)


def integer(call: Call) -> Sequence[ir.Value]:
    """The kernel of integers."""
    cell = known(call)
    direction, layout = cell.direction, cell.direction.layout
    # Norms are too many nodes to write them out for each step.
    steps = 0 if direction.normalized else steps_of(call.operation)
    first, body = time_first(call.operation), parts.Shared(call, steps)
    x = value_of(direction.needed(layout.input))
    sequence = x if first else turned(body, x, call.operation, (-1, 1, 0))
    slices = _from_input(call, cell, sequence)
    before = call.cast(value_of(direction.needed(layout.state)), "float64")
    step = step_of(call, cell)
    begin = [value_of(direction.needed(layout.hidden)), before]
    (last, kept), every = body.over(step.run, begin, slices)
    output = every if first else turned(body, every, call.operation, (1, -1, 0))
    return [output, last, call.cast(kept, "int16")]


def _from_input(call: Call, cell: Cell, sequence: ir.Value) -> ir.Value:
    """What the sequence gives to all gates of all steps, (time, batch, gates)."""
    direction, layout = cell.direction, cell.direction.layout
    x, weights = direction.needed(layout.input), direction.each(layout.weights)
    most = bound(parts.weights_of(weights), zero_of(x))
    sums = product(call, sequence, parts.matrix(call, weights), x.zero_point)
    if not direction.normalized:  # else the bias comes behind the norm
        bias = direction.each(layout.bias)
        most += max(int(np.abs(slot.array().astype(np.int64)).max(initial=0)) for slot in bias)
        sums = call.add("Add", [sums, parts.joined(call, [value_of(slot) for slot in bias])])
    scales = [
        numbers.product_scale(scale_of(w), scale_of(x), gate)
        for w, gate in zip(weights, cell.gate_scales, strict=True)
    ]
    return saturated(call, rescaled(call, sums, scales, most, direction.units))


def single(call: Call) -> Sequence[ir.Value]:
    """The rule of LSTM."""
    return lstm_basic.rule(call) if call.operation.text("kernel_type") == "BASIC" else hybrid(call)


RULES: Mapping[str, Rule] = {
    "unidirectional_sequence_lstm": unidirectional,
    "bidirectional_sequence_lstm": hybrid,
    "lstm": single,
}
