"""Operators that compute with codes, back to operators on real numbers with a quantization.

An operator is first written out as what it means, `DequantizeLinear` of its operands, a real operator and
`QuantizeLinear` of the result (`recognise_operators_table` has a row for each); `w2e_bridge.graph.qdq` then makes
properties of those nodes, as it does of those that were in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised
from w2e_bridge.graph.qdq import fold
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import Remark
from w2e_onnx.recognise_expansion import Expand, Expansion
from w2e_onnx.recognise_operators_dynamic import Dynamic
from w2e_onnx.recognise_operators_products import turn_products
from w2e_onnx.recognise_operators_table import expander
from w2e_onnx.recognise_trt import expander as trt
from w2e_onnx.recognise_trt_dynamic import Blocks


def run(
    editor: Editor,
    known: Mapping[str, ActivationQuantization] | None = None,
    handlers: Mapping[str, Expand] | None = None,
) -> tuple[dict[str, ActivationQuantization], tuple[Remark, ...]]:
    """Lift all quantization of a graph.

    Args:
        editor: a model; tensors that something else read have an encoding already.
        known: quantization of real values that something else read.
        handlers: domain to what writes out the calls of its functions.

    Returns:
        The quantization of values by name, the known ones among them, and what stays as nodes.
    """
    dynamic, blocks = Dynamic(editor=editor), Blocks(editor=editor)
    for node in editor.nodes():
        handler = (handlers or {}).get(node.domain)
        expand = handler or expander(node) or blocks.expander(node) or trt(node) or dynamic.expand
        try:
            if node.graph is not None:  # not gone with another one
                expand(Expansion(node=node, editor=editor))
        except Unrecognised:
            continue
    values, left = fold(editor, known)
    turn_products(editor)
    return blocks.finish(dynamic.finish(values)), left
