"""What a slice says of each axis: bounds, and what masks do to them.

Masks: google-ai-edge/LiteRT, tflite/kernels/strided_slice.cc and
tflite/kernels/internal/reference/strided_slice.h. A bit of `begin_mask` or `end_mask` stands for the bound of
the whole axis, of `shrink_axis_mask` for one index whose axis vanishes, of `new_axis_mask` for an axis of
extent 1, of `ellipsis_mask` for as many axes as are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import INT64_MAX, INT64_MIN, integers, parameter
from w2e_bridge.kernels.scope import Scope

MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")

Row = tuple[int, int, int]
"""Start, end and step of an axis, as ONNX's Slice has them."""
WHOLE: Row = (0, INT64_MAX, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A strided slice without masks.

    Attributes:
        source: for each axis of the input the index among `begin`, `end` and `strides`, None where it is
            whole.
        shrunk: axes of the input that vanish.
        new: axes of the output that are new.
    """

    source: tuple[int | None, ...]
    shrunk: tuple[int, ...]
    new: tuple[int, ...]


def planned(rank: int, count: int, masks: Mapping[str, int]) -> Plan:
    """What each index of `begin` says about the axes of an input.

    Args:
        rank: of the input.
        count: length of `begin`.
        masks: the four that matter, by name.

    Raises:
        UnsupportedError: more indices than axes.
    """
    source: list[int | None] = []
    shrunk, new, shown = [], [], 0
    added = masks["new_axis_mask"] & ~masks["ellipsis_mask"]
    newer = (added & (1 << count) - 1).bit_count()
    spared = rank - (count - newer) + (1 if masks["ellipsis_mask"] else 0)
    for i in range(count):
        if masks["ellipsis_mask"] >> i & 1:
            source += [None] * spared
            shown += spared
        elif masks["new_axis_mask"] >> i & 1:
            new.append(shown)
            shown += 1
        elif masks["shrink_axis_mask"] >> i & 1:
            shrunk.append(len(source))
            source.append(i)
        else:
            source.append(i)
            shown += 1
    if len(source) > rank:
        raise UnsupportedError(f"a strided slice of {len(source)} axes where there are {rank}")
    return Plan(
        source=(*source, *(None,) * (rank - len(source))), shrunk=tuple(shrunk), new=tuple(new)
    )


def masks_of(operation: Operation) -> dict[str, int]:
    """The masks of a strided slice."""
    return {name: operation.integer(name) for name in MASKS}


def fixed(operation: Operation, builder: Builder, plan: Plan) -> dict[int, Row] | None:
    """The rows of the axes that a strided slice of constant bounds changes; None where they are computed."""
    columns = []
    for operand in operation.inputs[1:4]:
        array = builder.array(operand)
        if array is None:
            return None
        columns.append([int(n) for n in array.reshape(-1)])
    rows = {
        axis: _row(i, axis in plan.shrunk, operation, columns)
        for axis, i in enumerate(plan.source)
        if i is not None
    }
    return {axis: row for axis, row in rows.items() if row != WHOLE}


def _row(i: int, shrunk: bool, operation: Operation, columns: Sequence[Sequence[int]]) -> Row:
    masks = masks_of(operation)
    start, end, step = (column[i] for column in columns)
    if masks["begin_mask"] >> i & 1:
        start = 0 if step > 0 else INT64_MAX
    if shrunk:
        return start, INT64_MAX if start == -1 else start + 1, 1
    if operation.integer("offset"):
        # From a start that is counted from the end, one that reaches it or goes on goes to the end.
        end = INT64_MAX if start < 0 <= start + end else start + end
    if masks["end_mask"] >> i & 1:
        end = INT64_MAX if step > 0 else INT64_MIN
    return start, end, step


def sliced(node: ir.Node, scope: Scope) -> dict[int, Row] | None:
    """(start, end, step) of the axes of a Slice; None where they are computed."""
    starts = parameter(node, 1, "starts", scope)
    ends = parameter(node, 2, "ends", scope)
    if starts is None or ends is None:
        return None
    axes: list[int] | None = list(range(len(starts)))
    if given(node, 3) is not None or "axes" in node.attributes:
        axes = parameter(node, 3, "axes", scope)
    steps: list[int] | None = [1] * len(starts)
    if given(node, 4) is not None:
        steps = integers(given(node, 4), scope)
    if axes is None or steps is None or not len(starts) == len(ends) == len(axes) == len(steps):
        return None
    return {a: (s, e, t) for a, s, e, t in zip(axes, starts, ends, steps, strict=True)}
