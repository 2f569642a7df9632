"""Rectifiers, code for code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.beside import Beside, all_pairs, codes, every, result
from w2e_bridge.kernels.operation import Attribute

SCALES = (((0.05, 100), (0.03, 7)), ((0.05, 100), (0.05, 100)), ((0.25, 128), (0.5, 3)))
RELUS = ("relu", "relu6", "relu_n1_to_1", "relu_0_to_1")
NARROW = RELUS[2:]
"""Kinds that LiteRT has for 8 bits only."""


@pytest.mark.parametrize("kind", RELUS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("reference", [False, True])
def test_relu(kind: str, dtype: str, number: int, reference: bool) -> None:
    if dtype == "int16" and kind in NARROW:
        return
    unit = 0.01 if dtype == "int16" else 1
    (scale, zero), (out, out_zero) = SCALES[number]
    x = every(dtype)
    Beside(
        kind=kind,
        operands=[codes(x, scale * unit, zero)],
        output=result(dtype, x.shape, out * unit, out_zero),
    ).check(reference=reference)


@pytest.mark.parametrize("alpha", [0.3, 0.01, -0.5, 1.5])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("reference", [False, True])
def test_leaky_relu(alpha: float, dtype: str, reference: bool) -> None:
    attributes: dict[str, Attribute] = {"alpha": float(np.float32(alpha))}
    x = every(dtype)
    for first, second in SCALES:
        Beside(
            kind="leaky_relu",
            operands=[codes(x, *first)],
            output=result(dtype, x.shape, *second),
            attributes=attributes,
        ).check(reference=reference, optimize=(True,))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("reference", [False, True])
def test_prelu(dtype: str, constant: bool, reference: bool) -> None:
    a, b = all_pairs(dtype)
    slopes = b[:1, 3::50] if constant else b
    x = a.reshape(-1, slopes.shape[-1]) if a.size % slopes.shape[-1] == 0 else a[:, :6].copy()
    Beside(
        kind="prelu",
        operands=[codes(x, 0.03, 100), codes(slopes, 0.011, 60, constant=constant)],
        output=result(dtype, x.shape, 0.04, 120),
    ).check(reference=reference)


def test_straight_lines_take_one_node() -> None:
    x = every("int8")
    attributes: dict[str, Attribute] = {"alpha": 0.25}
    case = Beside(
        kind="leaky_relu",
        operands=[codes(x, 0.05, 100)],
        output=result("int8", x.shape, 0.05, 60),
        attributes=attributes,
    )
    assert case.check(reference=False)[0] == "QLinearLeakyRelu"
    assert case.check(reference=True) == ["Cast", "Gather"]


@pytest.mark.parametrize("kind", ["relu", "relu6", "relu_n1_to_1", "relu_0_to_1", "leaky_relu"])
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    x = every("int8")
    attributes: dict[str, Attribute] = {"alpha": 0.25} if kind == "leaky_relu" else {}
    Beside(
        kind=kind,
        operands=[codes(x, 0.05, 100)],
        output=result("int8", x.shape, 0.03, 7),
        attributes=attributes,
    ).check_back(tmp_path)
