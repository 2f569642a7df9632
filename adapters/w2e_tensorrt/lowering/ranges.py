"""What a quantized range cuts off, said as an operator.

A quantizer that begins at 0 is a Relu as well: tools leave out the Relu whose work it does (onnxruntime's
quantize_static). A symmetric range cuts nothing off, so the Relu has to be there again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_op, name_of
from w2e_bridge.graph.rewriting import constant, read_instead
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer

POSITIVE = frozenset({"Relu", "Sigmoid", "Softmax", "Exp", "Abs", "Sqrt", "HardSigmoid"})
"""Operators whose results are never below 0."""

KEEPING = frozenset(
    {"MaxPool", "AveragePool", "GlobalAveragePool", "Reshape", "Transpose", "Flatten", "Concat",
     "Squeeze", "Unsqueeze", "Slice", "Identity", "Resize", "ReduceMean", "Split", "Gather"}
)  # fmt: skip
"""Operators whose results are not below 0 where no operand is."""


def rectify(
    model: ir.Model, values: Mapping[str, ActivationQuantization], *, ceiling: float = math.inf
) -> None:
    """Put a Relu where a range cuts off what is below 0 and nothing else does.

    before: y = op(x), quantized in a range that begins at 0.
    after:  y = Relu(op(x)); if the range ends at the ceiling, y = Clip(op(x), 0, ceiling), as for a Relu that is there.
    why exact: rounding to that range gave 0 for all below it, and its end for all above.

    Args:
        model: edited.
        values: what is quantized.
        ceiling: the upper bound of a Clip that tools leave out, of values that nothing else will cut off.
    """
    for graph in model.graphs():
        for node in list(graph):
            for value in node.outputs:
                found = values.get(name_of(value))
                if found is None:
                    continue
                top = ceiling if ends_at(found, ceiling) else math.inf
                if begins_at_zero(found) and not _positive(value, values):
                    _insert(graph, node, value, top)
                elif is_op(node, "Relu") and top < math.inf:
                    _cap(graph, node, top)


def begins_at_zero(found: ActivationQuantization) -> bool:
    """Whether the lowest code stands for 0."""
    if found.scale is None or not isinstance(found.codes, Integer) or np.size(found.scale) != 1:
        return False
    zero = 0 if found.zero_point is None else int(np.reshape(found.zero_point, ()))
    return zero == found.codes.low


def ends_at(found: ActivationQuantization, top: float) -> bool:
    """Whether the highest code stands for a number, as near as codes can."""
    if found.scale is None or not isinstance(found.codes, Integer) or np.size(found.scale) != 1:
        return False
    scale = float(np.reshape(found.scale, ()))
    zero = 0 if found.zero_point is None else int(np.reshape(found.zero_point, ()))
    return abs(scale * (found.codes.high - zero) - top) <= scale / 2


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


def _insert(graph: ir.Graph, node: ir.Node, value: ir.Value, top: float) -> None:
    name = name_of(value)
    if math.isinf(top):
        relu = ir.node("Relu", [value])
    else:
        relu = ir.node("Clip", [value, *_bounds(graph, name, top)])
    made = relu.outputs[0]
    graph.insert_after(node, relu)
    read_instead(graph, value, made)
    value.name, made.name = f"{name}.whole", name


def _cap(graph: ir.Graph, relu: ir.Node, top: float) -> None:
    """Make a Relu a Clip."""
    low, high = _bounds(graph, name_of(relu.outputs[0]), top)
    relu.op_type = "Clip"
    relu.resize_inputs(3)
    relu.replace_input_with(1, low)
    relu.replace_input_with(2, high)


def _bounds(graph: ir.Graph, name: str, top: float) -> list[ir.Value]:
    bounds = {f"{name}.low": 0.0, f"{name}.high": top}
    return [constant(graph, n, np.asarray(bound, np.float32)) for n, bound in bounds.items()]
