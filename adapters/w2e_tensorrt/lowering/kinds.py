"""Which values are floats, where the graph does not name the type of each."""

from __future__ import annotations

import onnx_ir as ir

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
)

WHOLE = frozenset(
    {"And", "ArgMax", "ArgMin", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less",
     "LessOrEqual", "NonMaxSuppression", "NonZero", "Not", "Or", "QuantizeLinear", "Shape", "Size",
     "Unique", "Xor"}
)  # fmt: skip
"""Operators whose results are never floats, whatever they read."""


def floats_of(model: ir.Model) -> frozenset[ir.Value]:
    """All float values of a model's graphs: those that say so, and what is computed of such."""
    found: set[ir.Value] = set()
    for graph in model.graphs():
        for value in [*graph.inputs, *graph.initializers.values()]:
            if value.dtype in FLOATS:
                found.add(value)
    for graph in model.graphs():
        for node in graph:
            for index, value in enumerate(node.outputs):
                if value.dtype in FLOATS or (value.dtype is None and _float(node, index, found)):
                    found.add(value)
    return frozenset(found)


def _float(node: ir.Node, index: int, found: set[ir.Value]) -> bool:
    """Whether a result is a float whose type nobody names."""
    if node.op_type in WHOLE or (index and node.op_type in ("MaxPool", "TopK", "Dropout")):
        return False
    if node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int()) in FLOATS
    data = node.attributes.get("value")
    if node.op_type in ("Constant", "ConstantOfShape"):
        typed = data is not None and data.type == ir.AttributeType.TENSOR
        return typed and data is not None and data.as_tensor().dtype in FLOATS
    operands = [v for v in node.inputs if v is not None][1 if node.op_type == "Where" else 0 :]
    return bool(operands) and operands[0] in found
