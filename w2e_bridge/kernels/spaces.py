"""Positions moved between the axes of an image: depth, space and batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.bounds import sliced
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.padding import unpadded
from w2e_bridge.kernels.reading import extents, inside, int32, integers, number, text
from w2e_bridge.kernels.scope import Match, Scope, attribute, image
from w2e_bridge.kernels.shape import single

OPERATORS = {"depth_to_space": "DepthToSpace", "space_to_depth": "SpaceToDepth"}
REAL = (None, ir.DataType.FLOAT, ir.DataType.UINT8, ir.DataType.INT8)
"""Types for which ONNX Runtime has these operators."""
TURNED = (0, 1, 3, 2, 4, 5)
"""Between (batch, extent, block, extent, block, rest) and (batch, extent, extent, block, block, rest)."""


def _depth(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    if x.dtype not in REAL:
        turned(operation, builder)
        return
    attributes: dict[str, object] = {"blocksize": operation.integer("block_size")}
    if operation.kind == "depth_to_space":
        attributes["mode"] = "DCR"
    builder.channels_last(OPERATORS[operation.kind], [x], operation, attributes)


def turned(operation: Operation, builder: Builder) -> None:
    """The same for every type, and without turning the image: Reshape, Transpose, Reshape.

    Raises:
        UnsupportedError: the image's extents are not known.
    """
    x = builder.value(operation.inputs[0])
    shape = _known(extents(x), operation.kind)
    first, last = depth_shapes(operation.kind, shape, operation.integer("block_size"))
    split = builder.node("Reshape", [x, builder.integers("blocks", first)])
    moved = builder.node("Transpose", [split], {"perm": TURNED})
    target = builder.integers("shape", last)
    builder.node("Reshape", [moved, target], outputs=operation.outputs)


def depth_shapes(kind: str, shape: Sequence[int], block: int) -> tuple[list[int], list[int]]:
    """The shapes behind the two Reshapes; the batch is -1 where it isn't known."""
    batch, height, width, depth = shape
    if kind == "depth_to_space":
        inner = depth // block**2
        first = [batch, height, width, block, block, inner]
        return first, [batch, height * block, width * block, inner]
    high, wide = height // block, width // block
    first = [batch, high, block, wide, block, depth]
    return first, [batch, high, wide, depth * block**2]


def _match_depth(kind: str) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        if root.op_type == "Reshape":
            return _match_turned(kind, root, scope)
        found = image(root, scope, OPERATORS[kind])
        if found is None or text(found.node, "mode", "DCR") != "DCR":
            return None
        return Operation(
            kind=kind,
            inputs=(found.x,),
            outputs=(root.outputs[0],),
            attributes={"block_size": number(found.node, "blocksize", 0)},
            nodes=found.nodes,
        )

    return match


def _match_turned(kind: str, root: ir.Node, scope: Scope) -> Operation | None:
    moved = inside(root, 0, scope, "Transpose")
    split = None if moved is None else inside(moved, 0, scope, "Reshape")
    if moved is None or split is None or attribute(moved, "perm") != TURNED:
        return None
    first, last = integers(given(split, 1), scope), integers(given(root, 1), scope)
    shape, x = extents(given(split, 0)), given(split, 0)
    if first is None or last is None or shape is None or len(shape) != 4 or None in shape[1:]:
        return None
    # In the middle of both forms stands a block: of depth_to_space it is fourth, of the other third.
    block = first[3 if kind == "depth_to_space" else 2]
    if block < 1 or depth_shapes(kind, _known(shape, kind), block) != (first, last):
        return None
    return single(kind, root, (x,), {"block_size": block}, (split, moved))


def blocks_to_batch(count: int, rank: int) -> list[int]:
    """Permutation of (batch, [extent, block] of each spatial axis, rest) that puts blocks in front."""
    extents_at = [1 + 2 * i for i in range(count)]
    return [*(a + 1 for a in extents_at), 0, *extents_at, *range(1 + 2 * count, rank + count)]


def batch_to_blocks(count: int, rank: int) -> list[int]:
    """Permutation of (blocks, batch, spatial axes, rest) that puts each block behind its axis."""
    pairs = [(count + 1 + i, i) for i in range(count)]
    return [count, *(a for pair in pairs for a in pair), *range(2 * count + 1, rank + count)]


def _known(shape: Sequence[int | None] | None, what: str) -> list[int]:
    if shape is None or None in shape[1:]:
        raise UnsupportedError(f"{what} of an image of unknown extent")
    return [-1 if n is None else n for n in shape]


def _space_to_batch(operation: Operation, builder: Builder) -> None:
    space_to_batch(operation, builder)


def space_to_batch(operation: Operation, builder: Builder, fill: ir.Value | None = None) -> None:
    """The nodes of space_to_batch_nd; `fill` stands around the image, where it is not 0."""
    x = builder.value(operation.inputs[0])
    blocks = builder.numbers(operation.inputs[1], "block shape")
    pairs = np.reshape(builder.numbers(operation.inputs[2], "paddings"), (-1, 2))
    shape = _known(extents(x), "space_to_batch_nd")
    count = len(blocks)
    if pairs.any():
        whole = np.zeros((len(shape), 2), np.int64)
        whole[1 : 1 + count] = pairs
        pads = builder.integers("pads", [int(n) for n in whole.T.reshape(-1)])
        x = builder.node("Pad", [x, pads] if fill is None else [x, pads, fill])
    first, last = batch_shapes(shape, blocks, pairs.sum(axis=1).tolist())
    split = builder.node("Reshape", [x, builder.integers("blocks", first)])
    turned = builder.node("Transpose", [split], {"perm": blocks_to_batch(count, len(shape))})
    target = builder.integers("shape", last)
    builder.node("Reshape", [turned, target], outputs=operation.outputs)


def batch_shapes(
    shape: Sequence[int], blocks: Sequence[int], added: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The shapes behind the two Reshapes of space_to_batch_nd.

    Args:
        shape: of the input, the batch -1 where it isn't known.
        blocks: extents of a block along the spatial axes.
        added: what padding adds to each of them.
    """
    count = len(blocks)
    spatial = [
        (n + more) // block for n, more, block in zip(shape[1:], added, blocks, strict=False)
    ]
    pairs = [n for pair in zip(spatial, blocks, strict=True) for n in pair]
    rest = list(shape[1 + count :])
    batch = -1 if shape[0] == -1 else shape[0] * math.prod(blocks)
    return [shape[0], *pairs, *rest], [batch, *spatial, *rest]


def _match_space_to_batch(root: ir.Node, scope: Scope) -> Operation | None:
    turned = inside(root, 0, scope, "Transpose")
    split = None if turned is None else inside(turned, 0, scope, "Reshape")
    if turned is None or split is None:
        return None
    first, last = integers(given(split, 1), scope), integers(given(root, 1), scope)
    if first is None or last is None or len(first) <= len(last):
        return None
    count, rank = len(first) - len(last), len(last)
    if attribute(turned, "perm") != tuple(blocks_to_batch(count, rank)):
        return None
    blocks = first[2 : 2 + 2 * count : 2]
    if last[1:] != [*first[1 : 1 + 2 * count : 2], *first[1 + 2 * count :]]:
        return None
    nodes, x, pairs = [split, turned], given(split, 0), [[0, 0]] * count
    pad = inside(split, 0, scope, "Pad")
    whole = None if pad is None else unpadded(pad, scope)
    if pad is not None and whole is not None and not whole[[0, *range(1 + count, rank)]].any():
        nodes, x, pairs = [pad, *nodes], given(pad, 0), whole[1 : 1 + count].tolist()
    inputs = (x, int32("block_shape", blocks), int32("paddings", pairs))
    return single("space_to_batch_nd", root, inputs, nodes=tuple(nodes))


def _batch_to_space(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    blocks = builder.numbers(operation.inputs[1], "block shape")
    crops = np.reshape(builder.numbers(operation.inputs[2], "crops"), (-1, 2))
    shape = _known(extents(x), "batch_to_space_nd")
    count, rank = len(blocks), len(shape)
    first, last = space_shapes(shape, blocks)
    split = builder.node("Reshape", [x, builder.integers("blocks", first)])
    turned = builder.node("Transpose", [split], {"perm": batch_to_blocks(count, rank)})
    target, outputs = builder.integers("shape", last), operation.outputs
    whole = builder.node("Reshape", [turned, target], outputs=None if crops.any() else outputs)
    if crops.any():
        ends = [n - after for n, (_, after) in zip(last[1:], crops.tolist(), strict=False)]
        bounds = {
            "starts": crops[:, 0].tolist(),
            "ends": ends,
            "axes": list(range(1, 1 + count)),
        }
        inputs = [builder.integers(name, numbers) for name, numbers in bounds.items()]
        builder.node("Slice", [whole, *inputs], outputs=outputs)


def space_shapes(shape: Sequence[int], blocks: Sequence[int]) -> tuple[list[int], list[int]]:
    """The shapes behind the two Reshapes of batch_to_space_nd."""
    count = len(blocks)
    batch = -1 if shape[0] == -1 else shape[0] // math.prod(blocks)
    spatial = [n * block for n, block in zip(shape[1:], blocks, strict=False)]
    return [*blocks, batch, *shape[1:]], [batch, *spatial, *shape[1 + count :]]


def _match_batch_to_space(root: ir.Node, scope: Scope) -> Operation | None:
    whole = root if root.op_type == "Reshape" else inside(root, 0, scope, "Reshape")
    turned = None if whole is None else inside(whole, 0, scope, "Transpose")
    split = None if turned is None else inside(turned, 0, scope, "Reshape")
    if whole is None or turned is None or split is None:
        return None
    first, last = integers(given(split, 1), scope), integers(given(whole, 1), scope)
    if first is None or last is None or len(first) <= len(last):
        return None
    count, rank = len(first) - len(last), len(last)
    if attribute(turned, "perm") != tuple(batch_to_blocks(count, rank)):
        return None
    blocks, shape = first[:count], first[count:]
    if last[1:] != [*(n * b for n, b in zip(shape[1:], blocks, strict=False)), *shape[1 + count :]]:
        return None
    crops = _crops(root, last, count, scope)
    if crops is None:
        return None
    inputs = (given(split, 0), int32("block_shape", blocks), int32("crops", crops))
    before = (split, turned) if whole is root else (split, turned, whole)
    return single("batch_to_space_nd", root, inputs, nodes=before)


def _crops(root: ir.Node, shape: list[int], count: int, scope: Scope) -> list[list[int]] | None:
    """What a Slice behind takes away of the spatial axes; None where it is another Slice."""
    if root.op_type == "Reshape":
        return [[0, 0]] * count
    rows = sliced(root, scope)
    if rows is None or not set(rows) <= set(range(1, 1 + count)):
        return None
    crops = [[0, 0] for _ in range(count)]
    for axis, (start, end, step) in rows.items():
        after = 0 if end >= shape[axis] else shape[axis] - end if end >= 0 else -end
        if step != 1 or start < 0 or start + after > shape[axis]:
            return None
        crops[axis - 1] = [start, after]
    return crops


KINDS = (
    *(
        Kind(name=name, build=_depth, roots=("Transpose", "Reshape"), match=_match_depth(name))
        for name in OPERATORS
    ),
    Kind(
        name="space_to_batch_nd",
        build=_space_to_batch,
        roots=("Reshape",),
        match=_match_space_to_batch,
    ),
    Kind(
        name="batch_to_space_nd",
        build=_batch_to_space,
        roots=("Reshape", "Slice"),
        match=_match_batch_to_space,
    ),
)
