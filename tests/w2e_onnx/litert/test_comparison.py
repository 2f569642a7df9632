"""Comparisons and choice of codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.beside import Beside, all_pairs, codes, result, truth
from tests.w2e_onnx.litert.harness import Data

KINDS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
SCALES = (
    ((0.02, 100), (0.03, 7)),
    ((0.02, 100), (0.02, 100)),
    ((0.0011, 100), (0.000017, 7)),
    ((1.5, 100), (0.9, 7)),
)
"""Usual; the same; where codes are scaled to one number; where LiteRT's shifts go wrong."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("number", range(4))
def test_all_pairs(kind: str, dtype: str, number: int) -> None:
    a, b = all_pairs(dtype)
    first, second = SCALES[number]
    if dtype == "int16" and number == 3:
        return
    case = Beside(kind=kind, operands=[codes(a, *first), codes(b, *second)], output=truth(a.shape))
    for reference in (False, True):
        case.check(reference=reference, optimize=(reference,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("shape", [(), (64,)])
@pytest.mark.parametrize("first", [False, True])
def test_with_constants(kind: str, dtype: str, shape: tuple[int, ...], first: bool) -> None:
    a, b = all_pairs(dtype)
    a = a.reshape(-1, 64)
    held = b.reshape(-1)[37::61][: int(np.prod(shape))].reshape(shape)
    operands = [codes(a, 0.02, 7), codes(held, 0.03, 130, constant=True)]
    case = Beside(kind=kind, operands=operands[::-1] if first else operands, output=truth(a.shape))
    case.check(reference=False, optimize=(True,))


def test_a_bound_is_one_node() -> None:
    a, _ = all_pairs("int8")
    held = np.asarray(17, np.int8)
    operands = [codes(a, 0.02, 7), codes(held, 0.01, 100, constant=True)]
    case = Beside(kind="less", operands=operands, output=truth(a.shape))
    assert case.check(reference=False) == ["Less"]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("constant", [False, True])
def test_choice(dtype: str, constant: bool) -> None:
    a, b = all_pairs(dtype)
    held = b[0, 5] if constant else b
    condition = Data(type="bool", array=(a.astype(int) + b) % 3 == 0)
    case = Beside(
        kind="select_v2",
        operands=[condition, codes(a, 0.1, 3), codes(np.asarray(held), 0.1, 3, constant=constant)],
        output=result(dtype, a.shape, 0.1, 3),
    )
    case.check(reference=False)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    a, b = all_pairs("int8")
    operands = [codes(a, 0.02, 7), codes(b, 0.03, 100)]
    Beside(kind=kind, operands=operands, output=truth(a.shape)).check_back(tmp_path)
