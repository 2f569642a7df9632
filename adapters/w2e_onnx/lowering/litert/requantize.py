"""Real numbers to codes, codes to real numbers, codes to other codes.

Measured against ai-edge-litert 2.3.0 on x86, codes over all that there are, real numbers with all
kinds of halves. The default kernels' last few elements (of 16 codes or 8 real numbers) are computed
by other code than the rest, which rounds halves another way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics import elementwise
from w2e_bridge.numerics.elementwise import LANES, Affine
from w2e_onnx.lowering.litert import whole
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.fallback import decoded
from w2e_onnx.lowering.litert.lookup import elements
from w2e_onnx.lowering.litert.moving import travelling
from w2e_onnx.lowering.litert.pairs import EIGHT, affine, look, low_ranks, operand, unary
from w2e_onnx.lowering.litert.rules import NotHere, Rule

SMALL = ("int8", "uint8", "int16")

REALS_AT_A_TIME = 8
"""Real numbers that the default kernel for 16-bit codes takes at a time."""

OUTWARDS = 1 + 2.0**-50
"""Takes halves away from zero before a rounding to even. Quotients of float32 numbers that are no
half lie farther from one than 2**-42 of their size."""

BELOW_HALF = float(np.float32(0.5) - np.float32(2.0**-25))
"""The last float32 below one half."""


def _quantize(call: Call) -> Sequence[ir.Value]:
    x = call.operand(0)
    if x.quantized is None:
        return [_from_reals(call)]
    a, out = affine(x), affine(call.outputs[0])
    if a.type not in (*SMALL, "int32") or out.type not in SMALL:
        raise NotHere(f"{a.type} to {out.type}")
    if a.type == out.type and a.same(out):
        return [travelling(call, x)]
    if a.type in EIGHT:
        return [_from_bytes(call, a, out)]
    real = float(np.float64(a.scale) / np.float64(out.scale))
    bound = 1 << (17 if a.type == "int16" else 32)
    value = call.centred(x, "float64")
    made = whole.product(call, [value], real, bound, call.outputs[0])
    return [whole.finish(call, made, call.outputs[0], out.low, out.high)]


def _from_bytes(call: Call, a: Affine, out: Affine) -> ir.Value:
    x, codes = operand(call, 0), a.all()
    even = elementwise.requantize(codes, a, out) - out.low
    if call.reference or out.type not in EIGHT:
        return unary(call, x, even)
    if elementwise.requantizable_by_xnnpack(a, out) and low_ranks(call):
        return unary(call, x, elementwise.requantize_xnnpack(codes, a, out) - out.low)
    up = elementwise.requantize(codes, a, out, up=True) - out.low
    mask = _tail(call, LANES)
    if mask is None or np.array_equal(up, even):
        return unary(call, x, up)
    if mask.all():
        return unary(call, x, even)
    offset = call.constant("offset", (mask * 256).astype(np.int32))
    index = call.add("Add", [call.cast(travelling(call, x.slot), "int32"), offset])
    return look(call, np.concatenate([up, even]), index, x.slot)


def _tail(call: Call, lanes: int) -> NDArray[np.bool_] | None:
    """Where elements are left over of groups of so many; None if there are none, or none known."""
    count, shape = elements(call.outputs[0]), call.outputs[0].shape
    if shape is None or count is None or count % lanes == 0:
        return None
    extents = [d for d in shape if isinstance(d, int)]
    return (np.arange(math.prod(extents)) >= count // lanes * lanes).reshape(extents)


def _from_reals(call: Call) -> ir.Value:
    """Float32 numbers to codes: by the inverse scale, to even; or by the scale, away from 0."""
    x, out = call.operand(0), call.outputs[0]
    quantized = out.quantized
    assert quantized is not None
    if x.type != "float32" or out.type not in SMALL:
        raise NotHere(f"{x.type} to {out.type}")
    if call.reference or quantized.axis is not None:
        return _divided(call)
    inverse = call.constant("inverse", np.float32(1) / np.asarray(quantized.scale, np.float32))
    scaled = call.add("Mul", [x.value, inverse])
    mask = _tail(call, REALS_AT_A_TIME) if out.type == "int16" else None
    if mask is not None:
        assert x.value is not None
        # The last few are divided in double precision.
        wide, scale = call.cast(x.value, "float64"), np.asarray(quantized.scale, np.float64)
        steps = call.add("Div", [wide, call.constant("wide_scale", scale)])
        pushed = call.add("Mul", [steps, call.literal(np.float64(OUTWARDS), "outwards")])
        rounded = call.cast(call.add("Round", [pushed]), "float32")
        whole_ = call.add("Round", [scaled])
        scaled = call.add("Where", [call.constant("tail", mask), rounded, whole_])
    return call.add("QuantizeLinear", [scaled, call.literal(np.float32(1), "one"), out.zero_point])


def _half_away(call: Call) -> ir.Value:
    """A number over the scale to the nearest whole one: int32."""
    x, out = call.operand(0), call.outputs[0]
    scale = out.scale
    quantized = out.quantized
    assert quantized is not None
    if quantized.axis is not None and x.shape is not None:
        shape = [1] * len(x.shape)
        shape[quantized.axis] = -1
        scale = call.constant("scales", quantized.scale.reshape(shape))
    return _cut(call, call.add("Div", [x.value, scale]))


def _cut(call: Call, steps: ir.Value) -> ir.Value:
    """To the nearest whole number, halves away from zero: int32."""
    # A half outwards, but nothing below a half: then the cast cuts off.
    moved = call.add("Shrink", [steps], {"bias": -0.5, "lambd": BELOW_HALF})
    return call.cast(moved, "int32")


def _divided(call: Call) -> ir.Value:
    out = call.outputs[0]
    quantized = out.quantized
    assert quantized is not None
    zero = np.asarray(quantized.zero_point + out.shift, np.int32)
    if quantized.axis is not None and out.shape is not None:
        shape = [1] * len(out.shape)
        shape[quantized.axis] = -1
        zero = zero.reshape(shape)
    moved = call.add("Add", [_half_away(call), call.constant("zero", zero)])
    info = np.iinfo(out.type)
    ends = [
        call.constant(name, np.asarray(int(end) + out.shift, np.int32))
        for name, end in (("low", info.min), ("high", info.max))
    ]
    return call.cast(call.add("Clip", [moved, *ends]), out.carried)


def _dequantize(call: Call) -> Sequence[ir.Value]:
    made = decoded(call, call.operand(0))
    out = call.outputs[0]
    return [made if out.type == "float32" else call.cast(made, out.type)]


def _cast(call: Call) -> Sequence[ir.Value]:
    """CAST takes codes as they are, whatever their scale."""
    x, out = call.operand(0), call.outputs[0]
    if x.value is None or x.quantized is None or out.quantized is not None:
        raise NotHere("a cast to codes that have a scale")
    codes = x.value
    if x.shift:
        wide = call.cast(codes, "int32")
        codes = call.add("Sub", [wide, call.literal(np.int32(x.shift), "shift")])
    return [call.cast(codes, out.type)]


RULES: dict[str, Rule] = {"quantize": _quantize, "dequantize": _dequantize, "cast": _cast}
