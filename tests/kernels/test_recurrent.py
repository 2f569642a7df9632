"""Recurrent and custom operators become calls, and calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.kernels.pairs import found
from tests.w2e_onnx.litert.harness import Data, model_of
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.operation import Attribute
from w2e_bridge.kernels.state import states_of

WIDTH, UNITS = 3, 4


def weight(*shape: int) -> Data:
    """A constant."""
    return Data(type="float32", array=np.zeros(shape, np.float32), constant=True)


def value(*shape: int) -> Data:
    """What is computed."""
    array: NDArray[Any] = np.zeros(shape, np.float32)
    return Data(type="float32", array=array)


def direction(units: int = UNITS) -> list[Data | None]:
    """Weights of an LSTM's direction, all gates there."""
    weights = [weight(units, n) for n in (WIDTH,) * 4 + (units,) * 4]
    return [*weights, None, None, None, *(weight(units) for _ in range(4)), None, None]


STATES = [value(1, UNITS), value(1, UNITS)]
TANH: Mapping[str, Attribute] = {"fused_activation_function": "TANH"}

CALLS: Mapping[str, tuple[Sequence[Data | None], int, Mapping[str, Attribute]]] = {
    "unidirectional_sequence_lstm": (
        [value(1, 2, WIDTH), *direction(), *STATES], 1,
        {**TANH, "time_major": 0, "cell_clip": 0.5, "proj_clip": 0.0},
    ),
    "bidirectional_sequence_lstm": (
        [value(1, 2, WIDTH), *direction(), *direction(), *STATES, *STATES, *[None] * 9], 1,
        {**TANH, "time_major": 0, "merge_outputs": 1},
    ),
    "lstm": ([value(1, WIDTH), *direction(), *STATES], 1, {**TANH, "kernel_type": "FULL"}),
    "rnn": (
        [value(1, WIDTH), weight(UNITS, WIDTH), weight(UNITS, UNITS), weight(UNITS), STATES[0]], 1,
        TANH,
    ),
    "svdf": (
        [value(1, WIDTH), weight(UNITS, WIDTH), weight(UNITS, 5), None, value(1, UNITS * 5)], 1,
        {"rank": 2, "fused_activation_function": "RELU"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_is_the_operation_again(kind: str) -> None:
    operands, count, attributes = CALLS[kind]
    outputs = [Data(type="float32", shape=(1, n)) for n in range(count)]
    outputs += [Data(type="float32", shape=(1, UNITS)) for _ in states_of(kind, attributes)]
    model = model_of(kind, operands, outputs, attributes)
    again, _ = found(model)
    assert again.kind == kind
    assert dict(again.attributes) == dict(attributes)
    assert len(again.outputs) == len(outputs)
    names = [None if v is None else v.name for v in again.inputs]
    assert names == [None if d is None else f"x{i}" for i, d in enumerate(operands)]


@pytest.mark.parametrize("options", [b"", b"\0" * 40, b"\1\2\3"])
def test_options_that_say_nothing_are_refused(options: bytes) -> None:
    outputs = [Data(type="float32", shape=(1, 1, 1, 2)) for _ in range(2)]
    with pytest.raises(UnsupportedError):
        model_of(
            "custom:MaxPoolingWithArgmax2D",
            [value(1, 2, 2, 2)],
            outputs,
            {"custom_options": options},
        )
