"""What a range of the source cuts off, where the target keeps no range or a wider one.

TensorFlow Lite gives some results the range of what they were made from, whatever they are (a product by 4
in the range of its factor): numbers beyond are cut off, and that is part of what the model computes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.graph.rewriting import constant, read_instead
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.tensor import Tensor
from w2e_tensorrt.lowering.bounds import Bounds, Interval, range_of

Values = Mapping[str, ActivationQuantization]


def cut(work: ir.Model, values: Values, kept: Values, tensors: Mapping[str, Tensor]) -> None:
    """Cut off with an operator what no quantizer of the target cuts off.

    before: y = op(x), in the source held to a range that its numbers go beyond.
    after:  y = Clip(op(x), low, high) of that range, unless y stays quantized in the same one.
    why: rounding gave the range's ends for all beyond. Of an inner sum or product of weights nobody knows
        how far it reaches, and a Clip keeps it from being fused: there it is left out.

    Args:
        work: edited.
        values: the source's quantization.
        kept: what stays quantized.
        tensors: the graph's constants.
    """
    bounds = Bounds(tensors=tensors)
    for graph in work.graphs():
        for value in graph.inputs:
            bounds.known[value] = range_of(values.get(name_of(value)))
        for node in list(graph):
            found = bounds.result(node)
            for value in node.outputs:
                name = name_of(value)
                own, held = range_of(values.get(name)), range_of(kept.get(name))
                first = value is node.outputs[0] or node.op_type == "Split"
                bounds.known[value] = _narrower(found if first else None, own)
                if own is None or not _beyond(_narrower(found, held), own):
                    continue
                public = graph is work.graph and value.is_graph_output()
                if public or (found is not None and _alone(node)):
                    _insert(graph, value, own, bounds)


def _alone(node: ir.Node) -> bool:
    """Whether one value alone decides how far another reaches: an operator of it, or of it and one number."""
    others = [operand for operand in node.inputs if operand is not None and not _number(operand)]
    return len(others) == 1 and not is_weight(others[0])


def _number(operand: ir.Value) -> bool:
    return operand.const_value is not None and operand.const_value.size == 1


def _narrower(found: Interval | None, own: Interval | None) -> Interval | None:
    """What lies in both."""
    if found is None or own is None:
        return found or own
    low, high = max(found[0], own[0]), min(found[1], own[1])
    return (low, high) if low <= high else own


def _beyond(found: Interval | None, own: Interval) -> bool:
    """Whether numbers lie outside by more than a step of 8 bits, which is rounding."""
    step = (own[1] - own[0]) / 255
    return found is None or found[0] < own[0] - step or found[1] > own[1] + step


def _insert(graph: ir.Graph, value: ir.Value, own: Interval, bounds: Bounds) -> None:
    """Put a Clip behind a value, which takes over its name and readers."""
    name, maker = name_of(value), value.producer()
    assert maker is not None
    ends = [
        constant(graph, f"{name}.{end}", np.asarray(bound, np.float32))
        for end, bound in zip(("low", "high"), own, strict=True)
    ]
    node = ir.node("Clip", [value, *ends])
    made = node.outputs[0]
    graph.insert_after(maker, node)
    read_instead(graph, value, made)
    value.name, made.name = f"{name}.uncut", name
    bounds.known[made], bounds.known[value] = own, None
