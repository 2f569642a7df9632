"""Functions of numbers that ONNX has no operator for, as model-local functions."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.functions import Body
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import operands, pair, single, type_of
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope, attribute

FLOAT, INT64, DOUBLE = (
    ir.AttrInt64("to", int(dtype))
    for dtype in (ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.DOUBLE)
)


def _real(body: Body, value: float, name: str) -> ir.Value:
    return body.add("Constant", [], name, [ir.AttrFloat32("value_float", value)])


def _said(body: Body, name: str, kind: ir.AttributeType) -> ir.Value:
    """An attribute of the call as a number."""
    field = {ir.AttributeType.FLOAT: "value_float", ir.AttributeType.INT: "value_int"}[kind]
    return body.add("Constant", [], f"{name}_said", [ir.RefAttr(field, name, kind)])


def floor_mod() -> ir.Function:
    """`FloorMod(a, b)`, float32: what is left of a, with the sign of b.

    tensorflow/lite/kernels/internal/reference/binary_function.h has it in these steps.
    """
    body, a, b = Body(), ir.Value(name="a"), ir.Value(name="b")
    zero = _real(body, 0.0, "zero")
    rest = body.add("Mod", [a, b], "rest", [ir.AttrInt64("fmod", 1)])
    exact = body.add("Equal", [rest, zero], "exact")
    signs = [body.add("Less", [v, zero], n) for v, n in ((rest, "rest_sign"), (b, "sign"))]
    same = body.add("Equal", signs, "same")
    keep = body.add("Or", [exact, same], "keep")
    moved = body.add("Add", [rest, b], "moved")
    output = body.add("Where", [keep, rest, moved], "output")
    return body.finish("FloorMod", [a, b], output)


def atan2() -> ir.Function:
    """`Atan2(y, x)`, float32: the angle of a point."""
    body, y, x = Body(), ir.Value(name="y"), ir.Value(name="x")
    zero = _real(body, 0.0, "zero")
    angle = body.add("Atan", [body.add("Div", [y, x], "slope")], "angle")
    below = body.add("Less", [y, zero], "below")
    turns = [_real(body, sign * math.pi, f"turn_{i}") for i, sign in enumerate((-1.0, 1.0))]
    turn = body.add("Where", [below, *turns], "turn")
    left = body.add("Add", [angle, turn], "left")
    side = body.add("Where", [body.add("Less", [x, zero], "behind"), left, angle], "side")
    # On the axis x = 0 (both zeros have the angle 0).
    upright = body.add(
        "Mul",
        [body.add("Sign", [y], "direction"), _real(body, math.pi / 2, "right_angle")],
        "upright",
    )
    output = body.add("Where", [body.add("Equal", [x, zero], "on_axis"), upright, side], "output")
    return body.finish("Atan2", [y, x], output)


def right_shift() -> ir.Function:
    """`RightShift(x, y; bits)`: signed x / 2**y downwards, y held between 0 and bits - 1."""
    body, x, y = Body(), ir.Value(name="x"), ir.Value(name="y")
    wide, count = body.add("Cast", [x], "wide", [INT64]), body.add("Cast", [y], "count", [INT64])
    most = body.add(
        "Sub", [_said(body, "bits", ir.AttributeType.INT), body.integer(1, "one")], "most"
    )
    held = body.add(
        "Min", [body.add("Max", [count, body.integer(0, "least")], "some"), most], "held"
    )
    exponent = body.add("Cast", [held], "exponent", [DOUBLE])
    two = body.add("Constant", [], "two", [ir.AttrTensor("value", ir.tensor(np.float64(2)))])
    power = body.add("Cast", [body.add("Pow", [two, exponent], "scale")], "power", [INT64])
    whole = body.add("Sub", [wide, body.add("Mod", [wide, power], "rest")], "whole")
    shifted = body.add("Div", [whole, power], "shifted")
    output = body.add("CastLike", [shifted, x], "output")
    return body.finish("RightShift", [x, y], output, [ir.AttrInt64("bits", 32)])


def fake_quant() -> ir.Function:
    """`FakeQuant(x; min, max, num_bits, narrow_range)`: the nearest of 2**num_bits float32 numbers.

    The range is moved so that 0 is one of them (`NudgeQuantizationRange`, `FakeQuantizeArray` of
    tensorflow/lite/kernels/internal/quantization_util.cc; narrow_range is not looked at there).
    """
    body, x = Body(), ir.Value(name="x")
    low, high = (_said(body, name, ir.AttributeType.FLOAT) for name in ("min", "max"))
    bits = body.add("Cast", [_said(body, "num_bits", ir.AttributeType.INT)], "bits", [FLOAT])
    one, zero = _real(body, 1.0, "one"), _real(body, 0.0, "zero")
    codes = body.add("Pow", [_real(body, 2.0, "two"), bits], "codes")
    last = body.add("Sub", [codes, one], "last")
    scale = body.add("Div", [body.add("Sub", [high, low], "range"), last], "scale")
    start = body.add("Neg", [body.add("Div", [low, scale], "start")], "from_low")
    point = body.add("Clip", [_rounded(body, start, "point"), zero, last], "zero_point")
    least = body.add("Mul", [body.add("Neg", [point], "below_point"), scale], "least")
    most = body.add("Mul", [body.add("Sub", [last, point], "above_point"), scale], "most")
    held = body.add("Min", [body.add("Max", [x, least], "raised"), most], "held")
    inverse = body.add("Div", [one, scale], "inverse")
    steps = body.add("Mul", [body.add("Sub", [held, least], "distance"), inverse], "steps")
    back = body.add("Mul", [_rounded(body, steps, "code"), scale], "back")
    output = body.add("Add", [back, least], "output")
    said = [
        ir.AttrFloat32("min", -1.0),
        ir.AttrFloat32("max", 1.0),
        ir.AttrInt64("num_bits", 8),
        ir.AttrInt64("narrow_range", 0),
    ]
    return body.finish("FakeQuant", [x], output, said)


def _rounded(body: Body, x: ir.Value, name: str) -> ir.Value:
    """A number from 0 on to the nearest whole one, halves up; x + 0.5 would be rounded itself."""
    floor = body.add("Floor", [x], f"{name}_floor")
    rest = body.add("Sub", [x, floor], f"{name}_rest")
    up = body.add("GreaterOrEqual", [rest, _real(body, 0.5, f"{name}_half")], f"{name}_up")
    return body.add("Add", [floor, body.add("Cast", [up], f"{name}_one", [FLOAT])], name)


def _floor_mod(operation: Operation, builder: Builder) -> None:
    inputs = [builder.value(operand) for operand in operation.inputs]
    if type_of(operation.outputs[0]).startswith("float"):
        builder.call(floor_mod(), inputs, outputs=operation.outputs)
    else:
        builder.node("Mod", inputs, outputs=operation.outputs)


def _match_floor_mod(root: ir.Node, _scope: Scope) -> Operation | None:
    inputs = pair(root)
    if inputs is None or attribute(root, "fmod", 0):
        return None
    return single("floor_mod", root, inputs)


def _atan2(operation: Operation, builder: Builder) -> None:
    inputs = [builder.value(operand) for operand in operation.inputs]
    builder.call(atan2(), inputs, outputs=operation.outputs)


def _right_shift(operation: Operation, builder: Builder) -> None:
    inputs = [builder.value(operand) for operand in operation.inputs]
    dtype = operation.outputs[0].dtype or ir.DataType.INT32
    if dtype.name.startswith("U"):
        builder.node("BitShift", inputs, {"direction": "RIGHT"}, outputs=operation.outputs)
    else:
        builder.call(right_shift(), inputs, {"bits": dtype.bitwidth}, outputs=operation.outputs)


def _match_right_shift(root: ir.Node, _scope: Scope) -> Operation | None:
    inputs = pair(root)
    if inputs is None or (root.op_type == "BitShift" and attribute(root, "direction") != "RIGHT"):
        return None
    return single("right_shift", root, inputs)


FAKE = {"min": -1.0, "max": 1.0, "num_bits": 8, "narrow_range": False}
"""Attributes of FAKE_QUANT and what they are where nothing is said."""


REALS, WHOLES = {"min": -1.0, "max": 1.0}, {"num_bits": 8, "narrow_range": 0}
"""Attributes of FAKE_QUANT and what they are where nothing is said."""


def _fake_quant(operation: Operation, builder: Builder) -> None:
    reals = {name: operation.number(name, default) for name, default in REALS.items()}
    wholes = {name: operation.integer(name, default) for name, default in WHOLES.items()}
    x = builder.value(operation.inputs[0])
    builder.call(fake_quant(), [x], {**reals, **wholes}, outputs=operation.outputs)


def _match_fake_quant(root: ir.Node, _scope: Scope) -> Operation | None:
    x = given(root, 0)
    said = {name: attribute(root, name, held) for name, held in (REALS | WHOLES).items()}
    numbers = {name: value for name, value in said.items() if isinstance(value, int | float)}
    if x is None or len(numbers) < len(said):
        return None
    return single(
        "fake_quant",
        root,
        [x],
        {
            "min": float(numbers["min"]),
            "max": float(numbers["max"]),
            "num_bits": int(numbers["num_bits"]),
            "narrow_range": bool(numbers["narrow_range"]),
        },
    )


KINDS = (
    Kind(
        name="floor_mod", build=_floor_mod, roots=("Mod", "w2e::FloorMod"), match=_match_floor_mod
    ),
    Kind(name="atan2", build=_atan2, roots=("w2e::Atan2",), match=operands("atan2", 2)),
    Kind(
        name="right_shift",
        build=_right_shift,
        roots=("BitShift", "w2e::RightShift"),
        match=_match_right_shift,
    ),
    Kind(
        name="fake_quant",
        build=_fake_quant,
        roots=("w2e::FakeQuant",),
        match=_match_fake_quant,
    ),
)
