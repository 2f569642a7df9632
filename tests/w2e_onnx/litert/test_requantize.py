"""Changes of codes, and joining, code for code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.beside import Array, Beside, codes, every, result
from tests.w2e_onnx.litert.harness import Data
from w2e_bridge.kernels.operation import Attribute

TYPES = ("int8", "uint8", "int16")
PAIRS = [(a, b) for a in TYPES for b in TYPES if (a, b) != ("int16", "uint8")]
SCALES = ((0.05, 0.03), (0.05, 0.05), (0.25, 0.5), (0.001, 0.7))


def reals(dtype: str, scale: float, count: int) -> Array:
    """Numbers around all codes, halves and what lies just below them."""
    step = np.float32(scale)
    whole = np.linspace(-300, 300, count).round().astype(np.float32)
    x = np.where(
        np.arange(count) % 3 == 0, (whole + np.float32(0.5)) * step, whole * np.float32(1.37) * step
    )
    x[:6] = np.asarray([0.5 - 2**-25, -(0.5 - 2**-25), 0, -0.0, 1e5, -1e5], np.float32) * step
    return np.asarray(x * (80 if dtype == "int16" else 1), np.float32)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("count", [400, 403])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("scale", [0.25, 0.0371])
def test_real_numbers(dtype: str, count: int, reference: bool, scale: float) -> None:
    x = reals(dtype, scale, count)
    Beside(
        kind="quantize",
        operands=[Data(type="float32", array=x)],
        output=result(dtype, x.shape, scale, 100),
    ).check(reference=reference)


@pytest.mark.parametrize(("dtype", "into"), PAIRS)
@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("reference", [False, True])
def test_codes(dtype: str, into: str, scales: tuple[float, float], reference: bool) -> None:
    unit = [0.01 if t == "int16" else 1 for t in (dtype, into)]
    for count in (None, 250):
        x = every(dtype, count)
        Beside(
            kind="quantize",
            operands=[codes(x, scales[0] * unit[0], 100)],
            output=result(into, x.shape, scales[1] * unit[1], 100),
        ).check(reference=reference, optimize=(True,))


@pytest.mark.parametrize(("dtype", "into"), [("uint8", "int8"), ("int8", "uint8")])
def test_the_same_codes_of_another_sign_take_no_node(dtype: str, into: str) -> None:
    x = every(dtype)
    output = result(into, x.shape, 0.1, 100)
    case = Beside(kind="quantize", operands=[codes(x, 0.1, 100)], output=output)
    assert case.check(reference=False) == ["Identity"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("reference", [False, True])
def test_to_real_numbers(dtype: str, reference: bool) -> None:
    x = every(dtype)
    Beside(
        kind="dequantize",
        operands=[codes(x, 0.0371, 100)],
        output=Data(type="float32", shape=x.shape),
    ).check(reference=reference)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("differ", [False, True])
@pytest.mark.parametrize("reference", [False, True])
def test_concatenation(dtype: str, differ: bool, reference: bool) -> None:
    if differ and dtype != "uint8":
        return
    x = every(dtype, 256).reshape(4, 64)
    attributes: dict[str, Attribute] = {"axis": 1, "fused_activation_function": "NONE"}
    second = (0.043, 30) if differ else (0.1, 100)
    Beside(
        kind="concatenation",
        operands=[
            codes(x, 0.1, 100),
            codes(x[:, ::-1].copy(), *second),
            codes(x[:, :3].copy(), *second, constant=True),
        ],
        output=result(dtype, (4, 131), 0.1, 100),
        attributes=attributes,
    ).check(reference=reference)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis", [0, 2])
def test_packing(dtype: str, axis: int) -> None:
    x = every(dtype, 256).reshape(4, 64)
    attributes: dict[str, Attribute] = {"values_count": 2, "axis": axis}
    Beside(
        kind="pack",
        operands=[codes(x, 0.1, 100), codes(x[::-1].copy(), 0.1, 100, constant=True)],
        output=result(dtype, np.stack([x, x], axis).shape, 0.1, 100),
        attributes=attributes,
    ).check(reference=False)


@pytest.mark.parametrize("into", ["int8", "uint8", "int16"])
def test_there_and_back(into: str, tmp_path: Path) -> None:
    x = every("int8")
    output = result(into, x.shape, 0.03, 60)
    Beside(kind="quantize", operands=[codes(x, 0.05, 100)], output=output).check_back(tmp_path)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("into", ["float32", "int32"])
def test_casts_take_codes_as_they_are(dtype: str, into: str, tmp_path: Path) -> None:
    x = every(dtype)
    attributes: dict[str, Attribute] = {
        "in_data_type": dtype.upper(),
        "out_data_type": into.upper(),
    }
    case = Beside(
        kind="cast",
        operands=[codes(x, 0.0371, 100)],
        output=Data(type=into, shape=x.shape),
        attributes=attributes,
    )
    for reference in (False, True):
        case.check(reference=reference)
    case.check_back(tmp_path)
