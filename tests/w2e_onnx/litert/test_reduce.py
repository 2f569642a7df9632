"""Reductions, code for code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.judge import Quantized, some_codes
from w2e_onnx.lowering.litert.reduce import MANY

CASES: list[tuple[tuple[int, ...], list[int]]] = [
    ((1, 7, 7, 12), [1, 2]),
    ((2, 5, 3), [-1]),
    ((3, 17), [0]),
    ((2, 3, 4, 5), [0, 3]),
    ((2, 3, 4), [0, 1, 2]),
]


def reduced(shape: Sequence[int], axes: Sequence[int], *, keep: bool) -> tuple[int, ...]:
    """The shape that is left."""
    left: tuple[int, ...] = np.zeros(tuple(shape)).sum(axis=tuple(axes), keepdims=keep).shape
    return left


@pytest.mark.parametrize("kind", ["mean", "sum"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_sums(
    kind: str, dtype: str, reference: bool, shape: tuple[int, ...], axes: list[int]
) -> None:
    if kind == "sum" and dtype == "int16" and reference:
        pytest.skip("LiteRT takes each code for two there")
    keep, low = len(axes) == 1, int(np.iinfo(dtype).min)
    scale, out = ((0.03, 0.02), (0.0711, 0.0711), (0.5, 3.1))[len(shape) % 3]
    Quantized(
        kind=kind,
        x=some_codes(shape, dtype),
        scale=(scale, out * (5 if kind == "sum" else 1)),
        zero=(0, 0) if dtype == "int16" else (low + 77, low + 130),
        shape=reduced(shape, axes, keep=keep),
        constants=[axes],
        attributes={"keep_dims": keep},
    ).check(reference=reference, optimize=(True, False) if keep else (True,))


@pytest.mark.parametrize("kind", ["reduce_max", "reduce_min"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("reference", [False, True])
def test_extremes(kind: str, dtype: str, reference: bool) -> None:
    shape, axes = CASES[3]
    Quantized(
        kind=kind,
        x=some_codes(shape, dtype),
        scale=(0.1, 0.1),
        zero=(0, 0) if dtype == "int16" else (3, 3),
        shape=reduced(shape, axes, keep=False),
        constants=[axes],
        attributes={"keep_dims": False},
    ).check(reference=reference)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("keep", [False, True])
def test_sums_of_many(dtype: str, keep: bool) -> None:
    shape, axes, low = (2, 12, 11, 17), [1, 2], int(np.iinfo(dtype).min)
    assert np.prod(shape[1:]) >= MANY
    Quantized(
        kind="mean",
        x=some_codes(shape, dtype),
        scale=(0.03, 0.02),
        zero=(low + 77, low + 130),
        shape=reduced(shape, axes, keep=keep),
        constants=[axes],
        attributes={"keep_dims": keep},
    ).check(reference=False, optimize=(True, False))


def test_extremes_on_another_scale() -> None:
    # The default kernels copy codes, whatever they mean.
    x = some_codes([4, 6], "int8")
    Quantized(
        kind="reduce_max", x=x, scale=(0.1, 0.2), zero=(3, -5), shape=(4,), constants=[[1]],
        attributes={"keep_dims": False},
    ).check(reference=False)  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(("shape", "axes"), [((2, 3, 5), [1]), ((2, 3, 5), [0, 2]), ((4, 1), [1])])
def test_products(dtype: str, reference: bool, shape: tuple[int, ...], axes: list[int]) -> None:
    unit = 1.5 / np.iinfo(dtype).max
    Quantized(
        kind="reduce_prod",
        x=some_codes(shape, dtype),
        scale=(unit, unit * 0.7),
        zero=(0, 0) if dtype == "int16" else (-20, 11),
        shape=reduced(shape, axes, keep=False),
        constants=[axes],
        attributes={"keep_dims": False},
    ).check(reference=reference, optimize=(True, False))


@pytest.mark.parametrize("kind", ["arg_max", "arg_min"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("output_type", ["int32", "int64"])
@pytest.mark.parametrize("axis", [0, -1])
def test_places(kind: str, dtype: str, output_type: str, axis: int) -> None:
    shape = (5, 40)
    Quantized(
        kind=kind,
        x=some_codes(shape, dtype) // 16,  # so that there are many ties
        scale=(0.1, 0.1),
        shape=reduced(shape, [axis], keep=False),
        dtype=output_type,
        constants=[axis],
        attributes={"output_type": output_type.upper()},
    ).check(reference=False)


@pytest.mark.parametrize("kind", ["mean", "sum", "reduce_max", "reduce_prod"])
@pytest.mark.parametrize("keep", [False, True])
def test_comes_back(tmp_path: Path, kind: str, keep: bool) -> None:
    shape, axes = (2, 3, 4), [1]
    case = Quantized(
        kind=kind,
        x=some_codes(shape, "int8"),
        scale=(0.1, 0.1),
        zero=(3, 3),
        shape=reduced(shape, axes, keep=keep),
        constants=[axes],
        attributes={"keep_dims": keep},
    )
    again = case.back(tmp_path, reference=False)
    assert (again.kind, dict(again.attributes)) == (kind, {"keep_dims": keep})
    assert len(again.inputs) == 2


@pytest.mark.parametrize("output_type", ["INT32", "INT64"])
def test_a_place_comes_back(tmp_path: Path, output_type: str) -> None:
    case = Quantized(
        kind="arg_max",
        x=some_codes((4, 5), "int8"),
        scale=(0.1, 0.1),
        shape=(4,),
        dtype=output_type.lower(),
        constants=[-1],
        attributes={"output_type": output_type},
    )
    again = case.back(tmp_path, reference=False)
    assert (again.kind, dict(again.attributes)) == ("arg_max", {"output_type": output_type})
