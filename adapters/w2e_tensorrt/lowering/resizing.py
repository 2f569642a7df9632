"""Resizing of codes, as resizing of numbers."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_op, name_of, needed
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer

ROUNDING = "QuantizeLinear", "DequantizeLinear"


def resize_numbers(
    model: ir.Model, values: Mapping[str, ActivationQuantization]
) -> dict[str, ActivationQuantization]:
    """Interpolate numbers instead of codes.

    before: y = DequantizeLinear(Resize(QuantizeLinear(x))), all with one scale and zero point.
    after:  y = Resize(x), of which both are quantized so.
    why: interpolation is linear; ONNX Runtime cuts its results off to whole codes (1.32, upsample.cc), which
        is a step at most. No code type of TensorRT is resized.

    Returns:
        The quantization of values, with that of the results.
    """
    found = dict(values)
    for graph in model.graphs():
        for node in list(graph):
            rounding = node.inputs[0].producer() if node.inputs and node.inputs[0] else None
            if is_op(node, "Resize") and rounding is not None and is_op(rounding, ROUNDING[0]):
                _numbers(graph, node, rounding, found)
    return found


def _numbers(
    graph: ir.Graph, node: ir.Node, rounding: ir.Node, found: dict[str, ActivationQuantization]
) -> None:
    codes = node.outputs[0]
    readers = [user for user, _ in codes.uses()]
    same = all(
        is_op(user, ROUNDING[1]) and list(user.inputs[1:]) == list(rounding.inputs[1:])
        for user in readers
    )
    real, quantization = needed(rounding, 0), found.get(name_of(needed(rounding, 0)))
    if quantization is None or not readers or not same or codes.is_graph_output():
        return
    scale = quantization.scale
    if not isinstance(quantization.codes, Integer) or scale is None or scale.size != 1:
        return
    node.replace_input_with(0, real)
    first, name = readers[0].outputs[0], name_of(readers[0].outputs[0])
    for reader in readers:
        reader.outputs[0].replace_all_uses_with(codes, replace_graph_outputs=True)
        graph.remove(reader, safe=True)
    codes.type, codes.shape = first.type or real.type, first.shape or codes.shape
    first.name = None
    codes.name = name
    found[name] = quantization
    if not rounding.outputs[0].uses():
        graph.remove(rounding, safe=True)
