"""Rectifiers.

XNNPACK takes LEAKY_RELU of 8-bit codes from the default kernels; all else both kernel sets compute
alike. Measured against ai-edge-litert 2.3.0 on x86 over all codes, some 40 scales and zero points
each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics import elementwise
from w2e_bridge.numerics.elementwise import Affine
from w2e_onnx.lowering.litert import whole
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.pairs import (
    EIGHT,
    affine,
    look_up_pair,
    low_ranks,
    operand,
    single,
    tabled,
    types,
    unary,
)
from w2e_onnx.lowering.litert.rules import Rule

BOUNDS = {
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "relu_n1_to_1": (-1.0, 1.0),
    "relu_0_to_1": (0.0, 1.0),
}
SIXTEEN = 1 << 16
"""No 16-bit code is larger."""


def _relu(call: Call) -> Sequence[ir.Value]:
    kind = types(call, *EIGHT, "int16")
    a, out = affine(call.operand(0)), affine(call.outputs[0])
    low, high = out.between(*BOUNDS[call.operation.kind])
    real = a.scale / out.scale
    if kind != "int16":
        table = np.clip(elementwise.rescale(a.all(), a, out, real), low, high)
        return [unary(call, operand(call, 0), table - out.low)]
    value = call.centred(call.operand(0), "float64")
    made = _scaled(call, value, float(real))
    return [whole.finish(call, made, call.outputs[0], low, high)]


def _scaled(call: Call, value: ir.Value, real: float) -> ir.Value:
    return value if real == 1 else whole.product(call, [value], real, SIXTEEN, call.outputs[0])


def _leaky(call: Call) -> Sequence[ir.Value]:
    kind, alpha = types(call, *EIGHT, "int16"), call.operation.number("alpha")
    a, out = affine(call.operand(0)), affine(call.outputs[0])
    if kind == "int16":
        return [_leaky_sixteen(call, a, out, alpha)]
    wanted = elementwise.leaky(a.all(), a, out, alpha)
    by_xnnpack = not call.reference and low_ranks(call)
    if by_xnnpack and elementwise.leakable_by_xnnpack(a, out, alpha):
        wanted = elementwise.leaky_xnnpack(a.all(), a, out, alpha)
    return [unary(call, operand(call, 0), wanted - out.low)]


def _leaky_sixteen(call: Call, a: Affine, out: Affine, alpha: float) -> ir.Value:
    below, above = elementwise.leaky_scales(a, out, alpha)
    mirrored, codes = not call.reference, a.centred(a.all())
    wanted = elementwise.leaky(a.all(), a, out, alpha, mirrored=mirrored)
    x = call.centred(call.operand(0), "float64")
    upper = _scaled(call, x, float(above))
    lines = [elementwise.times(codes, above), elementwise.times(codes, abs(below))]
    if below >= 0:
        lower = _scaled(call, x, float(below))
    elif mirrored:
        lower = _scaled(call, call.add("Neg", [x]), float(-below))
        lines[1] = elementwise.times(-codes, abs(below))
    else:
        lower = call.add("Neg", [_scaled(call, x, float(-below))])
        lines[1] = -lines[1]
    made = None
    for op, function in (("Max", np.maximum), ("Min", np.minimum)):
        if made is None and np.array_equal(out.codes(function(*lines)), wanted):
            made = call.add(op, [upper, lower])
    if made is None:
        negative = call.add("Less", [x, call.literal(np.float64(0), "nothing")])
        made = call.add("Where", [negative, lower, upper])
    return whole.finish(call, made, call.outputs[0], out.low, out.high)


def _prelu(call: Call) -> Sequence[ir.Value]:
    types(call, *EIGHT)
    a, b, out = operand(call, 0), operand(call, 1), affine(call.outputs[0])
    kernel = partial(elementwise.prelu, a=a.affine, b=b.affine, out=out)
    table = tabled(kernel, a, b, out)
    one = single(call, a, b, table)
    return [look_up_pair(call, a, b, table) if one is None else unary(call, *one)]


RULES: dict[str, Rule] = {
    **dict.fromkeys(BOUNDS, _relu),
    "leaky_relu": _leaky,
    "prelu": _prelu,
}
