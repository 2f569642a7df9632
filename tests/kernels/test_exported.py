"""Shapes and indices as exporters write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.kernels.moving import numbers_of, scalar_of
from tests.kernels.pairs import read
from w2e_bridge.kernels.bounds import MASKS, planned
from w2e_bridge.kernels.padding import mirrored
from w2e_bridge.kernels.shape import resolved

LAST = (1 << 63) - 1

X = {"x": (2, 3, 4)}


def said(
    nodes: str, constants: Mapping[str, Any] | None = None, **shapes: tuple[int, ...]
) -> list[Any]:
    """Kind, attributes and constant operands of the one operation that nodes are."""
    operation = read(nodes, shapes or X, constants)
    numbers = [n for n in (numbers_of(operand) for operand in operation.inputs) if n is not None]
    used = {k: v for k, v in operation.attributes.items() if v not in (0, ())}
    return [operation.kind, used, *numbers]


def test_shapes() -> None:
    assert said("y = Reshape(x, s)", {"s": [0, -1]}) == ["reshape", {}, [2, -1]]
    assert said("y = Reshape<allowzero = 1>(x, s)", {"s": [24, 1]}) == ["reshape", {}, [24, 1]]
    assert said("y = Flatten(x)") == ["reshape", {}, [2, 12]]
    assert said("y = Flatten<axis = -1>(x)") == ["reshape", {}, [6, 4]]
    assert said("y = Unsqueeze(x, a)", {"a": [-1]}) == ["expand_dims", {}, -1]
    assert said("y = Unsqueeze(x, a)", {"a": [0, -1]}) == ["reshape", {}, [1, 2, 3, 4, 1]]
    assert said("y = Squeeze<axes = [0]>(x)", x=(1, 3)) == ["squeeze", {"squeeze_dims": (0,)}]
    assert said("y = Transpose(x)") == ["transpose", {}, [2, 1, 0]]
    assert said("y = Expand(x, s)", {"s": [5, 1, 1, 4]}) == ["broadcast_to", {}, [5, 2, 3, 4]]
    assert said("y = ConstantOfShape(s)", {"s": [2, 3]})[2:] == [[2, 3], 0.0]


def test_a_zero_copies_what_may_be_free() -> None:
    assert resolved([0, 12], (None, 3, 4), None) == [-1, 12]
    assert resolved([0, -1], (None, 3, 4), (None, 12)) == [-1, 12]
    assert resolved([0, -1], (None, 3, 4), None) is None


def test_parts() -> None:
    first = {"s": [0], "e": [LAST], "a": [2]}
    assert said("y = Slice(x, s, e, a)", first) == ["slice", {}, [0, 0, 0], [2, 3, 4]]
    back = {"s": [-3], "e": [-1], "a": [-1]}
    assert said("y = Slice(x, s, e, a)", back) == ["slice", {}, [0, 0, 1], [2, 3, 2]]
    torch = {"s": [1], "e": [LAST], "a": [1], "t": [2]}
    strided = ["strided_slice", {"begin_mask": 5, "end_mask": 7}, [0, 1, 0], [0, 0, 0], [1, 2, 1]]
    assert said("y = Slice(x, s, e, a, t)", torch) == strided
    flip = {"s": [-1], "e": [-LAST], "a": [1], "t": [-1]}
    assert said("y = Slice(x, s, e, a, t)", flip) == ["reverse_v2", {}, [1]]
    assert said("y, z = Split<axis = 1>(x, p)", {"p": [1, 2]})[1:] == [{"num_splits": 2}, [1, 2], 1]
    assert said("y, z = Split<axis = -1, num_outputs = 2>(x)")[0] == "split"
    assert said("y, z = Split<axis = 1, num_outputs = 2>(x)")[2:] == [[2, 1], 1]


def test_padding() -> None:
    pads = {"p": [1, 2], "a": [-1], "z": 0.0, "v": 1.5}
    assert said("y = Pad(x, p, , a)", pads) == ["pad", {}, [[0, 0], [0, 0], [1, 2]]]
    assert said("y = Pad(x, p, z, a)", pads)[0] == "pad"
    assert said("y = Pad(x, p, v, a)", pads)[0] == "padv2"
    reflect = ["mirror_pad", {"mode": "REFLECT"}, [[0, 0], [0, 0], [1, 2]]]
    assert said('y = Pad<mode = "reflect">(x, p, , a)', pads) == reflect


@pytest.mark.parametrize("nodes", ["y = Pad(x, p)", 'y = Pad<mode = "edge">(x, q)'])
def test_padding_that_tensorflow_lite_has_not(nodes: str) -> None:
    with pytest.raises(AssertionError):
        said(nodes, {"p": [-1, 0, 0, 0, 0, 0], "q": [1, 0, 0, 0, 0, 0]})


def test_indices() -> None:
    assert said("y = Gather<axis = 1>(x, i)", {"i": 2}) == ["gather", {"axis": 1}, 2]
    assert said("y = Gather<axis = 1>(x, i)", {"i": [2, 0]}) == ["gather", {"axis": 1}, [2, 0]]
    doubled = mirrored(3, (2, 1)).tolist()
    assert doubled == [1, 0, 0, 1, 2, 2]
    symmetric = ["mirror_pad", {"mode": "SYMMETRIC"}, [[0, 0], [2, 1], [0, 0]]]
    assert said("y = Gather<axis = 1>(x, i)", {"i": doubled}) == symmetric
    top = read("y, z = TopK<axis = -1>(x, k)", X, {"k": [2]})
    assert top.kind == "topk_v2"
    assert scalar_of(top.inputs[1]) == 2
    assert [value.name for value in top.outputs] == ["y", "z.narrow"]


def test_masks_are_read_as_litert_reads_them() -> None:
    masks = dict.fromkeys(MASKS, 0)
    plan = planned(4, 3, masks | {"ellipsis_mask": 1, "shrink_axis_mask": 4})
    assert (plan.source, plan.shrunk, plan.new) == ((None, None, 1, 2), (3,), ())
    plan = planned(3, 4, masks | {"new_axis_mask": 3, "ellipsis_mask": 1})
    # what stands at the ellipsis counts as nothing else
    assert (plan.source, plan.shrunk, plan.new) == ((None, 2, 3), (), (1,))
