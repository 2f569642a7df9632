"""Products with quantized matrices as the canonical graph has them, (out, in): as MatMul(x, Transpose(W)) or Gemm."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import (
    Unrecognised,
    integer,
    is_op,
    is_weight,
    name_of,
    needed,
)
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.hints import PREFIX
from w2e_bridge.passes.layout.constants import turned as permuted


def turn_products(editor: Editor) -> None:
    """Rewrite every product whose second operand is a quantized matrix.

    before: MatMul(x, W) or Gemm(x, W, bias) with W (in, out).
    after:  MatMul(x, Transpose(W')) or Gemm(x, W', bias; transB=1) with W' (out, in).
    why exact: the same numbers are multiplied and added.
    """
    turned: dict[ir.Value, ir.Value] = {}
    for node in editor.nodes():
        try:
            if is_op(node, "MatMul"):
                _matmul(node, editor, turned)
            elif is_op(node, "Gemm"):
                _gemm(node, editor, turned)
        except Unrecognised:
            continue


def _matmul(node: ir.Node, editor: Editor, turned: dict[ir.Value, ir.Value]) -> None:
    if PREFIX + "kind" in node.metadata_props:
        raise Unrecognised("a kernel that reads it as it is")
    matrix = _out_in(needed(node, 1), editor, turned)
    flip = ir.node("Transpose", [matrix], {"perm": (1, 0)})
    flip.outputs[0].name = editor.free(f"{name_of(matrix)}.transposed")
    assert isinstance(node.graph, ir.Graph)
    node.graph.insert_before(node, flip)
    node.replace_input_with(1, flip.outputs[0])


def _gemm(node: ir.Node, editor: Editor, turned: dict[ir.Value, ir.Value]) -> None:
    if integer(node, "transB", 0):
        raise Unrecognised("it is (out, in) already")
    node.replace_input_with(1, _out_in(needed(node, 1), editor, turned))
    node.attributes["transB"] = ir.AttrInt64("transB", 1)


def _out_in(value: ir.Value, editor: Editor, turned: dict[ir.Value, ir.Value]) -> ir.Value:
    """The stub of a matrix (in, out) as (out, in), under the matrix' own name."""
    if value not in turned:
        graph, tensor = _quantized(value, editor)
        if any(not _multiplies(user, index) for user, index in value.uses()):
            raise Unrecognised("a matrix that is read in other ways too")
        other = permuted(tensor, (1, 0))
        if other is None:
            raise Unrecognised("an encoding whose axes can't be exchanged")
        del editor.tensors[tensor.name]
        graph.initializers.pop(tensor.name)
        editor.taken.discard(tensor.name)
        turned[value] = editor.register(graph, other)
    return turned[value]


def _multiplies(user: ir.Node, index: int) -> bool:
    gemm = is_op(user, "Gemm") and not integer(user, "transB", 0)
    return index == 1 and (gemm or is_op(user, "MatMul"))


def _quantized(value: ir.Value, editor: Editor) -> tuple[ir.Graph, Tensor]:
    graph = value.graph
    if not is_weight(value) or not isinstance(graph, ir.Graph) or value.is_graph_output():
        raise Unrecognised("no constant matrix")
    tensor = editor.constant(value)
    if not tensor.encoding.quantized or len(tensor.shape) != 2:
        raise Unrecognised("no quantized matrix")
    return graph, tensor
