"""Functions of one number, code for code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.judge import Quantized, every_code, some_codes
from w2e_bridge.kernels.operation import Attribute
from w2e_onnx.lowering.litert.lookup import FEW
from w2e_onnx.lowering.litert.unary import TYPES

NO_REFERENCE = ("elu",)
"""Kinds that only the default kernels have."""

FIXED = {"logistic": (1 / 256, 1 / 32768), "tanh": (1 / 128, 1 / 32768)}
"""Scales that LiteRT asks of outputs, of 8 and 16 bits."""

CASES = [
    (kind, dtype, reference)
    for kind, types in TYPES.items()
    for dtype in types
    for reference in (False, True)
    if not (reference and kind in NO_REFERENCE)
]


def parameters(kind: str, dtype: str, number: int) -> tuple[float, float, int, int]:
    """Scales and zero points of operand and output."""
    scale, out = ((0.043, 0.021), (0.0078125, 0.0078125), (0.11, 0.3))[number]
    low = int(np.iinfo(dtype).min)
    zero, out_zero = ((low + 100, low + 131), (low, low), (low + 255, low + 20))[number]
    if dtype == "int16":
        scale, out, zero, out_zero = scale / 97, out / 97, 0, 0
    if kind in FIXED:
        out = FIXED[kind][dtype == "int16"]
        out_zero = low if kind == "logistic" and dtype != "int16" else out_zero
    return scale, out, zero, out_zero


@pytest.mark.parametrize(("kind", "dtype", "reference"), CASES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_code(kind: str, dtype: str, reference: bool, number: int) -> None:
    scale, out, zero, out_zero = parameters(kind, dtype, number)
    least = zero if kind in ("sqrt", "rsqrt") else None
    attributes: dict[str, Attribute] = {"approximate": number == 1} if kind == "gelu" else {}
    Quantized(
        kind=kind,
        x=every_code(dtype, least),
        scale=(scale, out),
        zero=(zero, out_zero),
        attributes=attributes,
    ).check(reference=reference, optimize=(True, False) if number == 0 else (True,))


@pytest.mark.parametrize("kind", ["logistic", "tanh"])
@pytest.mark.parametrize("exponent", [-13, -12, -11])
@pytest.mark.parametrize("reference", [False, True])
def test_powers_of_two(kind: str, exponent: int, reference: bool) -> None:
    x = every_code("int16")
    Quantized(kind=kind, x=x, scale=(2.0**exponent, 1 / 32768)).check(reference=reference)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("count", [FEW, FEW + 1])
def test_few_and_many(dtype: str, count: int) -> None:
    x = some_codes([1, count, 1], dtype)
    Quantized(kind="gelu", x=x, scale=(0.001, 0.002), attributes={"approximate": False}).check(
        reference=False, optimize=(True, False)
    )


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("kind", ["logistic", "tanh", "gelu", "rsqrt", "abs"])
def test_comes_back(tmp_path: Path, kind: str, dtype: str) -> None:
    scale, out, zero, out_zero = parameters(kind, dtype, 0)
    attributes: dict[str, Attribute] = {"approximate": True} if kind == "gelu" else {}
    case = Quantized(
        kind=kind,
        x=some_codes([2, 3], dtype),
        scale=(scale, out),
        zero=(zero, out_zero),
        attributes=attributes,
    )
    again = case.back(tmp_path, reference=False)
    assert (again.kind, dict(again.attributes)) == (kind, attributes)
