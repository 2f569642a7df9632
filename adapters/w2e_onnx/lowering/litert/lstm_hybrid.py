"""LSTM of floats with weights of 8 bits: tensorflow/lite/kernels/lstm_eval.cc, `LstmStepHybrid`.

Of 300 sequences of 45 steps with 36 units, 2 had a state that was rounded the other way (`lstm_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from w2e_bridge.kernels.lstm import outputs_of
from w2e_bridge.kernels.lstm_cell import OPERATORS, steps_of
from w2e_bridge.kernels.state import states_of
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.lstm_parts import Direction
from w2e_onnx.lowering.litert.lstm_rows import Wide, operands_of, products_of


def rule(call: Call) -> Sequence[ir.Value]:
    """The rule of all three operators."""
    kind, attributes = call.operation.kind, call.operation.attributes
    layouts, hidden = OPERATORS[kind].directions, states_of(kind, attributes)[::2]
    # What is rounded, or added to a product, is of 32 bits.
    narrow = {0, *(layout.auxiliary for layout in layouts), *(place for place, _ in hidden)}
    for layout in layouts:
        normalized = Direction(call=call, layout=layout).normalized
        narrow |= set() if normalized else set(layout.bias)
    body = Wide(call, steps_of(call.operation))
    wide = set(range(len(call.operands))) - narrow
    operands = operands_of(call, body, wide=wide)
    return outputs_of(body, call.operation, operands, products_of(call))
