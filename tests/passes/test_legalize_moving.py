"""Elements moved, chosen and written by their places, images of another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.passes.evaluation import Net
from tests.passes.test_legalize import check

SHAPE = (2, 4, 6, 5)


def image(net: Net) -> str:
    return net.input(*SHAPE)


MOVING: dict[str, Callable[[Net], str]] = {
    "depth to space": lambda n: n.add("DepthToSpace", image(n), blocksize=2),
    "depth to space, columns": lambda n: n.add("DepthToSpace", image(n), blocksize=2, mode="CRD"),
    "space to depth": lambda n: n.add("SpaceToDepth", n.input(1, 3, 4, 6), blocksize=2),
    "pad": lambda n: n.add("Pad", image(n), n.ints(0, 0, 1, 2, 0, 0, 0, 1)),
    "pad with": lambda n: n.add(
        "Pad", image(n), n.ints(0, 1, 1, 2, 0, 0, 0, 1), n.constant(np.float32(-1.5))
    ),
    "pad axes": lambda n: n.add("Pad", image(n), n.ints(1, 2), "", n.ints(-1)),
    "pad reflect": lambda n: n.add("Pad", image(n), n.ints(0, 0, 1, 2, 0, 0, 0, 1), mode="reflect"),
    "pad edge": lambda n: n.add("Pad", image(n), n.ints(0, 0, 3, 2, 0, 0, 0, 1), mode="edge"),
    "pad wrap": lambda n: n.add("Pad", image(n), n.ints(0, 0, 1, 2, 0, 0, 0, 1), mode="wrap"),
    "pad negative": lambda n: n.add("Pad", image(n), n.ints(0, 0, -1, 2, 0, 0, 0, -2)),
    "transpose": lambda n: n.add("Transpose", image(n), perm=[3, 1, 0, 2]),
    "transpose, default": lambda n: n.add("Transpose", image(n)),
    "concat of one": lambda n: n.add("Concat", image(n), axis=1),
    "concat": lambda n: n.add("Concat", x := image(n), x, n.weight(2, 1, 6, 5), axis=-3),
    "slice": lambda n: n.add("Slice", image(n), n.ints(1, -3), n.ints(9, -1), n.ints(1, 2)),
    "slice, steps": lambda n: n.add(
        "Slice", image(n), n.ints(-1, 0), n.ints(-99, 5), n.ints(1, 3), n.ints(-1, 2)
    ),
    "tile": lambda n: n.add("Tile", image(n), n.ints(1, 2, 1, 3)),
    "expand": lambda n: n.add("Expand", n.input(4, 1, 5), n.ints(2, 1, 6, 1)),
    "expand to its own": lambda n: n.add("Expand", image(n), n.ints(1, 4, 1, 5)),
    "flatten": lambda n: n.add("Flatten", image(n), axis=2),
    "flatten, 0": lambda n: n.add("Flatten", image(n), axis=0),
    "squeeze": lambda n: n.add("Squeeze", n.input(1, 3, 1, 4)),
    "unsqueeze": lambda n: n.add("Unsqueeze", n.input(3, 4), n.ints(0, -1)),
    "reshape with 0": lambda n: n.add("Reshape", image(n), n.ints(0, -1, 5)),
    "lower triangle": lambda n: n.add("Trilu", image(n), upper=0),
    "upper triangle": lambda n: n.add("Trilu", image(n), n.constant(1, np.int64)),
    "identity matrix": lambda n: n.add("MatMul", x := n.input(4, 4), n.add("EyeLike", x, k=1)),
    "shapes": lambda n: n.add(
        "Reshape", x := image(n),
        n.add("Concat", n.add("Shape", x, end=1), n.ints(-1), n.add("Shape", x, start=3), axis=0),
    ),
    "filled": lambda n: n.add(
        "Add", x := image(n), n.add("ConstantOfShape", n.add("Shape", x), value=one(0.5))
    ),
}  # fmt: skip


def one(value: float) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array([value], np.float32))


@pytest.mark.parametrize("name", MOVING)
def test_moving(name: str, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(MOVING[name](net)), tmp_path)


def test_parts(tmp_path: Path) -> None:
    net = Net()
    x = image(net)
    parts = [*net.add("Split", x, outputs=2, axis=2, num_outputs=2)]
    parts += net.add("Split", x, net.ints(1, 2, 1), outputs=3, axis=-3)
    parts += net.add("Split", x, outputs=2, axis=3, num_outputs=2)
    check(net.proto(*parts), tmp_path)


def places(net: Net, low: int, high: int, *shape: int) -> str:
    return net.constant(net.chance.integers(low, high, shape), np.int64)


def computed(net: Net, high: int, *shape: int) -> str:
    """Places that depend on an input."""
    x = net.add("Abs", net.input(*shape))
    wide = net.add(
        "Cast", net.add("Mul", x, net.constant(np.float32(7))), to=onnx.TensorProto.INT64
    )
    return str(net.add("Mod", wide, net.constant(high, np.int64)))


INDEXING: dict[str, Callable[[Net], str]] = {
    "gather": lambda n: n.add("Gather", image(n), places(n, 0, 4, 3), axis=1),
    "gather, negative": lambda n: n.add("Gather", image(n), places(n, -4, 0, 2, 2), axis=1),
    "gather, one": lambda n: n.add("Gather", image(n), n.constant(1, np.int64), axis=2),
    "gather, computed": lambda n: n.add("Gather", image(n), computed(n, 4, 3), axis=1),
    "gather nd": lambda n: n.add("GatherND", image(n), places(n, 0, 2, 3, 2)),
    "gather elements, last": lambda n: n.add("GatherElements", n.input(3, 4), computed(n, 4, 3, 2), axis=1),
    "gather elements, first": lambda n: n.add("GatherElements", n.input(3, 4), computed(n, 3, 5, 4), axis=0),
    "gather elements, inner": lambda n: n.add(
        "GatherElements", n.input(2, 3, 4), places(n, -3, 3, 2, 5, 4), axis=1
    ),
    "gather elements, fewer": lambda n: n.add("GatherElements", n.input(3, 4), places(n, 0, 4, 2, 3), axis=1),
    "scatter nd": lambda n: n.add("ScatterND", n.input(4, 3), n.constant([[2], [0]], np.int64), n.input(2, 3)),
    "scatter nd, sum": lambda n: n.add(
        "ScatterND", n.input(4, 3), n.constant([[2], [2]], np.int64), n.input(2, 3), reduction="add"
    ),
    "scatter nd, zeros": lambda n: n.add(
        "ScatterND", n.constant(np.zeros((4, 3), np.float32)), n.constant([[2], [0]], np.int64), n.input(2, 3)
    ),
    "scatter elements": lambda n: n.add(
        "ScatterElements", n.input(3, 4), n.constant([[0, 2], [1, 0]], np.int64), n.input(2, 2), axis=1
    ),
    "scatter elements, sum": lambda n: n.add(
        "ScatterElements", n.input(3, 4), n.constant([[0, 2], [1, 0]], np.int64), n.input(2, 2), axis=0,
        reduction="add",
    ),
    "one hot": lambda n: n.add(
        "OneHot", computed(n, 5, 3, 2), n.constant(5, np.int64), n.constant([0.5, 2.0], np.float32), axis=1
    ),
    "compress": lambda n: n.add("Compress", image(n), n.constant([True, False, True, True]), axis=1),
    "compress, flat": lambda n: n.add("Compress", n.input(2, 2), n.constant([True, False, True, True])),
    "non zero": lambda n: n.add("NonZero", n.add("Relu", n.input(3, 4))),
    "range": lambda n: n.add(
        "Range", n.constant(0, np.int64),
        n.add("Add", n.add("ReduceSum", computed(n, 3, 2), keepdims=0), n.constant(5, np.int64)),
        n.constant(2, np.int64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXING)
def test_indexing(name: str, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(INDEXING[name](net)), tmp_path)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("axis", [1, -1])
def test_top(axis: int, largest: int, tmp_path: Path) -> None:
    net = Net()
    found = net.add("TopK", image(net), net.ints(3), outputs=2, axis=axis, largest=largest)
    check(net.proto(*found), tmp_path)


RESIZED: dict[str, dict[str, Any]] = {
    f"{mode} {coordinates}": {"mode": mode, "coordinate_transformation_mode": coordinates}
    for mode in ("nearest", "linear", "cubic")
    for coordinates in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
} | {
    "nearest floor": {"mode": "nearest", "nearest_mode": "floor"},
    "nearest ceil": {
        "mode": "nearest", "nearest_mode": "ceil", "coordinate_transformation_mode": "asymmetric",
    },
    "cubic, outside": {"mode": "cubic", "exclude_outside": 1},
    "cubic, sharp": {"mode": "cubic", "cubic_coeff_a": -0.5},
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZED)
def test_resizing(name: str, tmp_path: Path) -> None:
    net = Net()
    x = net.input(1, 3, 5, 4)
    up = net.add("Resize", x, "", net.constant([1, 1, 2, 2], np.float32), **RESIZED[name])
    to = net.add("Resize", x, "", "", net.ints(1, 3, 7, 3), **RESIZED[name])
    check(net.proto(up, to), tmp_path)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("shape", [(1, 3, 5), (1, 2, 3, 4, 5)])
def test_resizing_of_other_ranks(shape: tuple[int, ...], mode: str, tmp_path: Path) -> None:
    net = Net()
    scales = net.constant([1, 1] + [2] * (len(shape) - 2), np.float32)
    check(net.proto(net.add("Resize", net.input(*shape), "", scales, mode=mode)), tmp_path)


def test_upsampling_of_old_versions(tmp_path: Path) -> None:
    net = Net()
    scales = net.constant([1, 1, 2, 3], np.float32)
    check(
        net.proto(net.add("Upsample", net.input(1, 3, 5, 4), scales, mode="nearest"), opset=9),
        tmp_path,
    )
