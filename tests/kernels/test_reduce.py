"""Reductions as nodes and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.kernels.pairs import Case, read
from w2e_bridge.kernels.operation import Constant

BACK = "y = Transpose<perm = [0, 2, 3, 1]>(p)"
X = np.random.default_rng(1).normal(size=(2, 3, 4)).astype(np.float32)


def reduced(axes: Sequence[int], *, keep: bool) -> tuple[int, ...]:
    """The shape of what is left of X."""
    left: tuple[int, ...] = np.sum(X, axis=tuple(axes), keepdims=keep).shape
    return left


@pytest.mark.parametrize("kind", ["mean", "sum", "reduce_prod", "reduce_max", "reduce_min"])
@pytest.mark.parametrize("axes", [[1], [-1], [0, 2]])
@pytest.mark.parametrize("keep", [False, True])
def test_numbers(kind: str, axes: list[int], keep: bool) -> None:
    Case(
        kind=kind,
        inputs=[X],
        constants=[axes],
        attributes={"keep_dims": keep},
        shape=reduced(axes, keep=keep),
    ).check()


@pytest.mark.parametrize("kind", ["reduce_any", "reduce_all"])
def test_truth(kind: str) -> None:
    x = X > 0.5
    shape, keep = reduced([1], keep=False), {"keep_dims": False}
    Case(kind=kind, inputs=[x], constants=[[1]], attributes=keep, shape=shape, dtype="bool").check()


@pytest.mark.parametrize("kind", ["arg_max", "arg_min"])
@pytest.mark.parametrize("output_type", ["INT32", "INT64"])
@pytest.mark.parametrize("axis", [1, -1])
def test_places(kind: str, output_type: str, axis: int) -> None:
    Case(
        kind=kind,
        inputs=[np.round(X)],
        constants=[axis],
        attributes={"output_type": output_type},
        shape=reduced([axis], keep=False),
        dtype=output_type.lower(),
    ).check()


@pytest.mark.parametrize(("exclusive", "reverse"), [(False, False), (True, False), (False, True)])
def test_running_sums(exclusive: bool, reverse: bool) -> None:
    attributes = {"exclusive": exclusive, "reverse": reverse}
    Case(kind="cumsum", inputs=[X], constants=[1], attributes=attributes, shape=X.shape).check()


@pytest.mark.parametrize(
    ("nodes", "axes", "keep"),
    [
        ("y = ReduceMean<keepdims = 0>(x, axes)", [2, 3], False),
        ("y = ReduceMean(x)", [0, 1, 2, 3], True),
        (
            f"t = Transpose<perm = [0, 3, 1, 2]>(x); p = GlobalAveragePool(t); {BACK}",
            [1, 2],
            True,
        ),
    ],
)
def test_means_as_exporters_write_them(nodes: str, axes: list[int], keep: bool) -> None:
    operation = read(nodes, {"x": [1, 4, 4, 8]}, {"axes": [2, 3]} if "axes" in nodes else {})
    assert operation.kind == "mean"
    assert operation.attributes == {"keep_dims": keep}
    operand = operation.inputs[1]
    assert isinstance(operand, Constant)
    assert operand.array.tolist() == axes
