"""Shapes and parts of quantized tensors: nothing is computed, codes keep their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.bounds import fixed, masks_of, planned
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import extents, positive
from w2e_bridge.kernels.table import build as canonical
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.moving import moved, moves
from w2e_onnx.lowering.litert.rules import Rule


def _unpack(call: Call) -> Sequence[ir.Value]:
    return moved(call, _split)


def _split(operation: Operation, builder: Builder) -> None:
    """Two nodes in the place of a Split and a Squeeze for each part, where an axis follows."""
    x = builder.value(operation.inputs[0])
    shape, count = extents(x), len(operation.outputs)
    axis = None if not shape else positive(operation.integer("axis"), len(shape))
    if shape is None or axis is None or axis + 1 >= len(shape):
        canonical(operation, builder)
        return
    after = shape[axis + 1]
    joined = None if after is None else after * count
    whole = [-1 if n is None else n for n in (*shape[:axis], joined, *shape[axis + 2 :])]
    if whole.count(-1) > 1:
        canonical(operation, builder)
        return
    flat = builder.node("Reshape", [x, builder.integers("shape", whole)])
    attributes = {"axis": axis, "num_outputs": count}
    builder.node("Split", [flat], attributes, outputs=operation.outputs)


def _strided_slice(call: Call) -> Sequence[ir.Value]:
    return moved(call, _sliced)


def _sliced(operation: Operation, builder: Builder) -> None:
    """A Gather where all that a strided slice does is to choose one index of one axis."""
    x = builder.value(operation.inputs[0])
    shape, steps = extents(x), builder.array(operation.inputs[3])
    if shape is None or steps is None:
        canonical(operation, builder)
        return
    plan = planned(len(shape), steps.size, masks_of(operation))
    rows = fixed(operation, builder, plan)
    if rows is None or plan.new or len(plan.shrunk) != 1 or set(rows) != set(plan.shrunk):
        canonical(operation, builder)
        return
    ((axis, (start, _, _)),) = rows.items()
    index = builder.place.constant("index", np.asarray(start, np.int64))
    builder.node("Gather", [x, index], {"axis": axis}, outputs=operation.outputs)


RULES: Mapping[str, Rule] = {
    **{
        name: moves()
        for name in (
            "reshape",
            "squeeze",
            "expand_dims",
            "transpose",
            "broadcast_to",
            "fill",
            "tile",
            "shape",
            "rank",
            "slice",
            "reverse_v2",
            "split",
            "split_v",
            "reverse_sequence",
            "dynamic_update_slice",
        )
    },
    "strided_slice": _strided_slice,
    "unpack": _unpack,
}
