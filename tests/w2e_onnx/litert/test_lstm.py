"""LSTM against LiteRT, which keeps the state itself: integers equal, floats nearly so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.steps import Draw, again, litert, onnx_of, opened, run, worst
from tests.w2e_tflite import maker
from tests.w2e_tflite.maker import Op, Spec, build
from w2e_bridge.numerics.fixed_point import multiply, quantize_multiplier
from w2e_bridge.numerics.lstm import sigmoid_table, tanh_table
from w2e_onnx.lowering.litert.lstm_integer import Hidden
from w2e_onnx.lowering.litert.lstm_parts import FEW

WIDTH = 9


@pytest.fixture(autouse=True)
def _version(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT has the operator up to version 3."""
    monkeypatch.setitem(maker.RAISED, "UNIDIRECTIONAL_SEQUENCE_LSTM", 3)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a network is like; `outputs` units are what a projection leaves, 0 for none."""

    batch: int = 1
    steps: int = 4
    units: int = 12
    outputs: int = 0
    coupled: bool = False
    peephole: bool = False
    norm: bool = False
    bias: bool = False
    cell: int = -11
    cell_clip: float = 0.0
    proj_clip: float = 0.0
    hidden_zero: int = -1
    zero: int = -1
    time_major: bool = False
    asymmetric: bool = False

    @property
    def last(self) -> int:
        """Units of the output."""
        return self.outputs or self.units

    @property
    def shape(self) -> tuple[int, int]:
        """Batch and time in their order."""
        return (self.steps, self.batch) if self.time_major else (self.batch, self.steps)

    @property
    def gates(self) -> list[bool]:
        """Which gates there are, in TensorFlow Lite's order."""
        return [not self.coupled, True, True, True]

    @property
    def options(self) -> dict[str, object]:
        """Options of the operator."""
        return {
            "fused_activation_function": "TANH",
            "cell_clip": self.cell_clip,
            "proj_clip": self.proj_clip,
            "time_major": self.time_major,
            "asymmetric_quantize_inputs": self.asymmetric,
        }


def integer(case: Case, seed: int = 0) -> bytes:
    """A network of codes: int8 inputs, states and weights, int16 cell."""
    draw, hidden_scale = Draw(seed), 0.0074
    n, m, scale = case.units, case.last, 0.02
    some = [0.003 + 0.004 * k for k in range(4)]
    x = Spec("x", (*case.shape, WIDTH), "int8", scale=scale, zero=3)
    gates = [
        [draw.codes(f"{role}{k}", (n, width), some[k] * 1.1) if there else None
         for k, there in enumerate(case.gates)]
        for role, width in (("w", WIDTH), ("r", m))
    ]  # fmt: skip
    seeing = [case.peephole and there for k, there in enumerate(case.gates) if k != 2]
    peephole = [
        draw.codes(f"c{k}", (n,), 2e-5, "int16") if s else None for k, s in enumerate(seeing)
    ]
    bias = [
        draw.bias(f"b{k}", n, scale * some[k]) if there else None
        for k, there in enumerate(case.gates)
    ]
    project = [None, None]
    if case.outputs:
        extra = draw.bias("pb", m, 0.006 * hidden_scale, 3000) if case.bias else None
        project = [draw.codes("p", (m, n), 0.006), extra]  # type: ignore[list-item]
    states = [
        Spec("h", (case.batch, m), "int8", scale=0.0074, zero=case.zero, variable=True),
        Spec("c", (case.batch, n), "int16", scale=2.0**case.cell, variable=True),
    ]
    norm = [
        draw.codes(f"n{k}", (n,), 1e-5 * (k + 1), "int16") if case.norm and there else None
        for k, there in enumerate(case.gates)
    ]
    kinds = {"dtype": "int16"} if case.norm else {}
    inner = [
        Spec(f"i{k}", (0,), scale=1e-3 * (k + 1) if case.norm else None, **kinds)  # type: ignore[arg-type]
        for k in range(4)
    ]
    inner.append(Spec("i4", (0,), "int8", scale=hidden_scale, zero=case.hidden_zero))
    output = Spec("y", (*case.shape, m), "int8", scale=0.0074, zero=case.zero)
    inputs = [x, *gates[0], *gates[1], *peephole, *bias, *project, *states, *norm]
    kind = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    return build([Op(kind, inputs, [output], case.options, intermediates=inner)])


INTEGER = [
    Case(),
    Case(batch=3, time_major=True),
    Case(cell=-15),
    Case(cell=-10, cell_clip=1.0),
    Case(cell=-9, zero=5, hidden_zero=7),
    Case(coupled=True),
    Case(peephole=True),
    Case(peephole=True, coupled=True, batch=2),
    Case(outputs=8),
    Case(outputs=8, bias=True, hidden_zero=5, batch=2),
    Case(outputs=15, hidden_zero=-20, proj_clip=0.3),
    Case(norm=True),
    Case(norm=True, batch=2, units=24, steps=3),
    Case(norm=True, peephole=True, coupled=True),
    Case(norm=True, outputs=7, batch=2, bias=True),
    Case(steps=FEW + 1, units=5),
    Case(units=150, steps=2),
]


@pytest.mark.parametrize("case", INTEGER, ids=str)
def test_integers_are_equal(tmp_path: Path, case: Case) -> None:
    data, draw = integer(case), Draw(1)
    runs = [[draw.bytes(*case.shape, WIDTH)] for _ in range(3)]
    want = litert(data, runs)
    assert worst(want, litert(data, runs, reference=True)) == 0
    assert len(np.unique(want[-1][0])) > 10
    made = onnx_of(opened(data, tmp_path))
    assert worst(run(made, runs), want) == 0
    assert worst(run(made, runs, optimize=False), want) == 0
    assert worst(litert(again(made, tmp_path), runs), want) == 0


def test_one_product_gives_every_code_of_the_hidden_state() -> None:
    random = np.random.default_rng(0)
    short = 0
    for scale in random.uniform(2e-3, 2e-2, 50).astype(np.float32):
        multiplier, shift = quantize_multiplier(
            np.float64(np.float32(2.0**-30 / np.float64(scale)))
        )
        hidden = Hidden(multiplier=int(multiplier), shift=int(shift), zero=0)
        if not hidden.short:
            continue
        short += 1
        one = np.ldexp(1 + 2.0**-50, -15)
        gate = random.integers(0, 2**15, 20000)
        cell = random.integers(-(2**15), 2**15, 20000)
        factor = np.ldexp(float(multiplier), -31 + 15)
        first = np.rint((gate * one) * (cell * factor))
        got = np.rint(first * np.ldexp(1 + 2.0**-50, int(shift)))
        assert np.array_equal(got, multiply(gate * cell, multiplier, shift))
    assert short > 45


def test_tables_are_those_of_the_functions() -> None:
    codes = np.arange(-(2**15), 2**15)
    assert np.abs(sigmoid_table() / 2**15 - 1 / (1 + np.exp(-codes / 2**12))).max() < 5e-4
    for bits in range(7):
        real = np.tanh(codes / 2.0 ** (15 - bits))
        assert np.abs(tanh_table(bits) / 2**15 - real).max() < 1e-3


def floats(case: Case, *, hybrid: bool, seed: int = 0, kind: str = "") -> bytes:
    """A network of floats, its matrices of codes if `hybrid`."""
    draw, n, m = Draw(seed), case.units, case.last
    shape = (case.batch, WIDTH) if kind == "LSTM" else (*case.shape, WIDTH)
    gates = [
        [draw.weights(f"{role}{k}", (n, width), codes=hybrid) if there else None
         for k, there in enumerate(case.gates)]
        for role, width in (("w", WIDTH), ("r", m))
    ]  # fmt: skip
    seeing = [case.peephole and there for k, there in enumerate(case.gates) if k != 2]
    peephole = [
        draw.weights(f"c{k}", (n,), codes=hybrid) if s else None for k, s in enumerate(seeing)
    ]
    bias = [draw.reals(f"b{k}", (n,)) if there else None for k, there in enumerate(case.gates)]
    project = [None, None]
    if case.outputs:
        extra = draw.reals("pb", (m,)) if case.bias else None
        project = [draw.weights("p", (m, n), codes=hybrid), extra]  # type: ignore[list-item]
    states = [
        Spec("h", (case.batch, m), variable=True), Spec("c", (case.batch, n), variable=True)
    ]  # fmt: skip
    norm = [
        draw.reals(f"n{k}", (n,)) if case.norm and there else None
        for k, there in enumerate(case.gates)
    ]
    inputs = [Spec("x", shape), *gates[0], *gates[1], *peephole, *bias, *project, *states, *norm]
    output = Spec("y", (*shape[:-1], m))
    return build(
        [Op(kind or "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [output], options(case, kind))]
    )


def options(case: Case, kind: str) -> dict[str, object]:
    """Options that the operator has."""
    return {k: v for k, v in case.options.items() if not (kind == "LSTM" and k == "time_major")}


FLOATS = [
    Case(),
    Case(batch=3, time_major=True, cell_clip=0.7),
    Case(coupled=True, peephole=True),
    Case(norm=True, peephole=True, batch=2),
    Case(outputs=7, bias=True, proj_clip=0.4),
    Case(outputs=7, coupled=True, norm=True, batch=2),
]


@pytest.mark.parametrize("case", FLOATS, ids=str)
@pytest.mark.parametrize("kind", ["", "LSTM"])
def test_floats(tmp_path: Path, case: Case, kind: str) -> None:
    data, draw = floats(case, hybrid=False, kind=kind), Draw(2)
    shape = (case.batch, WIDTH) if kind == "LSTM" else (*case.shape, WIDTH)
    runs = [[draw.floats(*shape)] for _ in range(3)]
    made, want = onnx_of(opened(data, tmp_path)), litert(data, runs)
    assert worst(run(made, runs), want) < 3e-6
    assert worst(litert(again(made, tmp_path), runs), want) == 0


@pytest.mark.parametrize("case", FLOATS, ids=str)
@pytest.mark.parametrize("asymmetric", [False, True])
def test_floats_with_codes_as_weights(tmp_path: Path, case: Case, asymmetric: bool) -> None:
    from dataclasses import replace

    case = replace(case, asymmetric=asymmetric)
    data, draw = floats(case, hybrid=True), Draw(3)
    runs = [[draw.floats(*case.shape, WIDTH)] for _ in range(3)]
    runs[1][0][:, 1:] = 0
    made = onnx_of(opened(data, tmp_path))
    want = litert(data, runs)
    assert worst(run(made, runs), want) < 3e-6
    assert worst(run(made, runs, optimize=False), want) < 3e-6
    assert worst(litert(again(made, tmp_path), runs), want) == 0


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("second", ["none", "stacked", "backward"])
@pytest.mark.parametrize(("hybrid", "time_major"), [(False, False), (False, True), (True, False)])
def test_both_ways(
    tmp_path: Path, merge: bool, second: str, hybrid: bool, time_major: bool
) -> None:
    # With the batch first, LiteRT takes the states of a merged output from the wrong place.
    draw, batch, steps = Draw(4), 1 if merge and not time_major else 2, 4
    shape = (steps, batch) if time_major else (batch, steps)
    sizes = (6, 6)  # LiteRT compares the backward weights with the forward cell
    ways: list[Spec | None] = []
    for way, n in zip("fb", sizes, strict=True):
        for role, width in (("w", WIDTH), ("r", n)):
            ways += [draw.weights(f"{way}{role}{k}", (n, width), codes=hybrid) for k in range(4)]
        ways += [None] * 3 + [draw.reals(f"{way}b{k}", (n,)) for k in range(4)] + [None] * 2
    states = [
        Spec(f"{way}{s}", (batch, n), variable=True)
        for way, n in zip("fb", sizes, strict=True)
        for s in "hc"
    ]
    auxiliary: list[Spec | None] = [None] * 9
    if second != "none":
        auxiliary[0] = Spec("a", (*shape, WIDTH))
    if second == "stacked":
        auxiliary[1:] = [
            draw.weights(f"{way}a{k}", (n, WIDTH), codes=hybrid)
            for way, n in zip("fb", sizes, strict=True)
            for k in range(4)
        ]
    widths = [sum(sizes)] if merge else list(sizes)
    outputs = [Spec(f"y{i}", (*shape, n)) for i, n in enumerate(widths)]
    said = {
        "fused_activation_function": "TANH", "merge_outputs": merge, "time_major": time_major,
        "asymmetric_quantize_inputs": hybrid, "cell_clip": 2.0,
    }  # fmt: skip
    inputs = [Spec("x", (*shape, WIDTH)), *ways, *states, *auxiliary]
    data = build([Op("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, outputs, said)])
    runs = [[draw.floats(*shape, WIDTH) for _ in range(1 + (second != "none"))] for _ in range(2)]
    made, want = onnx_of(opened(data, tmp_path)), litert(data, runs)
    assert worst(run(made, runs), want) < 3e-6
    assert worst(litert(again(made, tmp_path), runs), want) == 0


def test_the_old_cell(tmp_path: Path) -> None:
    draw, n = Draw(5), 6
    inputs = [
        Spec("x", (2, WIDTH)),
        Spec("h", (2, n), variable=True),
        draw.reals("w", (4 * n, WIDTH + n)),
        draw.reals("b", (4 * n,)),
        Spec("c", (2, n), variable=True),
    ]
    outputs = [Spec(f"y{i}", (2, k)) for i, k in enumerate((n, n, n + WIDTH, 4 * n))]
    data = build(
        [
            Op(
                "LSTM",
                inputs,
                outputs,
                {"kernel_type": "BASIC", "fused_activation_function": "TANH"},
            )
        ],
        outputs=outputs[:2],
    )
    runs = [[draw.floats(2, WIDTH)] for _ in range(3)]
    made, want = onnx_of(opened(data, tmp_path)), litert(data, runs)
    assert worst(run(made, runs), want) < 3e-6
    assert worst(litert(again(made, tmp_path), runs), want) == 0


@pytest.mark.parametrize("batch", [1, 3])
def test_the_old_cell_of_codes(tmp_path: Path, batch: int) -> None:
    draw, n = Draw(6), 8
    activations: dict[str, object] = {"dtype": "uint8", "scale": 1 / 128, "zero": 128}
    weights = draw.random.integers(0, 256, (4 * n, WIDTH + n))
    inputs = [
        Spec("x", (batch, WIDTH), **activations),  # type: ignore[arg-type]
        Spec("h", (batch, n), variable=True, **activations),  # type: ignore[arg-type]
        Spec("w", weights.shape, "uint8", scale=0.02, zero=131, data=weights),
        draw.bias("b", 4 * n, 0.02 / 128, 8000),
        Spec("c", (batch, n), "int16", scale=2.0**-11, variable=True),
    ]
    outputs = [
        Spec("y", (batch, n), **activations),  # type: ignore[arg-type]
        Spec("s", (batch, n), "int16", scale=2.0**-11),
        Spec("t", (batch, n + WIDTH), **activations),  # type: ignore[arg-type]
        Spec("g", (batch, 4 * n), "int16", scale=2.0**-12),
    ]
    said = {"kernel_type": "BASIC", "fused_activation_function": "TANH"}
    data = build([Op("LSTM", inputs, outputs, said)], outputs=outputs[:2])
    runs = [[draw.random.integers(0, 256, (batch, WIDTH)).astype(np.uint8)] for _ in range(6)]
    runs[0][0][:] = 128  # LiteRT begins with code 0 in a uint8 variable, which is -1
    want = litert(data, runs)
    assert worst(want, litert(data, runs, reference=True)) == 0
    assert len(np.unique([w[0] for w in want])) > 20
    made = onnx_of(opened(data, tmp_path))
    assert worst(run(made, runs), want) == 0
    assert worst(litert(again(made, tmp_path), runs), want) == 0
