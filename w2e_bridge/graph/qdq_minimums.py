"""What is added to the weights of each block as an addition of constants, and back: a pair.

`qdq_emit` says a bias in the operator that dequantizes; engines that take dequantization apart from
everything else (TensorRT) want it as an operation on numbers. Bit for bit it is the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, is_op, is_weight, name_of, needed
from w2e_bridge.graph.planes import GridStorage, blocks, padded
from w2e_bridge.graph.qdq_emit import Spread, per_block, spread_of
from w2e_bridge.graph.qdq_parameters import insert_after, numbers
from w2e_bridge.graph.qdq_weights import grid_of
from w2e_bridge.graph.rewriting import constant
from w2e_bridge.ir.encoding import Offset, OffsetKind
from w2e_bridge.ir.tensor import Tensor

SUFFIX = ".scaled"
"""Behind the name of a weight that has yet to get its minimums."""


def add_minimums(editor: Editor) -> None:
    """Write the bias of every weight that has one as nodes; what is left of its encoding has none.

    before: W, codes with a scale and a bias for each block.
    after:  W = Reshape(Add(Reshape(W.scaled), Unsqueeze(W.bias))); without blocks, Add(W.scaled, W.bias).
    why exact: the encoding adds the same numbers, after scaling, in float32.
    """
    for graph in editor.model.graphs():
        for name, value in list(graph.initializers.items()):
            tensor = editor.tensors.get(name)
            offset = None if tensor is None else tensor.encoding.offset
            if tensor is None or offset is None or offset.kind is not OffsetKind.BIAS:
                continue
            if offset.block in (None, tensor.encoding.block):
                _write(value, tensor, editor)


def _write(value: ir.Value, tensor: Tensor, editor: Editor) -> None:
    graph, offset = value.graph, tensor.encoding.offset
    assert isinstance(graph, ir.Graph)
    assert offset is not None
    assert offset.encoding is not None
    readers = list(value.uses())
    outputs = [index for index, output in enumerate(graph.outputs) if output is value]
    bias = per_block(tensor, ".bias", offset.encoding, lambda parts: parts.offset)
    del graph.initializers[name_of(value)], editor.tensors[tensor.name]
    scaled = replace(
        tensor, name=tensor.name + SUFFIX, encoding=replace(tensor.encoding, offset=None)
    )
    stubs = editor.register(graph, scaled), editor.register(graph, bias)
    nodes = list(_sum(*stubs, tensor, editor))
    result = nodes[-1].outputs[0]
    result.type, result.shape, result.name = value.type, value.shape, tensor.name
    for node in nodes[:-1]:
        node.outputs[0].name = editor.free(f"{tensor.name}.{node.op_type.lower()}")
    insert_after(graph, stubs[0], nodes)
    for user, index in readers:
        user.replace_input_with(index, result)
    for index in outputs:
        graph.outputs[index] = result


def _sum(weight: ir.Value, bias: ir.Value, tensor: Tensor, editor: Editor) -> Iterator[ir.Node]:
    """The nodes that add one to the other; the last one gives the sum."""
    spread = spread_of(tensor.encoding, tensor.shape)
    graph = weight.graph
    assert isinstance(graph, ir.Graph)

    def whole(what: str, values: Sequence[int]) -> ir.Value:
        name = editor.free(f"{tensor.name}.{what}")
        return constant(graph, name, np.asarray(values, np.int64))

    axes = _axes(spread, len(tensor.shape))
    if axes:
        lifted = ir.node("Unsqueeze", [bias, whole("axes", axes)])
        yield lifted
        bias = lifted.outputs[0]
    if not spread.block:
        yield ir.node("Add", [weight, bias])
        return
    split = _split(tensor.shape, spread)
    apart = ir.node("Reshape", [weight, whole("blocks", split)])
    added = ir.node("Add", [apart.outputs[0], bias])
    yield apart
    yield added
    yield ir.node("Reshape", [added.outputs[0], whole("shape", tensor.shape)])


def _axes(spread: Spread, rank: int) -> list[int]:
    """Axes of extent 1 that the biases get to stand beside the weights."""
    if spread.axis is None:
        return []
    if spread.block:
        return [spread.axis + 1]
    return list(range(1, rank - spread.axis))


def _split(shape: tuple[int, ...], spread: Spread) -> tuple[int, ...]:
    """A shape whose blocked axis is two: blocks, and what is in a block."""
    assert spread.axis is not None
    size = shape[spread.axis]
    return (
        *shape[: spread.axis],
        size // spread.block,
        spread.block,
        *shape[spread.axis + 1 :],
    )


def fold_minimums(node: ir.Node, editor: Editor) -> None:
    """Make the bias of a weight of what is added to each of its blocks: the inverse of `add_minimums`.

    before: Reshape(Add(Reshape(weight without offset), minimums)), of constants.
    after:  W, a tensor with a bias.
    why exact: as there.

    Raises:
        Unrecognised: it is not that pattern.
    """
    added = needed(node, 0).producer()
    if not is_op(node, "Reshape") or added is None or not is_op(added, "Add"):
        raise Unrecognised("no sum")
    apart, minimums = needed(added, 0).producer(), needed(added, 1)
    if apart is None or not is_op(apart, "Reshape"):
        raise Unrecognised("no blocks")
    base = editor.constant(needed(apart, 0))
    if base.encoding.scale is None or base.encoding.offset is not None:
        raise Unrecognised("no weight without offset")
    if not isinstance(base.storage, GridStorage):
        raise Unrecognised("no weight of a file")
    spread, extents = (
        spread_of(base.encoding, base.shape),
        padded(base.encoding.block, len(base.shape)),
    )
    if not spread.block or base.shape[spread.axis or 0] % spread.block:
        raise Unrecognised("no blocks that fill their axis")
    grid = blocks(base.shape, extents)
    axis = (spread.axis or 0) + 1
    shapes = [_shape(given(n, 1), editor) for n in (apart, node)]
    if shapes != [_split(base.shape, spread), base.shape]:
        raise Unrecognised("other blocks")
    bias = _bias(minimums, grid, axis, editor)
    offset = Offset(kind=OffsetKind.BIAS, encoding=bias.encoding)
    storage = replace(base.storage, offset=grid_of(bias, base.shape, extents))
    name = editor.wanted.get(base.name, base.name).removesuffix(SUFFIX)
    editor.put(
        node,
        replace(base, name=name, encoding=replace(base.encoding, offset=offset), storage=storage),
    )


def _bias(value: ir.Value, grid: tuple[int, ...], axis: int, editor: Editor) -> Tensor:
    """The minimums of a grid of blocks, as they are or with an axis of extent 1 put in."""
    wanted = (*grid[:axis], 1, *grid[axis:])
    maker = value.producer()
    lifted = maker is not None and is_op(maker, "Unsqueeze")
    tensor = editor.constant(needed(maker, 0) if lifted and maker is not None else value)
    if tensor.encoding.quantized or tensor.shape != (grid if lifted else wanted):
        raise Unrecognised("minimums of another shape")
    if lifted and maker is not None and _shape(given(maker, 1), editor) != (axis,):
        raise Unrecognised("minimums along another axis")
    return replace(tensor, shape=grid)


def _shape(value: ir.Value | None, editor: Editor) -> tuple[int, ...]:
    if value is not None and not is_weight(value) and value.const_value is not None:
        return tuple(int(n) for n in value.const_value.numpy())
    return tuple(int(n) for n in numbers(editor.constant(value), whole=False))
