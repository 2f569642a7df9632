"""Normalizations, code for code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.judge import Array, Quantized, some_codes
from w2e_bridge.kernels.operation import Attribute
from w2e_onnx.lowering.litert.softmax import MANY

BYTES = ["int8", "uint8"]


def rows(width: int, dtype: str, zero: int) -> Array:
    """Random rows, one of equal codes at either end, one at the zero point, one around it."""
    info, random = np.iinfo(dtype), np.random.default_rng(width)
    near = np.clip(zero + random.integers(-2, 3, width), info.min, info.max)
    fixed = [np.full(width, code) for code in (info.min, info.max, zero)]
    return np.concatenate([some_codes([20, width], dtype, width), np.stack([*fixed, near])]).astype(
        dtype
    )


@pytest.mark.parametrize("dtype", [*BYTES, "int16"])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    ("width", "scale", "beta"), [(1, 0.1, 1.0), (2, 0.7, 1.0), (10, 0.02, 1.7), (257, 0.1, 1.0)]
)
def test_softmax(dtype: str, reference: bool, width: int, scale: float, beta: float) -> None:
    wide = dtype == "int16"
    low = 0 if wide else int(np.iinfo(dtype).min)
    Quantized(
        kind="softmax",
        x=rows(width, dtype, low + 3),
        scale=(scale / 200 if wide else scale, 1 / 32768 if wide else 1 / 256),
        zero=(0 if wide else low + 9, low),
        attributes={"beta": beta},
    ).check(reference=reference, optimize=(True, False) if width == 10 else (True,))


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("shape", [(3, 25, 40), (300, 7)])
def test_softmax_of_many(dtype: str, shape: tuple[int, ...]) -> None:
    assert np.prod(shape) >= MANY
    Quantized(
        kind="softmax",
        x=some_codes(shape, dtype),
        scale=(0.03, 1 / 256),
        zero=(0, int(np.iinfo(dtype).min)),
        attributes={"beta": 1.0},
    ).check(reference=False, optimize=(True, False))


def test_softmax_ties() -> None:
    # 512 equal codes: each a half of the output's step, which rounds up.
    Quantized(
        kind="softmax", x=np.full((1, 512), 5, np.int8), scale=(0.1, 1 / 256), zero=(0, -128),
        attributes={"beta": 1.0},
    ).check(reference=False)  # fmt: skip


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(("width", "scale"), [(1, 0.1), (2, 0.7), (10, 0.1), (257, 0.004)])
def test_log_softmax(dtype: str, reference: bool, width: int, scale: float) -> None:
    info = np.iinfo(dtype)
    Quantized(
        kind="log_softmax",
        x=rows(width, dtype, int(info.min) + 100),
        scale=(scale, 16 / 256),
        zero=(int(info.min) + 9, int(info.max)),
    ).check(reference=reference)


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("width", [1, 2, 64, 9000])
def test_l2(dtype: str, reference: bool, width: int) -> None:
    zero = int(np.iinfo(dtype).min) + 90
    attributes: dict[str, Attribute] = {"fused_activation_function": "NONE"}
    Quantized(
        kind="l2_normalization",
        x=rows(width, dtype, zero),
        scale=(0.1, 1 / 128),
        zero=(zero, 128 if dtype == "uint8" else 0),
        attributes=attributes,
    ).check(reference=reference)


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    ("kind", "out", "zero", "attributes"),
    [
        ("softmax", 1 / 256, -128, {"beta": 0.5}),
        ("log_softmax", 16 / 256, 127, {}),
        ("l2_normalization", 1 / 128, 0, {"fused_activation_function": "NONE"}),
    ],
)
def test_comes_back(
    tmp_path: Path,
    reference: bool,
    kind: str,
    out: float,
    zero: int,
    attributes: dict[str, Attribute],
) -> None:
    x = some_codes([3, 8], "int8")
    case = Quantized(kind=kind, x=x, scale=(0.1, out), zero=(7, zero), attributes=attributes)
    again = case.back(tmp_path, reference=reference)
    assert (again.kind, dict(again.attributes)) == (kind, attributes)
