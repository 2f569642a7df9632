"""Reductions, code for code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.w2e_onnx.litert.judge import Quantized, some_codes

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
    for scale, out in ((0.03, 0.02), (0.0711, 0.0711), (0.5, 3.1)):
        Quantized(
            kind=kind,
            x=some_codes(shape, dtype),
            scale=(scale, out * (5 if kind == "sum" else 1)),
            zero=(0, 0) if dtype == "int16" else (low + 77, low + 130),
            shape=reduced(shape, axes, keep=keep),
            constants=[axes],
            attributes={"keep_dims": keep},
        ).check(reference=reference, optimize=(True, False))


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
