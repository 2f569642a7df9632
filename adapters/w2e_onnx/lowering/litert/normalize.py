"""LOG_SOFTMAX of 8-bit codes; the table of normalizations.

XNNPACK takes none of them with codes. Measured against ai-edge-litert 2.3.0, rows of 1 to 500: no code
differs.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics.softmax import (
    DIFF_BITS,
    LOG_BITS,
    SUM_BITS,
    exponentials,
    fixed,
    reverse_multiplier,
)
from w2e_onnx.lowering.litert import l2, softmax
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.fixed_point import multiply
from w2e_onnx.lowering.litert.gemmlowp import BITS, Fixed
from w2e_onnx.lowering.litert.lookup import look_up
from w2e_onnx.lowering.litert.rules import NotHere, Rule
from w2e_onnx.lowering.litert.unary import affine, pair

BYTES = ("int8", "uint8")


def _log_softmax(call: Call) -> list[ir.Value]:
    _, y = pair(call, BYTES)
    if y.scale != 16 / 256 or y.zero != y.high:
        raise NotHere("LOG_SOFTMAX of other scales than LiteRT takes")
    return [_log_fixed(call) if call.reference else _log_float(call)]


def _log_float(call: Call) -> ir.Value:
    x, y = call.operand(0), call.outputs[0]
    distance, highest = softmax.distances(call)
    table = call.constant("table", exponentials(affine(x).scale, 1.0))
    total = softmax.running_sum(call, look_up(call, table, distance, x))
    # ONNX Runtime's own float32 Log is a unit of the last place off here and there.
    log = call.cast(call.add("Log", [call.cast(total, "float64")]), "float32")
    shift = call.literal(np.float32(x.shift), "shift")
    assert x.value is not None
    code, top = (
        call.add("Sub", [call.cast(value, "float32"), shift])
        if x.shift
        else call.cast(value, "float32")
        for value in (x.value, highest)
    )
    above = call.add("Add", [call.add("Mul", [x.scale, top]), log])
    start = call.add("Div", [above, y.scale])
    factor = call.add("Div", [x.scale, y.scale])
    steps = call.add("Sub", [call.add("Mul", [factor, code]), start])
    one = call.literal(np.float32(1), "one")
    return call.add("QuantizeLinear", [steps, one, y.zero_point])


def _log_fixed(call: Call) -> ir.Value:
    math, x = Fixed(call), call.operand(0)
    known = fixed(affine(x).scale, 1.0, once=affine(x).type == "uint8")
    distance, _ = softmax.distances(call)
    addends = look_up(call, call.constant("addends", known.addends), distance, x)
    last = softmax.last_axis(call)
    log = math.log_of_sum(
        call.add("ReduceSum", [addends, last], {"keepdims": 1}), SUM_BITS, DIFF_BITS
    )
    scaled = look_up(call, call.constant("scaled", known.scaled), distance, x)
    steps = math.divided(math.subtract(scaled, log), BITS - DIFF_BITS - LOG_BITS)
    code = math.add(steps, 255)
    # Beyond that distance the scaled one would leave its 32 bits.
    reverse = (np.asarray(number, np.int32) for number in reverse_multiplier(known))
    bound = multiply(call, call.cast(math.subtract(log, 1 << BITS), "float64"), *reverse)
    farthest = call.constant("farthest", np.asarray(-known.farthest - 1, np.float64))
    limit = call.add("Max", [bound, farthest])
    near = call.add("Less", [call.cast(distance, "float64"), call.add("Neg", [limit])])
    zero = math.number(0)
    bounded = call.add("Clip", [code, zero, math.number(255)])
    return call.cast(call.add("Where", [near, bounded, zero]), "uint8")


RULES: dict[str, Rule] = {
    "softmax": softmax.rule,
    "log_softmax": _log_softmax,
    "l2_normalization": l2.rule,
}
