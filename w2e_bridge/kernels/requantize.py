"""Changes of a value's type: real numbers to codes and back, codes to codes, numbers to numbers."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given, name_of
from w2e_bridge.graph.weights import DTYPE_NAMES, DTYPES
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import single, type_of
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Attribute, Operand, Operation
from w2e_bridge.kernels.scope import Scope, attribute


def _same(operation: Operation, builder: Builder) -> None:
    # Quantization is a property of values: between two of them nothing else happens.
    x = builder.value(operation.inputs[0])
    builder.node("Identity", [x], outputs=operation.outputs)


def _match_quantize(root: ir.Node, scope: Scope) -> Operation | None:
    x = given(root, 0)
    if x is None or scope.static(root.outputs[0]) is None:
        return None
    return single("quantize", root, [x])


def _match_dequantize(root: ir.Node, scope: Scope) -> Operation | None:
    x = given(root, 0)
    if x is None or scope.quantization(root.outputs[0]) is not None:
        return None
    tensor = scope.tensor(x)
    quantized = tensor is not None and tensor.encoding.quantized
    if not quantized and scope.static(x) is None:
        return None
    return single("dequantize", root, [x])


def _cast(operation: Operation, builder: Builder) -> None:
    if _quantization(operation.outputs[0], builder.values) is not None:
        raise UnsupportedError("a cast to codes that have a scale")
    to = type_of(operation.outputs[0]) or operation.text("out_data_type").lower()
    if to not in DTYPES:
        raise UnsupportedError(f"cast to {to}")
    x = builder.value(operation.inputs[0])
    found = _quantization(operation.inputs[0], builder.values)
    if found is not None and found.scale is not None:
        # TensorFlow Lite casts codes, whatever their scale: back from real numbers to codes.
        steps = builder.node("Div", [x, builder.reals("scale", float(found.scale))])
        zero = 0.0 if found.zero_point is None else float(found.zero_point)
        x = builder.node("Add", [builder.node("Round", [steps]), builder.reals("zero_point", zero)])
    builder.node("Cast", [x], {"to": int(DTYPES[to])}, outputs=operation.outputs)


def _quantization(
    value: Operand, values: Mapping[str, ActivationQuantization]
) -> ActivationQuantization | None:
    return values.get(name_of(value)) if isinstance(value, ir.Value) else None


def _match_cast(root: ir.Node, scope: Scope) -> Operation | None:
    x, to = given(root, 0), attribute(root, "to")
    if x is None or not isinstance(to, int) or scope.quantization(x) is not None:
        return None
    into = DTYPE_NAMES.get(ir.DataType(to), "").upper()
    coded = _codes(x, scope)
    if coded is not None:
        value, nodes = coded
        held = scope.static(value)
        assert held is not None
        types: dict[str, Attribute] = {
            "in_data_type": str(held.codes).upper(),
            "out_data_type": into,
        }
        return single("cast", root, [value], types, inside=nodes)
    types = {"in_data_type": type_of(x).upper(), "out_data_type": into}
    return single("cast", root, [x], types) if all(types.values()) else None


def _codes(value: ir.Value, scope: Scope) -> tuple[ir.Value, list[ir.Node]] | None:
    """The quantized value of which another is the codes, and the nodes between."""
    nodes: list[ir.Node] = []
    numbers: list[float | None] = []
    inner: ir.Value | None = value
    for op in ("Add", "Round", "Div"):
        node = scope.inside(inner, op)
        if node is None:
            return None
        nodes.append(node)
        inner = given(node, 0)
        if op != "Round":
            numbers.append(scope.number(given(node, 1)))
    held = scope.static(inner)
    if inner is None or held is None or held.scale is None:
        return None
    zero = 0.0 if held.zero_point is None else float(held.zero_point)
    return (inner, nodes[::-1]) if numbers == [zero, float(held.scale)] else None


KINDS = (
    Kind(name="quantize", build=_same, roots=("Identity",), match=_match_quantize),
    Kind(name="dequantize", build=_same, roots=("Identity",), match=_match_dequantize),
    Kind(name="cast", build=_cast, roots=("Cast",), match=_match_cast),
)
