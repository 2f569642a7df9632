"""Arithmetic of two values, code for code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

import w2e_bridge
from tests.w2e_onnx.litert.beside import Beside, all_pairs, codes, result
from tests.w2e_onnx.litert.harness import run
from tests.w2e_tflite import maker
from w2e_bridge.kernels.operation import Attribute

SCALES = (
    ((0.023, 100), (0.041, 7), (0.05, 131)),
    ((0.5, 0), (0.25, 255), (0.5, 0)),
    ((0.11, 128), (0.000011, 3), (0.07, 20)),
)
"""Scales and distances of zero points: usual; powers of two, with many halves; far apart."""

USUAL = ((0.0235313, 100), (0.0996949, 7), (0.0872123, 131))
"""As calibration gives them: with round numbers, many sums are near halves."""

PRODUCTS = ((0.0041, 100), (0.017, 7), (0.013, 131))
FUSED = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def said(kind: str, activation: str = "NONE") -> dict[str, Attribute]:
    """Attributes of a kind."""
    if kind not in ("add", "sub", "mul", "div"):
        return {}
    found: dict[str, Attribute] = {"fused_activation_function": activation}
    return found | ({"pot_scale_int16": False} if kind in ("add", "sub") else {})


def case(
    kind: str, dtype: str, scales: Sequence[tuple[float, int]], activation: str = "NONE"
) -> Beside:
    """All pairs of codes."""
    a, b = all_pairs(dtype)
    shrunk = [(s / 200 if dtype == "int16" else s, z) for s, z in scales]
    if dtype == "int16" and kind == "mul":
        # No product may leave 32 bits: what comes of that is a compiler's.
        shrunk[2] = (shrunk[0][0] * shrunk[1][0] * 30000, 0)
    first, second, out = shrunk
    if kind == "div":
        # Division by 0 is refused.
        zero = second[1] + int(np.iinfo(dtype).min)
        b = np.where(b == zero, 1, b).astype(dtype)
    return Beside(
        kind=kind,
        operands=[codes(a, *first), codes(b, *second)],
        output=result(dtype, a.shape, *out),
        attributes=said(kind, activation),
    )


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("kind", ["add", "sub", "mul"])
@pytest.mark.parametrize("number", range(3))
def test_all_pairs(kind: str, dtype: str, number: int, reference: bool) -> None:
    scales = PRODUCTS if kind == "mul" and not number else SCALES[number]
    case(kind, dtype, scales).check(reference=reference, optimize=(number > 0,))


@pytest.mark.parametrize("activation", FUSED[1:])
@pytest.mark.parametrize("reference", [False, True])
def test_fused_activations(activation: str, reference: bool) -> None:
    case("add", "int8", SCALES[0], activation).check(reference=reference)


def test_usual_scales_take_one_node() -> None:
    assert case("add", "int8", USUAL).check(reference=False) == ["QLinearAdd"]
    assert case("mul", "uint8", PRODUCTS).check(reference=False) == ["QLinearMul"]


@pytest.mark.parametrize("kind", ["div", "squared_difference"])
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("number", range(2))
def test_other_functions(kind: str, reference: bool, number: int) -> None:
    first, second, out = SCALES[number]
    case(kind, "int8", (first, second, (out[0] * 4, out[1]))).check(reference=reference)


@pytest.mark.parametrize("kind", ["maximum", "minimum"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_extremes(kind: str, dtype: str) -> None:
    case(kind, dtype, [(0.1, 3)] * 3).check(reference=False)


@pytest.mark.parametrize("kind", ["add", "sub", "mul"])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("shape", [(), (64,), (4, 1)])
@pytest.mark.parametrize("first", [False, True])
def test_constants_are_broadcast(
    kind: str, dtype: str, shape: tuple[int, ...], first: bool
) -> None:
    a, b = all_pairs(dtype)
    a = a.reshape(-1)[:8192].reshape(-1, 4, 64)
    held = np.asarray(b.reshape(-1)[37::61][: int(np.prod(shape))]).reshape(shape)
    unit = 1 if dtype == "int8" else 0.004
    operands = [codes(a, 0.02 * unit, 7), codes(held, 0.03 * unit, 130, constant=True)]
    out = 0.05 * unit if kind != "mul" else 0.0006 * unit * unit * (100 if unit == 1 else 30000)
    case_ = Beside(
        kind=kind,
        operands=operands[::-1] if first else operands,
        output=result(dtype, a.shape, out, 100),
        attributes=said(kind),
    )
    for reference in (False, True):
        case_.check(reference=reference, optimize=(True,))


@pytest.mark.parametrize("count", [5, 16, 37])
def test_the_last_few_16_bit_codes(count: int) -> None:
    random = np.random.default_rng(1)
    a, b = random.integers(-32768, 32767, (2, 400, count), dtype=np.int16)
    Beside(
        kind="add",
        operands=[codes(a[0], 0.0001), codes(b[0], 0.000013)],
        output=result("int16", (count,), 0.00011),
        attributes=said("add"),
    ).check(reference=False)


@pytest.mark.parametrize("kind", ["add", "sub"])
@pytest.mark.parametrize("exponents", [(-12, -14), (-15, -12)])
def test_powers_of_two(kind: str, exponents: tuple[int, int]) -> None:
    a, b = all_pairs("int16")
    attributes: dict[str, Attribute] = {
        "fused_activation_function": "RELU",
        "pot_scale_int16": True,
    }
    case_ = Beside(
        kind=kind,
        operands=[codes(x, 2.0**e) for x, e in zip((a, b), exponents, strict=True)],
        output=result("int16", a.shape, 2.0**-12),
        attributes=attributes,
    )
    for reference in (False, True):
        assert "Add" not in case_.check(reference=reference)[:2]


def test_one_operand_twice(tmp_path: Path) -> None:
    a, _ = all_pairs("int8")
    x = maker.Spec("x", a.shape, "int8", scale=0.017, zero=3)
    y = maker.Spec("y", a.shape, "int8", scale=0.013, zero=-100)
    with patch.dict(maker.RAISED, {"MUL": 2}):
        file = maker.one_op("MUL", [x, x], [], [y])
    (tmp_path / "model.tflite").write_bytes(file)
    w2e_bridge.convert(tmp_path / "model.tflite", to="onnx", out=tmp_path / "model.onnx")
    got = run((tmp_path / "model.onnx").read_bytes(), {"x": a})[0]
    np.testing.assert_array_equal(got, maker.litert(file, [a])[0][0])


@pytest.mark.parametrize("kind", ["add", "sub", "mul", "div", "squared_difference", "maximum"])
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    scales = [(0.1, 3)] * 3 if kind == "maximum" else SCALES[0]
    activation = "RELU6" if kind in ("add", "mul", "div") else "NONE"
    case(kind, "int8", scales, activation).check_back(tmp_path)
