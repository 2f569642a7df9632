"""Simple recurrent networks of floats with weights of 8 bits, and SVDF.

Sources: tensorflow/lite/kernels/internal/kernel_utils.cc (`RnnBatchStep`), internal/reference/svdf.h. Both
kernel sets have these kernels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels import recurrent
from w2e_bridge.numerics.fixed_point import quantize_multiplier
from w2e_bridge.numerics.lstm import product_scale
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert import lstm_parts as parts
from w2e_onnx.lowering.litert.call import SHIFT, Call
from w2e_onnx.lowering.litert.lstm_integer import bound, product, rescaled, saturated
from w2e_onnx.lowering.litert.lstm_parts import Shared, scale_of, value_of, zero_of
from w2e_onnx.lowering.litert.lstm_rows import Wide, operands_of, products_of
from w2e_onnx.lowering.litert.rules import NotHere, Rule


def network(call: Call) -> Sequence[ir.Value]:
    """The rule of RNN, UNIDIRECTIONAL_SEQUENCE_RNN and BIDIRECTIONAL_SEQUENCE_RNN."""
    if call.operand(0).dynamic is None:
        raise NotHere("codes of another kind than its kernels know")
    body = Wide(call)
    return recurrent.network(body, call.operation, operands_of(call, body), products_of(call))


def svdf(call: Call) -> Sequence[ir.Value]:
    """The rule of SVDF."""
    if call.operand(0).quantized is not None:
        return _integer(call)
    if call.operand(0).dynamic is None:
        raise NotHere("codes of another kind than its kernels know")
    body = Shared(call)
    return recurrent.svdf(
        body, call.operation, operands_of(call, body, real={2}), products_of(call)
    )


def _integer(call: Call) -> Sequence[ir.Value]:
    """`EvalIntegerSVDF`: a memory of int16; no activation but the ends of int8."""
    x, weights, time, state = (call.operand(place) for place in (0, 1, 2, 4))
    if (x.type, time.type, state.type) != ("int8", "int16", "int16") or zero_of(state):
        raise NotHere("codes of other types than int8 and int16")
    body, operation = Shared(call), call.operation
    sums = product(call, value_of(x), parts.matrix(call, [weights]), x.zero_point)
    scale = product_scale(scale_of(x), scale_of(weights), scale_of(state))
    most = bound(parts.weights_of([weights]), zero_of(x))
    new = call.cast(saturated(call, rescaled(call, sums, [scale], most, 1)), "int16")
    whole, kept = recurrent.moved(body, operation, value_of(state), new)
    wide = [call.cast(value, "float64") for value in (whole, value_of(time))]
    total = recurrent.summed(body, operation, call.add("Mul", wide))
    if (bias := call.optional(3)) is not None:
        total = call.add("Add", [total, call.cast(value_of(bias), "float64")])
    return [_output(call, _wrapped(call, total)), kept]


def _wrapped(call: Call, total: ir.Value) -> ir.Value:
    """Sums as the kernel's 32 bits hold them."""
    time, bias = call.operand(2), call.optional(3)
    rank = call.operation.integer("rank", 1)
    if time.tensor is None or (bias is not None and bias.tensor is None):
        raise NotHere("weights that are no constants")
    most = (
        np.abs(time.array().astype(np.int64)).sum(1).reshape(-1, rank).sum(1).max(initial=0) << 15
    )
    if bias is not None:
        most += np.abs(bias.array().astype(np.int64)).max(initial=0)
    if most < 2**31:
        return total
    for dtype in ("int64", "int32", "float64"):
        total = call.cast(total, dtype)
    return total


def _output(call: Call, total: ir.Value) -> ir.Value:
    time, state, output = call.operand(2), call.operand(4), call.outputs[0]
    scale = product_scale(scale_of(state), scale_of(time), scale_of(output))
    multiplier, shift = quantize_multiplier(np.float64(scale))
    value = fixed_point.multiply(call, total, multiplier, shift)
    zero = call.constant("zero", np.asarray(zero_of(output) + SHIFT, np.float64))
    moved = saturated(call, call.add("Add", [value, zero]), 0, 2 * SHIFT - 1)
    return call.cast(moved, "uint8")


RULES: Mapping[str, Rule] = {**dict.fromkeys(recurrent.NETWORKS, network), "svdf": svdf}
