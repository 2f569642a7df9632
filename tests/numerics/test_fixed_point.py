"""Fixed-point multiplication: gemmlowp's integers, and the same from float64 in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.w2e_onnx.litert.harness import run
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.numerics import fixed_point
from w2e_onnx.lowering.litert import fixed_point as nodes
from w2e_onnx.lowering.litert.call import Call

Array = NDArray[Any]
REALS = [1.0, 0.5, 0.25, 0.75, 1 / 3, 2.0**-8, 2.0**-32, 2.0**-33, 1 - 2.0**-33, 3.7, 0.0123, 1e-4]


def exact(x: int, multiplier: int, shift: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, in Python's integers."""
    product = (x << max(shift, 0)) * multiplier
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    high = abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)  # C divides towards zero
    power = max(-shift, 0)
    rest, half = high & ((1 << power) - 1), ((1 << power) - 1) >> 1
    return (high >> power) + (rest > half + (high < 0))


def numbers(real: float, most: int, seed: int = 0) -> Array:
    """Whole numbers, those beside the steps of the product among them."""
    chance = np.random.default_rng(seed)
    steps = np.round((chance.integers(-(2**15), 2**15, 500) + 0.5) / real)
    steps = np.clip(steps, -(2.0**31), 2.0**31).astype(np.int64) + chance.integers(-1, 2, 500)
    spread = chance.integers(-most, most, 500, endpoint=True)
    found: Array = np.concatenate(
        [spread, steps, chance.integers(-300, 300, 100), [0, 1, -1, most]]
    )
    return np.asarray(found[np.abs(found) <= most])


def computed(call: Call, x: ir.Value, y: ir.Value, values: Array) -> Array:
    """What the nodes of a call make of numbers."""
    inputs = [x, *(formal for formal, _ in call.derived.values())]
    for value in (*inputs, y):
        value.type = ir.TensorType(ir.DataType.DOUBLE)
    graph = ir.Graph(inputs, [y], nodes=call.nodes, opset_imports={"": 21}, name="g")
    data = ir.serde.serialize_model(ir.Model(graph, ir_version=10)).SerializeToString()
    feeds = {name: array for name, (_, array) in call.derived.items()}
    return run(data, {"x": values.astype(np.float64), **feeds})[0]


def empty() -> tuple[Call, ir.Value]:
    operation = Operation(kind="t", inputs=(), outputs=())
    call = Call(operation=operation, reference=True, operands=(), outputs=())
    return call, ir.Value(name="x", shape=ir.Shape([None]))


@pytest.mark.parametrize("real", REALS)
def test_multiply(real: float) -> None:
    multiplier, shift = fixed_point.quantize_multiplier(real)
    x = numbers(real, (2**31 - 1) >> max(int(shift), 0))
    wanted = [exact(int(n), int(multiplier), int(shift)) for n in x]
    np.testing.assert_array_equal(fixed_point.multiply(x, multiplier, shift), wanted)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("bound", [2**21 - 1, 2**31 - 1])
@pytest.mark.parametrize("real", REALS)
def test_multiply_in_nodes(real: float, bound: int, up: bool) -> None:
    multiplier, shift = fixed_point.quantize_multiplier(real)
    x = numbers(real, bound >> max(int(shift), 0))
    call, value = empty()
    made = nodes.multiply(call, value, multiplier, shift, bound=bound, up=up)
    wanted = fixed_point.multiply(x, multiplier, shift, up=up)
    short = np.abs(wanted) < 2**15 if up else np.ones(x.shape, bool)
    np.testing.assert_array_equal(computed(call, value, made, x)[short], wanted[short])


@pytest.mark.parametrize("bound", [2**37, 2**45])
@pytest.mark.parametrize("real", [r for r in REALS if r < 1])
def test_multiply_wide_in_nodes(real: float, bound: int) -> None:
    multiplier, shift = fixed_point.quantize_multiplier(real)
    x = numbers(real, bound)
    call, value = empty()
    made = nodes.multiply_wide(call, value, multiplier, shift, bound=bound)
    wanted = fixed_point.multiply_wide(x, multiplier, shift)
    np.testing.assert_array_equal(computed(call, value, made, x), wanted)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(power=st.floats(-16, 1), seed=st.integers(0, 1000))
def test_a_line_is_proved(power: float, seed: int) -> None:
    """A proof that float64 computes it rightly holds, and there nearly always is one."""
    real = 2.0**power
    multiplier, shift = fixed_point.quantize_multiplier(real)
    factor, offset = fixed_point.line(multiplier, shift)
    assert fixed_point.is_line(multiplier, shift)
    x = numbers(real, (2**31 - 1) >> max(int(shift), 0), seed)
    wanted = fixed_point.multiply(x, multiplier, shift, up=True)
    got = np.floor(x * factor + offset)
    short = np.abs(wanted) < 2**15
    np.testing.assert_array_equal(got[short], wanted[short])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    real=st.floats(2.0**-16, 2.0)
    | st.sampled_from([2.0**-n * k for n in range(9) for k in (1, 3)]),
    seed=st.integers(0, 1000),
)
def test_a_nudge_is_proved(real: float, seed: int) -> None:
    x = numbers(real, 2**31 - 1, seed)
    product = x * real
    wanted = np.sign(product) * np.floor(np.abs(product) + np.nextafter(0.5, 0))
    got = np.rint(x * (real * fixed_point.NUDGE))
    short = np.abs(wanted) < 2**15
    assert fixed_point.is_nudged(np.asarray(real))
    np.testing.assert_array_equal(got[short], wanted[short])


def test_a_nudge_that_is_too_much() -> None:
    """A third of 3 (k + 1/2), in float64, lies just below every tie."""
    assert not fixed_point.is_nudged(np.asarray([0.25, np.nextafter(0.5, 0)]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_activation_ranges(dtype: str) -> None:
    info = np.iinfo(dtype)
    assert fixed_point.activation_range("NONE", 0.1, 3, dtype) == (info.min, info.max)
    low, high = fixed_point.activation_range("RELU6", 0.1, 3, dtype)
    assert (low, high) == (3, 63)
    away = fixed_point.activation_range("RELU_N1_TO_1", 0.4, 0, "int8")
    even = fixed_point.activation_range("RELU_N1_TO_1", 0.4, 0, "int8", even=True)
    assert (away, even) == ((-3, 3), (-2, 2))
