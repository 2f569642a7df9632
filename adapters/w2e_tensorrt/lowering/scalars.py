"""Codes of a single number with an axis, since no engine is built of those without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.graph.rewriting import at_start, constant, read_instead


def with_axis(editor: Editor) -> None:
    """Give every quantized constant of rank 0 an axis of one, and take it off behind.

    before: W, a number with an encoding.
    after:  W = Reshape(W.one, []), W.one of shape (1,).
    why: TensorRT-RTX 1.7.1 parses DequantizeLinear of a scalar and builds no engine of it ("quantized
        constant is only allowed before DQ"): its broadcast puts a reshape between the two.
    """
    for graph in editor.model.graphs():
        for name, value in list(graph.initializers.items()):
            tensor = editor.tensors.get(name)
            if tensor is not None and tensor.encoding.quantized and not tensor.shape:
                _give_axis(editor, graph, value)


def _give_axis(editor: Editor, graph: ir.Graph, value: ir.Value) -> None:
    name, tensor = name_of(value), editor.constant(value)
    one = editor.register(graph, replace(tensor, name=f"{name}.one", shape=(1,)))
    shape = constant(graph, editor.free(f"{name}.shape"), np.empty(0, np.int64))
    node = ir.node("Reshape", [one, shape])
    made = node.outputs[0]
    at_start(graph, node)
    read_instead(graph, value, made)
    editor.drop_constant(value)
    made.name = name
    editor.taken.add(name)
