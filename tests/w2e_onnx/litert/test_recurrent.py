"""RNN and SVDF against LiteRT, which keeps the state itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.steps import Draw, again, litert, onnx_of, opened, run, worst
from tests.w2e_tflite.maker import Op, Spec, build

UNITS, WIDTH, STEPS = 12, 7, 5


def rnn(draw: Draw, *, batch: int, hybrid: bool, asymmetric: bool, activation: str) -> bytes:
    """RNN: one step in each run."""
    weights = (
        [draw.codes("w", (UNITS, WIDTH), 0.004), draw.codes("r", (UNITS, UNITS), 0.003)]
        if hybrid
        else [draw.reals("w", (UNITS, WIDTH)), draw.reals("r", (UNITS, UNITS), 0.2)]
    )
    hidden = Spec("h", (batch, UNITS), variable=True)
    inputs = [Spec("x", (batch, WIDTH)), *weights, draw.reals("b", (UNITS,)), hidden]
    options = {
        "fused_activation_function": activation, "asymmetric_quantize_inputs": asymmetric,
    }  # fmt: skip
    return build([Op("RNN", inputs, [Spec("y", (batch, UNITS))], options)])


@pytest.mark.parametrize("activation", ["TANH", "RELU", "RELU6", "NONE"])
@pytest.mark.parametrize(
    ("batch", "hybrid", "asymmetric"),
    [(1, False, False), (3, False, False), (1, True, True), (1, True, False), (3, True, True)],
)
def test_rnn(tmp_path: Path, activation: str, batch: int, hybrid: bool, asymmetric: bool) -> None:
    draw = Draw(3)
    data = rnn(draw, batch=batch, hybrid=hybrid, asymmetric=asymmetric, activation=activation)
    runs = [[draw.floats(batch, WIDTH)] for _ in range(4)]
    runs[2][0][:] = 0
    made, want = onnx_of(opened(data, tmp_path)), litert(data, runs)
    assert worst(run(made, runs), want) < 3e-6
    assert worst(litert(again(made, tmp_path), runs), want) == 0


ROWS = [
    [0, 255, 2.5, 3.5, 4.5, 100.5, 101.5],
    [-127.5, 127.5, 2.5, -2.5, 3.5, 0.5, -0.5],
    [-0.4, 0.4, 0.1, -0.1, 0.2, 0, 0.3],
    [-27, 228, 2.5, -2.5, 0.5, -0.5, 102.5],
    [0, 0, 0, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 1, 1],
]
"""Numbers whose codes lie half-way, ranges whose ends do."""


@pytest.mark.parametrize("asymmetric", [False, True])
def test_halves_are_rounded_as_the_kernel_does(tmp_path: Path, asymmetric: bool) -> None:
    weights = Spec("w", (WIDTH, WIDTH), "int8", scale=1 / 127, data=127 * np.eye(WIDTH))
    none = Spec("r", (WIDTH, WIDTH), "int8", scale=1.0, data=np.zeros((WIDTH, WIDTH)))
    zero = Spec("b", (WIDTH,), data=np.zeros(WIDTH, np.float32))
    batch = len(ROWS)
    inputs = [
        Spec("x", (batch, WIDTH)), weights, none, zero, Spec("h", (batch, WIDTH), variable=True)
    ]  # fmt: skip
    options = {"fused_activation_function": "NONE", "asymmetric_quantize_inputs": asymmetric}
    data = build([Op("RNN", inputs, [Spec("y", (batch, WIDTH))], options)])
    runs = [[np.asarray(ROWS, np.float32)]]
    got, want = run(onnx_of(opened(data, tmp_path)), runs), litert(data, runs)
    assert np.abs(got[0][0] - want[0][0]).max() < 1e-4


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("hybrid", [False, True])
def test_rnn_over_a_sequence(tmp_path: Path, time_major: bool, hybrid: bool) -> None:
    draw, batch = Draw(4), 2
    shape = (STEPS, batch) if time_major else (batch, STEPS)
    weights = (
        [draw.codes("w", (UNITS, WIDTH), 0.004), draw.codes("r", (UNITS, UNITS), 0.003)]
        if hybrid
        else [draw.reals("w", (UNITS, WIDTH)), draw.reals("r", (UNITS, UNITS), 0.2)]
    )
    hidden = Spec("h", (batch, UNITS), variable=True)
    inputs = [Spec("x", (*shape, WIDTH)), *weights, draw.reals("b", (UNITS,)), hidden]
    options = {"fused_activation_function": "TANH", "time_major": time_major}
    data = build([Op("UNIDIRECTIONAL_SEQUENCE_RNN", inputs, [Spec("y", (*shape, UNITS))], options)])
    runs = [[draw.floats(*shape, WIDTH)] for _ in range(3)]
    made, want = onnx_of(opened(data, tmp_path)), litert(data, runs)
    assert worst(run(made, runs), want) < 3e-6
    assert worst(litert(again(made, tmp_path), runs), want) == 0


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("second", ["none", "stacked", "backward"])
@pytest.mark.parametrize(("hybrid", "time_major"), [(False, False), (False, True), (True, False)])
def test_rnn_both_ways(
    tmp_path: Path, merge: bool, second: str, hybrid: bool, time_major: bool
) -> None:
    draw, batch, other = Draw(5), 2, 9
    shape = (STEPS, batch) if time_major else (batch, STEPS)
    x = Spec("x", (*shape, WIDTH))
    ways = []
    for way, units in (("f", UNITS), ("b", other)):
        ways += [
            draw.weights(f"{way}w", (units, WIDTH), codes=hybrid),
            draw.weights(f"{way}r", (units, units), codes=hybrid),
            draw.reals(f"{way}b", (units,)),
            Spec(f"{way}h", (batch, units), variable=True),
        ]
    auxiliary: list[Spec | None] = [None, None, None]
    if second != "none":
        auxiliary[0] = Spec("a", (*shape, WIDTH))
    if second == "stacked":
        auxiliary[1:] = [
            draw.weights("fa", (UNITS, WIDTH), codes=hybrid),
            draw.weights("ba", (other, WIDTH), codes=hybrid),
        ]
    widths = [UNITS + other] if merge else [UNITS, other]
    outputs = [Spec(f"y{i}", (*shape, n)) for i, n in enumerate(widths)]
    options = {
        "fused_activation_function": "TANH",
        "merge_outputs": merge,
        "time_major": time_major,
    }
    data = build([Op("BIDIRECTIONAL_SEQUENCE_RNN", [x, *ways, *auxiliary], outputs, options)])
    count = 1 if second == "none" else 2
    runs = [[draw.floats(*shape, WIDTH) for _ in range(count)] for _ in range(2)]
    made, want = onnx_of(opened(data, tmp_path)), litert(data, runs)
    assert worst(run(made, runs), want) < 3e-6
    assert worst(litert(again(made, tmp_path), runs), want) == 0


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("kind", ["float", "hybrid", "asymmetric"])
def test_svdf_of_floats(tmp_path: Path, rank: int, kind: str) -> None:
    draw, batch, memory, units = Draw(6), 2, 5, 4
    count = rank * units
    weights = (
        [draw.reals("f", (count, WIDTH)), draw.reals("t", (count, memory))]
        if kind == "float"
        else [draw.codes("f", (count, WIDTH), 0.004), draw.codes("t", (count, memory), 0.006)]
    )
    inputs = [
        Spec("x", (batch, WIDTH)),
        *weights,
        draw.reals("b", (units,)) if rank == 2 else None,
        Spec("s", (batch, count * memory), variable=True),
    ]
    options = {
        "rank": rank, "fused_activation_function": "RELU",
        "asymmetric_quantize_inputs": kind == "asymmetric",
    }  # fmt: skip
    data = build([Op("SVDF", inputs, [Spec("y", (batch, units))], options)])
    runs = [[draw.floats(batch, WIDTH)] for _ in range(7)]
    made, want = onnx_of(opened(data, tmp_path)), litert(data, runs)
    assert worst(run(made, runs), want) < 1e-5
    assert worst(litert(again(made, tmp_path), runs), want) == 0


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(("zero", "bias", "batch"), [(0, True, 1), (5, False, 2), (-128, True, 2)])
@pytest.mark.parametrize("optimize", [False, True])
def test_svdf_of_codes(
    tmp_path: Path, rank: int, zero: int, bias: bool, batch: int, optimize: bool
) -> None:
    draw, memory, units, width = Draw(7), 6, 5, 20
    count = rank * units
    inputs = [
        Spec("x", (batch, width), "int8", scale=0.03, zero=zero),
        draw.codes("f", (count, width), 0.006),
        draw.codes("t", (count, memory), 2e-5, "int16"),
        draw.bias("b", units, 2e-5 * 4e-4, 10**6) if bias else None,
        Spec("s", (batch, count * memory), "int16", scale=4e-4, variable=True),
    ]
    output = Spec("y", (batch, units), "int8", scale=0.05, zero=-9)
    options = {"rank": rank, "fused_activation_function": "RELU"}
    data = build([Op("SVDF", inputs, [output], options)])
    runs = [[draw.bytes(batch, width)] for _ in range(8)]
    runs[0][0][:], runs[1][0][:] = -128, 127
    want = litert(data, runs)
    assert worst(want, litert(data, runs, reference=True)) == 0
    assert len(np.unique(want[-1][0])) > 3
    made = onnx_of(opened(data, tmp_path))
    assert worst(run(made, runs, optimize=optimize), want) == 0
    assert worst(litert(again(made, tmp_path), runs), want) == 0
