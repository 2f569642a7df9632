"""Q/DQ beside operators that only move codes: ONNX Runtime adds pairs there at load, and fails.

before: DequantizeLinear → Reshape → anything; anything → Reshape → QuantizeLinear.
after:  DequantizeLinear → Reshape → QuantizeLinear → DequantizeLinear → anything; the other likewise.
why exact: what is moved are codes already, or becomes codes either way.
    Only where the graph can't be written in an operator set before 21, which is as good.
why at all: ONNX Runtime 1.32 adds the same pairs at load (core/optimizer/qdq_transformer/qdq_propagation.cc),
    from operator set 21 on with the attribute `output_dtype` of the old type; on x86 it then makes int8
    codes uint8, and refuses its own node ("output_dtype INT8 does not match y_zero_point type UINT8").
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import STANDARD, is_op, name_of
from w2e_bridge.graph.qdq_emit import OPSETS
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE, QUANTIZE
from w2e_bridge.graph.qdq_values import CODES, HIDDEN
from w2e_bridge.graph.weights import DTYPES

MOVES = ("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice")
"""Operators that ONNX Runtime looks through; an Identity is gone before it looks."""

_LATER = frozenset(DTYPES[name] for name in ("int16", "uint16", "int4", "uint4", "bfloat16"))
"""Types of elements that operators took on later, some of them."""

SINCE = OPSETS["int16"]
"""The operator set with `output_dtype`."""


def settle(editor: Editor, opset: int) -> int:
    """Write the graph in older words, or where it has none, add the pairs that are missing.

    Args:
        editor: a graph of Q/DQ nodes.
        opset: that it is written in.

    Returns:
        The operator set that it is written in now.
    """
    codes = [n for n in editor.nodes() if _of_int8(n, DEQUANTIZE) or _of_int8(n, QUANTIZE)]
    if opset < SINCE or not codes:
        return opset
    if sayable_in(editor, SINCE - 1):
        return SINCE - 1
    for graph in editor.model.graphs():
        for node in list(graph):
            if _of_int8(node, DEQUANTIZE):
                _forward(editor, graph, node)
        for node in reversed(list(graph)):
            if _of_int8(node, QUANTIZE):
                _backward(editor, graph, node)
    return opset


def sayable_in(editor: Editor, opset: int) -> bool:
    """Whether all nodes are operators of an older set, without later attributes and types of elements."""
    from onnx import defs

    nodes = [*editor.nodes(), *(n for f in editor.model.functions.values() for n in f)]
    for node in nodes:
        if node.domain not in STANDARD:
            continue
        if not defs.has(node.op_type, max_inclusive_version=opset, domain=""):
            return False
        known = defs.get_schema(node.op_type, max_inclusive_version=opset, domain="").attributes
        if any(name not in known for name in node.attributes):
            return False
    values = (value for node in nodes for value in (*node.inputs, *node.outputs))
    return not any(value is not None and value.dtype in _LATER for value in values)


def _of_int8(node: ir.Node, kind: str) -> bool:
    """Whether a node has one scale, known before the run, and int8 codes."""
    if not is_op(node, kind) or len(node.inputs) < 3 or _weight(node.inputs[0]):
        return False
    scale, zero = node.inputs[1:3]
    if scale is None or zero is None or not (_weight(scale) and _weight(zero)):
        return False
    return zero.dtype == ir.DataType.INT8 and scale.shape is not None and not len(scale.shape)


def _weight(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer()


def _forward(editor: Editor, graph: ir.Graph, node: ir.Node) -> None:
    """Carry the scale of a DequantizeLinear along what moves its output; each reader has its own at load."""
    scale, ahead = node.inputs[1:3], [node.outputs[0]]
    while ahead:
        for mover, index in list(ahead.pop().uses()):
            moved = mover.outputs[0]
            if index != 0 or mover.graph is not graph:
                continue
            if is_op(mover, "Identity"):
                ahead.append(moved)
            elif mover.op_type in MOVES and _real(moved):
                ahead.append(_insert(editor, graph, moved, scale))


def _real(value: ir.Value) -> bool:
    """Whether anything reads a value as it is, not only its codes."""
    readers = [user for user, _ in value.uses()]
    return value.is_graph_output() or not all(is_op(user, QUANTIZE) for user in readers)


def _backward(editor: Editor, graph: ir.Graph, node: ir.Node) -> None:
    """Carry the scale of a QuantizeLinear to what is moved before it."""
    scale, read = node.inputs[1:3], node.inputs[0]
    while read is not None and (mover := read.producer()) is not None:
        source = mover.inputs[0] if mover.inputs else None
        if source is None or not (_only_reader(read) and _only_reader(source)):
            return
        if mover.op_type in MOVES and _made(source, graph):
            _insert(editor, graph, source, scale)
        elif not is_op(mover, "Identity"):
            return
        read = source


def _made(value: ir.Value, graph: ir.Graph) -> bool:
    """Whether a value is computed in a graph, and not of codes."""
    maker = value.producer()
    while is_op(maker, "Identity"):
        assert maker is not None
        before = maker.inputs[0]
        maker = None if before is None else before.producer()
    return maker is not None and maker.graph is graph and not is_op(maker, DEQUANTIZE)


def _only_reader(value: ir.Value) -> ir.Node | None:
    """The node that alone reads a value, as its first input."""
    uses = list(value.uses())
    if len(uses) != 1 or uses[0][1] != 0 or value.is_graph_output():
        return None
    return uses[0][0]


def _insert(
    editor: Editor, graph: ir.Graph, value: ir.Value, scale: Sequence[ir.Value | None]
) -> ir.Value:
    """Round a value and give its name to what is dequantized."""
    maker, name = value.producer(), name_of(value)
    assert maker is not None
    quantize = ir.node(QUANTIZE, [value, *scale])
    codes = quantize.outputs[0]
    dequantize = ir.node(DEQUANTIZE, [codes, *scale])
    result = dequantize.outputs[0]
    result.type, result.shape = value.type, value.shape
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    quantize.replace_input_with(0, value)
    graph.insert_after(maker, [quantize, dequantize])
    value.name, codes.name = editor.free(name + HIDDEN), editor.free(name + CODES)
    result.name = name
    return result
