"""What a quantized range cuts off, said as an operator.

A quantizer that begins at 0 is a Relu as well: tools leave out the Relu whose work it does (onnxruntime's
quantize_static). A symmetric range cuts nothing off, so the Relu has to be there again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer

POSITIVE = frozenset({"Relu", "Sigmoid", "Softmax", "Exp", "Abs", "Sqrt", "HardSigmoid"})
"""Operators whose results are never below 0."""

KEEPING = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Transpose", "Flatten", "Concat",
     "Squeeze", "Unsqueeze", "Slice", "Identity", "Resize", "ReduceMean", "Split", "Gather"}
)  # fmt: skip
"""Operators whose results are not below 0 where no operand is."""


def rectify(model: ir.Model, values: Mapping[str, ActivationQuantization]) -> None:
    """Put a Relu where a range cuts off what is below 0 and nothing else does.

    before: y = op(x), quantized in a range that begins at 0.
    after:  y = Relu(op(x)).
    why exact: rounding to that range gave 0 for all below it.
    """
    for graph in model.graphs():
        for node in list(graph):
            for value in node.outputs:
                found = values.get(name_of(value))
                if found is not None and begins_at_zero(found) and not _positive(value, values):
                    _insert(graph, node, value)


def begins_at_zero(found: ActivationQuantization) -> bool:
    """Whether the lowest code stands for 0."""
    if found.scale is None or not isinstance(found.codes, Integer) or np.size(found.scale) != 1:
        return False
    zero = 0 if found.zero_point is None else int(np.reshape(found.zero_point, ()))
    return zero == found.codes.low


def _positive(value: ir.Value | None, values: Mapping[str, ActivationQuantization]) -> bool:
    """Whether a value is not below 0 before it is rounded."""
    node = None if value is None else value.producer()
    if node is None:
        return False
    if node.op_type in POSITIVE:
        return True
    if node.op_type == "Clip":
        low = node.inputs[1] if len(node.inputs) > 1 else None
        return low is not None and low.const_value is not None and _clipped(low)
    if node.op_type not in KEEPING:
        return False
    return all(
        operand is not None and _rounded_positive(operand, values)
        for operand in (node.inputs if node.op_type == "Concat" else node.inputs[:1])
    )


def _rounded_positive(value: ir.Value, values: Mapping[str, ActivationQuantization]) -> bool:
    found = values.get(name_of(value))
    return (found is not None and begins_at_zero(found)) or _positive(value, values)


def _clipped(low: ir.Value) -> bool:
    try:
        return bool((low.const_value.numpy() >= 0).all()) if low.const_value is not None else False
    except NotImplementedError:  # a constant whose number lies elsewhere
        return False


def _insert(graph: ir.Graph, node: ir.Node, value: ir.Value) -> None:
    name = name_of(value)
    users, public = list(value.uses()), value.is_graph_output()
    relu = ir.node("Relu", [value])
    made = relu.outputs[0]
    made.type, made.shape = value.type, value.shape
    graph.insert_after(node, relu)
    for user, index in users:
        user.replace_input_with(index, made)
    if public:
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = made
    value.name, made.name = f"{name}.whole", name
