"""`QuantizeLinear` and `DequantizeLinear` folded into properties, and written out again: a pair.

The canonical graph has none of these nodes. Of constants they make tensors with an encoding
(`qdq_weights`), of values a quantization of the value (`qdq_values`); what fits neither stays a node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import STANDARD, Unrecognised, is_op
from w2e_bridge.graph.qdq_constants import fold_rounding
from w2e_bridge.graph.qdq_emit import unfold_weight
from w2e_bridge.graph.qdq_minimums import fold_minimums
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE, QUANTIZE, is_linear
from w2e_bridge.graph.qdq_unfold import unfold_values
from w2e_bridge.graph.qdq_values import fold_values
from w2e_bridge.graph.qdq_weights import fold_bias, fold_weight
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import Remark

QUANTIZED_OPS = (
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger",
)  # fmt: skip
"""Operators that speak of quantization; all `QLinear…` do as well."""


def fold(
    editor: Editor, known: Mapping[str, ActivationQuantization] | None = None
) -> tuple[dict[str, ActivationQuantization], tuple[Remark, ...]]:
    """Fold what can be folded.

    Args:
        editor: a model; weights get their encodings in it.
        known: quantization of real values by name, where something else read it before.

    Returns:
        The quantization of values by name, the known ones among them, and what stays as nodes.
    """
    done: dict[tuple[object, ...], ir.Value] = {}
    for node in editor.nodes():  # sorted, so that scales are folded before what they scale
        if is_linear(node, DEQUANTIZE):
            _fold_once(node, editor, done)
        elif is_linear(node, QUANTIZE):
            _try(fold_rounding, node, editor)
        elif is_op(node, "Add") or is_op(node, "Sub"):
            _try(fold_bias, node, editor)
        elif is_op(node, "Reshape"):
            _try(fold_minimums, node, editor)
    _own_names(editor)
    values = fold_values(editor, known or {})
    left = Counter(
        n.op_type
        for n in editor.nodes()
        if n.domain in (*STANDARD, "com.microsoft")
        and (n.op_type in QUANTIZED_OPS or n.op_type.startswith("QLinear"))
    )
    reason = "{} nodes stay in the graph as they are"
    return values, tuple(Remark(name=op, reason=reason.format(left[op])) for op in sorted(left))


def _fold_once(node: ir.Node, editor: Editor, done: dict[tuple[object, ...], ir.Value]) -> None:
    """Fold a weight; a node that reads the same constants in the same way gives the same weight."""
    said = sorted((name, str(attribute.value)) for name, attribute in node.attributes.items())
    key = (node.graph, *node.inputs, *said)
    output = node.outputs[0]
    if key in done and not output.is_graph_output():
        output.replace_all_uses_with(done[key])
        editor.drop([node])
        return
    try:
        done[key] = fold_weight(node, editor)
    except Unrecognised:
        return


def _own_names(editor: Editor) -> None:
    """Give tensors the names that they couldn't have while their codes were still read."""
    for name, wanted in list(editor.wanted.items()):
        if name not in editor.tensors or wanted in editor.taken:
            continue
        for graph in editor.model.graphs():
            if name in graph.initializers:
                graph.initializers[name].name = wanted
        editor.tensors[wanted] = replace(editor.tensors.pop(name), name=wanted)
        editor.taken.discard(name)
        editor.taken.add(wanted)
        del editor.wanted[name]


def _try(fold_one: object, node: ir.Node, editor: Editor) -> None:
    assert callable(fold_one)
    try:
        fold_one(node, editor)
    except Unrecognised:
        return


def unfold(editor: Editor, values: Mapping[str, ActivationQuantization]) -> None:
    """Write all encodings and quantizations as nodes; afterwards all tensors are plain.

    Raises:
        UnsupportedError: an encoding or quantization that these nodes can't say.
    """
    for graph in editor.model.graphs():
        for name, value in list(graph.initializers.items()):
            tensor = editor.tensors.get(name)
            if tensor is not None and tensor.encoding.quantized:
                unfold_weight(value, editor)
    unfold_values(editor, values)
