"""Arithmetic of two values.

Measured against ai-edge-litert 2.3.0 on x86, for 8-bit codes over all 65536 pairs, some 40 scales
and zero points each, without a differing integer. XNNPACK takes ADD, SUB and MUL of 8-bit codes
from the default kernels, for scales that are not too far apart; the others, and all of 16 bits,
both kernel sets compute alike, but for 16-bit ADD of one shape (`numerics.elementwise.add_once`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.arithmetic import log2_of
from w2e_bridge.numerics import elementwise
from w2e_bridge.numerics.elementwise import Affine, Codes
from w2e_bridge.numerics.fixed_point import (
    activation_range,
    doubling_high_multiply,
    quantize_multiplier,
)
from w2e_onnx.lowering.litert import fit, whole
from w2e_onnx.lowering.litert.call import MICROSOFT, Call, Slot
from w2e_onnx.lowering.litert.fixed_point import NUDGE
from w2e_onnx.lowering.litert.lookup import elements
from w2e_onnx.lowering.litert.moving import moved, travelling
from w2e_onnx.lowering.litert.pairs import (
    EIGHT,
    Operand,
    affine,
    clip,
    look_up_code,
    look_up_pair,
    low_ranks,
    operand,
    same,
    single,
    straight,
    tabled,
    types,
    unary,
    zero_of,
)  # fmt: skip
from w2e_onnx.lowering.litert.rules import NotHere, Rule

SIGN = {"add": 1, "sub": -1}


def ends(call: Call, out: Affine, *, even: bool = False) -> tuple[int, int]:
    """The codes that the fused activation lets through."""
    name = call.operation.text("fused_activation_function")
    if name not in ("NONE", "RELU", "RELU6", "RELU_N1_TO_1"):
        raise NotHere(name)
    return activation_range(name, out.scale, out.zero, out.type, even=even)


def _addition(call: Call) -> Sequence[ir.Value]:
    kind = types(call, *EIGHT, "int16")
    a, b, out = affine(call.operand(0)), affine(call.operand(1)), affine(call.outputs[0])
    sign = SIGN[call.operation.kind]
    if kind == "int16" and _by_shifts(call, a, b, out):
        return [_shifted_sum(call, a, b, out)]
    if kind == "int16" or call.reference:
        return [_sum(call, a, b, out)]
    first, second = operand(call, 0), operand(call, 1)
    by_xnnpack = elementwise.addable_by_xnnpack(a, b, out) and low_ranks(call)
    kernel = elementwise.add_xnnpack if by_xnnpack else elementwise.add
    bounds = ends(call, out, even=by_xnnpack)
    table = tabled(partial(kernel, a=a, b=b, out=out, sign=sign), first, second, out)
    ratios = (float(a.scale / out.scale), sign * float(b.scale / out.scale))
    zeros = (first.zero, second.zero, out.zero - out.low)

    def fitted() -> ir.Value | None:
        scales = fit.addition(table, (first.codes, second.codes), ratios, zeros)
        return None if scales is None else _linear(call, "QLinearAdd", first, second, scales)

    return [_eight(call, (first, second), table, bounds, fitted)]


def _eight(
    call: Call,
    operands: tuple[Operand, Operand],
    table: Codes,
    bounds: tuple[int, int],
    fitted: Callable[[], ir.Value | None],
) -> ir.Value:
    """The default kernels' 8-bit codes: a function of one code, a quantized operator, a table."""
    low = int(np.iinfo(call.outputs[0].type).min)
    least, most = (end - low for end in bounds)
    held = np.clip(table, least, most)
    one = single(call, *operands, held)
    made = None if one is None else straight(call, *one)
    if made is not None:
        return made
    made = fitted()
    if made is not None:
        return clip(call, made, least, most)
    return look_up_pair(call, *operands, held) if one is None else look_up_code(call, *one)


def _linear(
    call: Call, op: str, a: Operand, b: Operand, scales: tuple[np.float32, np.float32]
) -> ir.Value:
    one = call.literal(np.float32(1), "one")
    inputs: list[ir.Value | None] = []
    for x, scale, name in ((a, scales[0], "first"), (b, scales[1], "second")):
        said = one if scale == 1 else call.constant(name, np.asarray(scale))
        inputs += [travelling(call, x.slot), said, zero_of(call, x.slot)]
    return call.add(op, [*inputs, one, call.outputs[0].zero_point], domain=MICROSOFT)


def _by_shifts(call: Call, a: Affine, b: Affine, out: Affine) -> bool:
    powers = all(log2_of(float(x.scale)) is not None for x in (a, b, out))
    return powers and bool(call.operation.integer("pot_scale_int16"))


def _shifted_sum(call: Call, a: Affine, b: Affine, out: Affine) -> ir.Value:
    """Scales that are powers of two: one operand has the output's, the other is shifted right."""
    base = log2_of(float(out.scale)) or 0
    terms = []
    for index, x in enumerate((a, b)):
        shift = (log2_of(float(x.scale)) or 0) - base
        value = call.cast(_given(call, index), "float64")
        if shift > 0:
            raise NotHere("an operand with a larger scale than the sum")
        if shift:
            factor = np.asarray(np.ldexp(NUDGE, shift))
            value = call.add("Round", [call.add("Mul", [value, call.constant("shift", factor)])])
        terms.append(value)
    total = call.add("Add" if call.operation.kind == "add" else "Sub", terms)
    return whole.finish(call, total, call.outputs[0], *ends(call, out))


def _given(call: Call, index: int) -> ir.Value:
    value = call.operand(index).value
    assert value is not None
    return value


def _sum(call: Call, a: Affine, b: Affine, out: Affine) -> ir.Value:
    """The reference kernels' addition, and the default ones' of 16 bits."""
    first, second, last = elementwise.addition_scales(a, b, out)
    left = elementwise.addition_shift(out.type)
    terms = [
        _raised(call, slot, x, real)
        for slot, x, real in ((call.operand(0), a, first), (call.operand(1), b, second))
    ]
    total = call.add("Add" if call.operation.kind == "add" else "Sub", terms)
    bound = 2 << (left + (16 if out.type == "int16" else 8))
    made = whole.product(call, [total], last, bound, call.outputs[0])
    return whole.finish(call, made, call.outputs[0], *ends(call, out))


def _raised(call: Call, slot: Slot, x: Affine, real: float) -> ir.Value:
    """An operand of an addition (`numerics.elementwise.add_once` for the tail of 16-bit ones)."""
    left = elementwise.addition_shift(x.type)
    make = partial(whole.term, call, slot, x.centred(x.all()), real, left)
    shapes = {call.operand(0).shape, call.operand(1).shape}
    if call.reference or x.type != "int16" or call.operation.kind != "add" or len(shapes) > 1:
        return make()
    count = elements(call.outputs[0])
    if count is not None and count < elementwise.LANES:
        return make()
    if count is None or count % elementwise.LANES == 0:
        return make(once=True)
    tail = np.arange(count) >= count // elementwise.LANES * elementwise.LANES
    shape = [d for d in call.outputs[0].shape or () if isinstance(d, int)]
    mask = call.constant("tail", tail.reshape(shape))
    return call.add("Where", [mask, make(), make(once=True)])


def _multiplication(call: Call) -> Sequence[ir.Value]:
    kind = types(call, *EIGHT, "int16")
    a, b, out = affine(call.operand(0)), affine(call.operand(1)), affine(call.outputs[0])
    real = elementwise.product_scale(a, b, out)
    if kind == "int16" or call.reference:
        slots = sorted((call.operand(0), call.operand(1)), key=lambda slot: slot.tensor is not None)
        factors = [call.centred(slot, "float64") for slot in slots]
        bound = 1 << (16 if kind != "int16" else 32)
        made = whole.product(call, factors, float(real), bound, call.outputs[0])
        return [whole.finish(call, made, call.outputs[0], *ends(call, out))]
    first, second = operand(call, 0), operand(call, 1)
    by_xnnpack = elementwise.multipliable_by_xnnpack(a, b, out) and low_ranks(call)
    kernel = elementwise.multiply_xnnpack if by_xnnpack else elementwise.multiply_codes
    bounds = ends(call, out, even=by_xnnpack)
    table = tabled(partial(kernel, a=a, b=b, out=out), first, second, out)
    zeros = (first.zero, second.zero, out.zero - out.low)

    def fitted() -> ir.Value | None:
        scale = fit.multiplication(table, (first.codes, second.codes), float(real), zeros)
        found = None if scale is None else (scale, np.float32(1))
        return None if found is None else _linear(call, "QLinearMul", first, second, found)

    return [_eight(call, (first, second), table, bounds, fitted)]


def _division(call: Call) -> Sequence[ir.Value]:
    types(call, *EIGHT)
    a, b, out = operand(call, 0), operand(call, 1), affine(call.outputs[0])
    kernel = partial(elementwise.divide, a=a.affine, b=b.affine, out=out)
    bounds = ends(call, out)
    return [_eight(call, (a, b), tabled(kernel, a, b, out), bounds, lambda: None)]


def _squared_difference(call: Call) -> Sequence[ir.Value]:
    types(call, "int8")
    a, b, out = operand(call, 0), operand(call, 1), affine(call.outputs[0])
    kernel = partial(elementwise.squared_difference, a=a.affine, b=b.affine, out=out)
    one = single(call, a, b, tabled(kernel, a, b, out))
    if one is not None:
        return [unary(call, *one)]
    twice = 2.0 * float(max(a.affine.scale, b.affine.scale))
    quick = None if call.reference else _square_of_reals(call, a, b, twice)
    if quick is not None:
        return [quick]
    terms = [
        whole.term(call, x.slot, x.affine.centred(x.affine.all()), float(x.affine.scale) / twice, 7)
        for x in (a, b)
    ]
    difference = call.add("Sub", terms)
    square = call.add("Mul", [difference, difference])
    last = elementwise.square_scale(twice, out)
    made = whole.product(call, [square], last, 1 << 30, call.outputs[0])
    return [whole.finish(call, made, call.outputs[0], out.low, out.high)]


def _square_of_reals(call: Call, a: Operand, b: Operand, twice: float) -> ir.Value | None:
    """A squared difference in float32, where that gives the same codes for all differences."""
    out = affine(call.outputs[0])
    terms = [elementwise.difference_terms(x.affine.all(), x.affine, twice) for x in (a, b)]
    most = int(max(terms[0].max() - terms[1].min(), terms[1].max() - terms[0].min()))
    differences = np.arange(1, most + 1)
    wanted = out.codes(elementwise.times(differences**2, elementwise.square_scale(twice, out)))
    real = differences.astype(np.float32)
    scale = fit.divisor(real * real, wanted - out.zero, out.high - out.zero)
    lines = [_line(x, twice) for x in (a, b)]
    if scale is None or None in lines:
        return None
    difference = call.add("Sub", [_on_line(call, x, y) for x, y in zip((a, b), lines, strict=True)])
    square = call.add("Mul", [difference, difference])
    said = call.constant("square", np.asarray(scale))
    return call.add("QuantizeLinear", [square, said, call.outputs[0].zero_point])


def _line(x: Operand, twice: float) -> tuple[np.float32, ...] | None:
    centred = x.affine.centred(x.affine.all())
    number, shift = quantize_multiplier(np.float64(x.affine.scale) / twice)
    high = doubling_high_multiply(centred << 7, number)
    return fit.rounded_line(centred, high, -int(shift))


def _on_line(call: Call, x: Operand, line: tuple[np.float32, ...] | None) -> ir.Value:
    assert line is not None
    first = call.constant("step", np.asarray(line[0]))
    made = call.add("DequantizeLinear", [x.slot.value, first, x.slot.zero_point])
    made = call.add("Round", [made])
    for factor in line[1:]:
        scaled = call.add("Mul", [made, call.constant("last", np.asarray(factor))])
        made = call.add("Round", [scaled])
    return made


def _extreme(call: Call) -> Sequence[ir.Value]:
    """MAXIMUM and MINIMUM look at codes only: that is right where all values have one scale."""
    types(call, *EIGHT, "int16")
    same(call)
    return moved(call, widened=True)


RULES: dict[str, Rule] = {
    "add": _addition,
    "sub": _addition,
    "mul": _multiplication,
    "div": _division,
    "squared_difference": _squared_difference,
    "maximum": _extreme,
    "minimum": _extreme,
}
