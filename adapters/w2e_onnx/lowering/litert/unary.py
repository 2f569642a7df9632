"""Functions of one number: a table of all codes, made here (8 bits) or by the body at load (16 bits).

For 8-bit codes XNNPACK takes LOGISTIC, TANH and ELU (of int8) from the default kernels; all else, and all
of 16 bits, both kernel sets compute alike, but for 16-bit LOGISTIC and TANH of scales that are powers of
two. Measured against ai-edge-litert 2.3.0 over all codes, some 40 scales and zero points each.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.elementwise import Affine
from w2e_bridge.numerics.fixed_point import quantize_multiplier
from w2e_bridge.numerics.lookup import Range, table_16
from w2e_bridge.numerics.sigmoid import CURVES, LAST, TABLE, Steps, by_shifts, steps_of
from w2e_bridge.numerics.unary import codes_8, function_16
from w2e_onnx.lowering.litert.call import MICROSOFT, Call, Slot
from w2e_onnx.lowering.litert.fixed_point import codes, multiply
from w2e_onnx.lowering.litert.lookup import all_codes_16, by_codes_8, by_codes_16, interpolated
from w2e_onnx.lowering.litert.rules import NotHere, Rule

TYPES = {
    "logistic": ("int8", "uint8", "int16"),
    "tanh": ("int8", "uint8", "int16"),
    "gelu": ("int8", "uint8", "int16"),
    "hard_swish": ("int8", "uint8"),
    "elu": ("int8",),
    "exp": ("int8", "int16"),
    "log": ("int8", "int16"),
    "sqrt": ("int8", "int16"),
    "rsqrt": ("int8", "int16"),
    "abs": ("int8", "int16"),
    "neg": ("int8", "int16"),
}
"""Types of codes that LiteRT has kernels for."""

DOUBT = 2e-4
"""How near to a half a sigmoid's code may be, in units of codes: ONNX Runtime's float32 function is some
1e-7 off."""

XNNPACK_RANK = 6
"""The highest rank that XNNPACK takes."""


def affine(slot: Slot) -> Affine:
    """The one scale of an operand or output.

    Raises:
        NotHere: it has several, or none.
    """
    quantized = slot.quantized
    if quantized is None or quantized.scale.size != 1 or quantized.axis is not None:
        raise NotHere("a value without one scale")
    scale, zero = np.float32(quantized.scale.item()), int(quantized.zero_point.item())
    return Affine(type=quantized.type, scale=scale, zero=zero)


def pair(call: Call, types: tuple[str, ...]) -> tuple[Affine, Affine]:
    """Scales of the one operand and the output, of a type that there is a kernel for.

    Raises:
        NotHere: there is none.
    """
    x, y = affine(call.operand(0)), affine(call.outputs[0])
    if x.type != y.type or x.type not in types:
        raise NotHere(f"LiteRT has no {call.operation.kind} from {x.type} to {y.type}")
    if call.operand(0).tensor is not None:
        raise NotHere("a constant operand")
    return x, y


def eligible(call: Call) -> bool:
    """Whether XNNPACK takes a node by its shapes."""
    slots = (call.operand(0), call.outputs[0])
    ranks = [len(slot.shape) for slot in slots if slot.shape is not None]
    return not call.reference and max(ranks, default=0) <= XNNPACK_RANK


def narrowed(call: Call, steps: ir.Value) -> ir.Value:
    """Codes of the output from whole numbers, float64; those of 16 bits have no zero point."""
    if call.outputs[0].type != "int16":
        return codes(call, steps, call.outputs[0])
    ends = [call.literal(np.float64(end), "end") for end in (-32768, 32767)]
    return call.cast(call.add("Clip", [steps, *ends]), "int16")


def _rule(call: Call) -> list[ir.Value]:
    kind = call.operation.kind
    x, y = pair(call, TYPES[kind])
    if kind == "gelu" and call.operation.integer("approximate"):
        kind = "gelu_approximate"
    if x.type != "int16":
        table = codes_8(kind, x, y, xnnpack=eligible(call))
        quick = None if call.reference else _sigmoid(call, kind, table)
        if quick is not None:
            return [quick]
        return [by_codes_8(call, call.operand(0), table, call.outputs[0])]
    if x.zero or y.zero:
        raise NotHere("16-bit codes with a zero point")
    return [_wide(call, kind, x, y)]


def _sigmoid(call: Call, kind: str, table: NDArray[np.integer]) -> ir.Value | None:
    """LOGISTIC and TANH as one operator that ONNX Runtime has, if that is sure to round alike.

    tanh(x) = 2 * sigmoid(2 * x) - 1: with a step of 1/128 the codes are those of a sigmoid, less 128.
    """
    x, y = affine(call.operand(0)), affine(call.outputs[0])
    factor = {"logistic": 1.0, "tanh": 2.0}.get(kind)
    shift = call.outputs[0].shift
    step, zero = y.scale, y.zero + shift
    if kind == "tanh":
        step, zero = np.float32(y.scale / 2), zero - 128
    if factor is None or (kind == "tanh" and y.scale != 1 / 128) or zero < 0:
        return None
    real = factor * float(x.scale) * x.centred(x.all())
    steps = 1 / (1 + np.exp(-np.clip(real, -100, 100))) / float(step)
    same = np.array_equal(np.clip(np.rint(steps) + zero, 0, 255), table.astype(np.int64) + shift)
    if not same or np.abs(steps - np.floor(steps) - 0.5).min() < DOUBT:
        return None
    operand, output = call.operand(0), call.outputs[0]
    scales = [operand.scale, operand.zero_point, output.scale, output.zero_point]
    if kind == "tanh":
        doubled = np.asarray(np.float32(2) * x.scale)
        scales[0] = call.constant("doubled", doubled)
        scales[2:] = [call.literal(step, "step"), call.constant("zero", np.asarray(zero, np.uint8))]
    return call.add("QLinearSigmoid", [operand.value, *scales], domain=MICROSOFT)


def _wide(call: Call, kind: str, x: Affine, y: Affine) -> ir.Value:
    operand = call.operand(0)
    assert operand.value is not None
    if kind == "neg":
        return call.cast(call.add("Neg", [call.cast(operand.value, "int32")]), "int16")
    if kind == "sqrt":
        return _root(call, x, y)
    if kind == "abs":
        return _absolute(call, x, y)
    if kind in CURVES:
        return by_codes_16(call, operand, _curve(call, kind, x, y))
    function = function_16(kind, y)
    assert function is not None
    table = table_16(function, Range(scale=x.scale), Range(scale=y.scale))
    return by_codes_16(call, operand, interpolated(call, table))


def _root(call: Call, x: Affine, y: Affine) -> ir.Value:
    operand = call.operand(0)
    assert operand.value is not None
    real = call.add("Mul", [call.cast(operand.value, "float32"), operand.scale])
    root = call.add("Div", [call.add("Sqrt", [real]), call.outputs[0].scale])
    bounded = call.add("Min", [root, call.literal(np.float32(y.high), "highest")])
    return call.cast(bounded, "int16")


def _absolute(call: Call, x: Affine, y: Affine) -> ir.Value:
    operand = call.operand(0)
    assert operand.value is not None
    number = call.add("Abs", [call.cast(operand.value, "float64")])
    if x.scale != y.scale:
        factor = quantize_multiplier(np.float64(np.float32(x.scale / y.scale)))
        number = multiply(call, number, *factor, bound=1 << 15)
    return narrowed(call, number)


def _curve(call: Call, kind: str, x: Affine, y: Affine) -> ir.Value:
    """All codes of LOGISTIC or TANH, in the order of `by_codes_16`."""
    if y.scale != 2.0**-15:
        raise NotHere(f"16-bit {kind} with another scale than 1/32768")
    steps = steps_of(kind, x.scale)
    if steps.power is None or call.reference:
        return _from_table(call, kind, steps)
    every = np.arange(1 << 16, dtype=np.int32).astype(np.int16)
    return call.constant("table", by_shifts(kind, every, steps.power))


def _from_table(call: Call, kind: str, steps: Steps) -> ir.Value:
    # In float64, where all numbers of `numerics.sigmoid.by_table` are exact.
    curve = CURVES[kind]
    unit = 1 << curve.bits

    def number(value: float) -> ir.Value:
        return call.literal(np.float64(value), "number")

    code = call.cast(all_codes_16(call), "float64")
    factor = call.constant("factor", np.asarray(steps.factor, np.float64))
    nudge = call.constant("nudge", np.asarray(steps.nudge, np.float64))
    step = call.add("Floor", [call.add("Add", [call.add("Mul", [code, factor]), nudge])])
    size = call.add("Abs", [step])
    whole = call.add("Floor", [call.add("Mul", [size, number(1 / unit)])])
    part = call.add("Sub", [size, call.add("Mul", [whole, number(unit)])])
    index = call.cast(call.add("Min", [whole, number(LAST)]), "int32")
    base = call.literal((TABLE[:-1] * unit).astype(np.float64), "base")
    slope = call.literal(np.diff(TABLE).astype(np.float64), "slope")
    risen = call.add("Mul", [part, call.add("Gather", [slope, index])])
    inside = call.add("Add", [call.add("Gather", [base, index]), risen])
    outside = call.add("Greater", [whole, number(LAST)])
    value = call.add("Where", [outside, number(curve.highest), inside])
    if kind == "logistic":
        middle, offset, half, last = 0, 1 << 25, 1 << 9, 10
    else:
        middle, offset, half, last = 1 << 23, 1 << 23, 1 << 7, 8
    above = call.add("Add", [value, number(half - middle)])
    below = call.add("Sub", [number(offset + half - 1), value])
    negative = call.add("Less", [step, number(0)])
    chosen = call.add("Where", [negative, below, above])
    shifted = call.add("Floor", [call.add("Mul", [chosen, number(2.0**-last)])])
    return call.cast(call.cast(shifted, "int32"), "int16")


RULES: dict[str, Rule] = dict.fromkeys(TYPES, _rule)
