"""Addition, multiplication and their kin, with broadcasting and a fused activation."""

from __future__ import annotations

import math

import onnx_ir as ir

from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import direct, hidden, pair, single, type_of
from w2e_bridge.kernels.hints import keep, kept
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.reading import extents
from w2e_bridge.kernels.scope import Match, Scope, attribute, fused

BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}
"""Kinds with a fused activation to their ONNX operators."""

POWERS = {"pot_scale_int16": False}
"""Of additions on 16 bits: whether scales that are powers of two are computed with shifts alone."""

NEAR_POWER = 1e-3
"""How far a logarithm may be from a whole number (`CheckedLog2`,
tensorflow/lite/kernels/internal/quantization_util.cc)."""


def log2_of(scale: float) -> int | None:
    """The exponent of a scale that TensorFlow Lite takes for a power of two."""
    if scale <= 0:
        return None
    exact = math.log2(scale)
    return round(exact) if abs(exact - round(exact)) < NEAR_POWER else None


def _powers(operation: Operation, builder: Builder) -> bool:
    """Whether the kernel computes with shifts: only then is it worth saying."""
    if not operation.integer("pot_scale_int16"):
        return False
    for value in (*operation.inputs, *operation.outputs):
        found = builder.values.get(value.name or "") if isinstance(value, ir.Value) else None
        if found is None or found.scale is None or str(found.codes) != "int16":
            return False
        if log2_of(float(found.scale)) is None:
            return False
    return True


def _build(operation: Operation, builder: Builder) -> None:
    a, b = (builder.value(operand) for operand in operation.inputs)
    op, activation = BINARY[operation.kind], operation.text("fused_activation_function")
    if activation == "NONE":
        made = builder.node(op, [a, b], outputs=operation.outputs)
    else:
        made = builder.node(op, [a, b])
        builder.activation(made, activation, operation.outputs)
    if _powers(operation, builder):
        keep(operation, made.producer(), POWERS)


def _match(kind: str, op: str) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        for way in fused(root, scope):
            if way.node.op_type == op and (operands := pair(way.node)) is not None:
                attributes: dict[str, Attribute] = {"fused_activation_function": way.activation}
                if kind in ("add", "sub"):
                    attributes |= kept(way.node, POWERS)
                return Operation(
                    kind=kind,
                    inputs=operands,
                    outputs=(root.outputs[0],),
                    attributes=attributes,
                    nodes=(way.node, *way.nodes),
                )
        return None

    return match


def _squared_difference(operation: Operation, builder: Builder) -> None:
    a, b = (builder.value(operand) for operand in operation.inputs)
    difference = builder.node("Sub", [a, b])
    builder.node("Mul", [difference, difference], outputs=operation.outputs)


def _match_squared_difference(root: ir.Node, scope: Scope) -> Operation | None:
    inputs = pair(root)
    if inputs is None:
        return None
    difference, other = inputs
    if root.op_type == "Mul" and other is not difference:
        return None
    if root.op_type == "Pow" and scope.number(other) != 2.0:
        return None
    node = hidden(difference, scope, "Sub", {root})
    operands = None if node is None else pair(node)
    if node is None or operands is None:
        return None
    return single("squared_difference", root, operands, inside=(node,))


def _add_n(operation: Operation, builder: Builder) -> None:
    inputs = [builder.value(operand) for operand in operation.inputs]
    builder.node("Sum", inputs, outputs=operation.outputs)


def _match_add_n(root: ir.Node, _scope: Scope) -> Operation | None:
    inputs = [value for value in root.inputs if value is not None]
    shapes = {extents(value) for value in inputs}
    known = [shape for shape in shapes if shape is not None and None not in shape]
    # TensorFlow Lite's ADD_N does not broadcast; two numbers to add are an addition.
    if len(inputs) > 1 and len(shapes) == len(known) == 1:
        return single("add_n", root, inputs)
    if len(inputs) != 2:
        return None
    return single("add", root, inputs, {"fused_activation_function": "NONE", **POWERS})


def _floor_div(operation: Operation, builder: Builder) -> None:
    a, b = (builder.value(operand) for operand in operation.inputs)
    if type_of(operation.outputs[0]).startswith("float"):
        builder.node("Floor", [builder.node("Div", [a, b])], outputs=operation.outputs)
        return
    # ONNX's division of integers drops the remainder: what is left without it divides exactly.
    whole = builder.node("Sub", [a, builder.node("Mod", [a, b])])
    builder.node("Div", [whole, b], outputs=operation.outputs)


def _match_floor_div(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "Floor":
        node = scope.inside(root.inputs[0], "Div")
        operands = None if node is None else pair(node)
        if node is None or operands is None:
            return None
        return single("floor_div", root, operands, inside=(node,))
    outer = pair(root)
    whole = None if outer is None else scope.inside(outer[0], "Sub")
    difference = None if whole is None else pair(whole)
    if outer is None or whole is None or difference is None:
        return None
    rest = scope.inside(difference[1], "Mod")
    if rest is None or attribute(rest, "fmod", 0) or pair(rest) != (difference[0], outer[1]):
        return None
    return single("floor_div", root, (difference[0], outer[1]), inside=(rest, whole))


KINDS = (
    *(
        Kind(name=name, build=_build, roots=(op, "Relu", "Clip"), match=_match(name, op))
        for name, op in BINARY.items()
    ),
    direct("maximum", "Max", 2),
    direct("minimum", "Min", 2),
    Kind(
        name="squared_difference",
        build=_squared_difference,
        roots=("Mul", "Pow"),
        match=_match_squared_difference,
    ),
    Kind(name="add_n", build=_add_n, roots=("Sum",), match=_match_add_n),
    direct("pow", "Pow", 2),
    direct("bitwise_xor", "BitwiseXor", 2),
    Kind(name="floor_div", build=_floor_div, roots=("Floor", "Div"), match=_match_floor_div),
)
