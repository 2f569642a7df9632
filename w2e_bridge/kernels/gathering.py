"""Elements by their indices: gather, alone, in batches or by whole coordinates, and look-up tables."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.functions import Body
from w2e_bridge.graph.inspecting import given
from w2e_bridge.graph.planes import padded
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import WHOLE
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Constant, Operand, Operation
from w2e_bridge.kernels.reading import (
    inside,
    int32,
    integers,
    number,
    positive,
    rank_of,
)
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.kernels.shape import INT32, single

BATCHES = "GatherInBatches"
WIDE_ENOUGH = (ir.DataType.INT32, ir.DataType.INT64)


def _indices(operand: Operand, builder: Builder) -> ir.Value:
    """Indices of a type that Gather takes."""
    value = builder.value(operand)
    if value.dtype in (None, *WIDE_ENOUGH):
        return value
    wide = ir.Value(name=builder.place.fresh("indices"), type=ir.TensorType(ir.DataType.INT32))
    wide.shape = value.shape
    return builder.node("Cast", [value], INT32, outputs=[wide])


def _gather(operation: Operation, builder: Builder) -> None:
    x, indices = builder.value(operation.inputs[0]), operation.inputs[1]
    axis, batch = operation.integer("axis"), operation.integer("batch_dims")
    if not batch:
        inputs = [x, _indices(indices, builder)]
        builder.node("Gather", inputs, {"axis": axis}, outputs=operation.outputs)
        return
    rank, count = rank_of(x), rank_of(indices)
    if rank is None or count is None:
        raise UnsupportedError("a gather in batches of values of unknown rank")
    axis, batch = positive(axis, rank), positive(batch, count)
    wide = builder.as_int64(indices, "indices")
    if axis == batch:
        deep = builder.node("Unsqueeze", [wide, builder.integers("axes", [-1])])
        builder.node("GatherND", [x, deep], {"batch_dims": batch}, outputs=operation.outputs)
        return
    turn = [*range(batch), axis, *(a for a in range(batch, rank) if a != axis)]
    attributes = {"axis": axis, "batch_dims": batch, "turn": turn}
    attributes["back"] = _back(rank, count, axis, batch)
    builder.call(gather_in_batches(), [x, wide], attributes, outputs=operation.outputs)


def gather_in_batches() -> ir.Function:
    """`GatherInBatches(x, indices; axis, batch_dims, turn, back) -> y`.

    Each batch, which is `batch_dims` leading axes of both inputs, has indices of its own for an axis
    further behind. GatherND takes the axis next to the batch: `turn` moves it there, `back` moves what was
    before it in front of the indices' axes again.
    """
    body, x, indices = Body(), ir.Value(name="x"), ir.Value(name="indices")
    perms = {name: [ir.RefAttr("perm", name, ir.AttributeType.INTS)] for name in ("turn", "back")}
    turned = body.add("Transpose", [x], "turned", perms["turn"])
    deep = body.add("Unsqueeze", [indices, body.integers([-1], "last")], "deep")
    batch = [ir.RefAttr("batch_dims", "batch_dims", ir.AttributeType.INT)]
    found = body.add("GatherND", [turned, deep], "found", batch)
    y = body.add("Transpose", [found], "y", perms["back"])
    attributes = [ir.Attr(name, ir.AttributeType.INT, None) for name in ("axis", "batch_dims")]
    attributes += [ir.Attr(name, ir.AttributeType.INTS, None) for name in perms]
    return body.finish(BATCHES, [x, indices], y, attributes)


def _back(rank: int, count: int, axis: int, batch: int) -> list[int]:
    """From (batch, indices, axes before, axes behind) to (batch, axes before, indices, axes behind)."""
    before, many = axis - batch, count - batch
    whole = rank - 1 + many
    indices = range(batch, batch + many)
    return [
        *range(batch),
        *range(batch + many, batch + many + before),
        *indices,
        *range(batch + many + before, whole),
    ]


def _match_gather(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "Gather":
        inputs = (given(root, 0), _as_given(given(root, 1), scope))
        attributes = {"axis": number(root, "axis", 0), "batch_dims": 0}
        return single("gather", root, inputs, attributes)
    return _match_batches(root, scope)


def _as_given(value: ir.Value | None, scope: Scope) -> Operand:
    """Indices: constant ones as int32; a Cast from a narrower type stays what it is."""
    array = scope.array(value)
    if array is not None and array.dtype == np.int64:
        return Constant(array=array.astype(np.int32), name="indices")
    return value


def _match_batches(root: ir.Node, scope: Scope) -> Operation | None:
    attributes = {"axis": number(root, "axis", 0), "batch_dims": number(root, "batch_dims", 0)}
    if root.op_type == BATCHES:
        inputs = (given(root, 0), scope.as_int32(given(root, 1), "indices"))
        return single("gather", root, inputs, attributes)
    attributes["axis"] = attributes["batch_dims"]
    deep, array = inside(root, 1, scope, "Unsqueeze"), scope.array(given(root, 1))
    if not attributes["batch_dims"]:
        return None
    if array is not None and array.ndim and array.shape[-1] == 1:
        indices: Operand = int32("indices", array[..., 0])
        return single("gather", root, (given(root, 0), indices), attributes)
    if deep is None or integers(given(deep, 1), scope) != [-1]:
        return None
    inputs = (given(root, 0), scope.as_int32(given(deep, 0), "indices"))
    return single("gather", root, inputs, attributes, (deep,))


def _gather_nd(operation: Operation, builder: Builder) -> None:
    x, indices = (
        builder.value(operation.inputs[0]),
        builder.as_int64(operation.inputs[1], "indices"),
    )
    builder.node("GatherND", [x, indices], outputs=operation.outputs)


def _match_gather_nd(root: ir.Node, scope: Scope) -> Operation | None:
    if number(root, "batch_dims", 0):
        return None
    indices = scope.as_int32(given(root, 1), "indices")
    return single("gather_nd", root, (given(root, 0), indices))


def _look_up(operation: Operation, builder: Builder) -> None:
    rows, table = operation.inputs
    inputs = [builder.value(table), _indices(rows, builder)]
    builder.node("Gather", inputs, {"axis": 0}, outputs=operation.outputs)


def _match_look_up(root: ir.Node, scope: Scope) -> Operation | None:
    """A table of codes of which a Gather makes real numbers; all else is a gather."""
    table, rows = given(root, 0), given(root, 1)
    held = scope.tensor(table)
    if held is None or number(root, "axis", 0) or rank_of(rows) != 1 or not _is_table(held):
        return None
    if scope.quantization(root.outputs[0]) is not None:
        return None
    return single("embedding_lookup", root, (_as_given(rows, scope), table))


def _is_table(tensor: Tensor) -> bool:
    """Whether the kernel takes it: signed codes without zero points, of one scale or one a row.

    tflite/kernels/embedding_lookup.cc reads unsigned codes as signed ones, which can't be meant.
    """
    codes, rank = tensor.encoding.codes, len(tensor.shape)
    if tensor.encoding.scale is None or not isinstance(codes, Integer) or rank < 2:
        return False
    extents = padded(tensor.encoding.block, rank)
    whole = all(e in (WHOLE, n) for e, n in zip(extents[1:], tensor.shape[1:], strict=True))
    return codes.signed and codes.bits <= 8 and whole and _centred(tensor)


def _centred(tensor: Tensor) -> bool:
    """Whether all zero points are 0."""
    offset = tensor.encoding.offset
    if offset is None or offset.constant is not None:
        return offset is None or offset.constant == 0
    held = tensor.storage.parts(0, tensor.rows).offset
    return held is not None and not held.codes.any()


KINDS = (
    Kind(name="embedding_lookup", build=_look_up, roots=("Gather",), match=_match_look_up),
    Kind(
        name="gather",
        build=_gather,
        roots=("Gather", "GatherND", f"w2e::{BATCHES}"),
        match=_match_gather,
    ),
    Kind(name="gather_nd", build=_gather_nd, roots=("GatherND",), match=_match_gather_nd),
)
