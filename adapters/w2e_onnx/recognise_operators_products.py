"""Products with quantized matrices as the canonical graph has them: MatMul(x, Transpose(W)), W as (out, in)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import (
    Unrecognised,
    given,
    integer,
    is_op,
    is_weight,
    name_of,
    needed,
    only_output,
)
from w2e_bridge.graph.planes import padded
from w2e_bridge.graph.qdq_weights import shortest
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor


def turn_products(editor: Editor) -> None:
    """Rewrite every product whose second operand is a quantized matrix.

    before: MatMul(x, W) with W (in, out), or Gemm(x, W, bias) with W either way.
    after:  MatMul(x, Transpose(W')) with W' (out, in), and Add(…, bias).
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
    matrix = _out_in(needed(node, 1), editor, turned)
    flip = ir.node("Transpose", [matrix], {"perm": (1, 0)})
    flip.outputs[0].name = editor.free(f"{name_of(matrix)}.transposed")
    assert isinstance(node.graph, ir.Graph)
    node.graph.insert_before(node, flip)
    node.replace_input_with(1, flip.outputs[0])


def _gemm(node: ir.Node, editor: Editor, turned: dict[ir.Value, ir.Value]) -> None:
    numbers = [node.attributes.get(name) for name in ("alpha", "beta")]
    if integer(node, "transA", 0) or any(a is not None and a.value != 1.0 for a in numbers):
        raise Unrecognised("factors of the product")
    weights, bias, output = needed(node, 1), given(node, 2), only_output(node)
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise Unrecognised("inside a function")
    _quantized(weights, editor)
    matrix = weights if integer(node, "transB", 0) else _out_in(weights, editor, turned)
    flip = ir.node("Transpose", [matrix], {"perm": (1, 0)})
    product = ir.node("MatMul", [needed(node, 0), flip.outputs[0]])
    made = [flip, product]
    if bias is not None:
        made.append(ir.node("Add", [product.outputs[0], bias]))
    result = made[-1].outputs[0]
    for new, word in zip(made, ("transposed", "product"), strict=False):
        new.outputs[0].name = editor.free(f"{name_of(output)}.{word}")
    result.type, result.shape = output.type, output.shape
    graph.insert_before(node, made)
    name = name_of(output)
    output.replace_all_uses_with(result, replace_graph_outputs=True)
    editor.drop([node])
    result.name = name
    editor.taken.add(name)


def _out_in(value: ir.Value, editor: Editor, turned: dict[ir.Value, ir.Value]) -> ir.Value:
    """The stub of a matrix (in, out) as (out, in), under the matrix' own name."""
    if value not in turned:
        graph, tensor = _quantized(value, editor)
        if any(not _multiplies(user, index) for user, index in value.uses()):
            raise Unrecognised("a matrix that is read in other ways too")
        other = transposed(tensor)
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


def transposed(tensor: Tensor) -> Tensor:
    """A quantized matrix with its axes exchanged, codes and scales as they are.

    Raises:
        Unrecognised: an encoding whose scales have scales, or lie in another way than in blocks.
    """
    encoding, offset = tensor.encoding, tensor.encoding.offset
    levels = [encoding.scale, None if offset is None else offset.encoding]
    if any(level is not None and level.quantized for level in levels):
        raise Unrecognised("scales with scales of their own")
    if encoding.flat or encoding.permutation or encoding.companions:
        raise Unrecognised("columns in an order of their own")
    if offset is not None and offset.block is not None:
        raise Unrecognised("zero points in blocks of their own")
    extents = padded(encoding.block, 2)
    rows, columns = tensor.shape

    def compute(start: int, stop: int) -> Parts:
        whole = tensor.storage.parts(0, rows)

        def grid(parts: Parts | None) -> Parts | None:
            if parts is None:
                return None
            return Parts(codes=_grid(parts.codes, (rows, columns), extents)[start:stop])

        return Parts(
            codes=np.ascontiguousarray(whole.codes[:, start:stop].T),
            scale=grid(whole.scale),
            offset=grid(whole.offset),
        )

    turned: Encoding = replace(encoding, block=shortest((extents[1], extents[0])))
    return replace(
        tensor,
        shape=(columns, rows),
        encoding=turned,
        storage=ComputedStorage(compute=compute),
    )


def _grid(codes: AnyArray, shape: tuple[int, int], extents: tuple[int, ...]) -> AnyArray:
    """What there is one of for each block, of each column: (rows or 1, blocks) to (columns, blocks)."""
    row, column = (extent or size for extent, size in zip(extents, shape, strict=True))
    first = np.zeros(1, int) if codes.shape[0] == 1 else np.arange(0, shape[0], row)
    found = codes[first][:, np.arange(shape[1]) // column]
    blocks = -(-shape[0] // row)
    return np.ascontiguousarray(np.broadcast_to(found, (blocks, shape[1])).T)
