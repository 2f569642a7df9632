"""Recurrent layers step by step: written out and as loops, in ONNX Runtime and in LiteRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.passes.evaluation import Net, operators
from tests.passes.test_legalize import check

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
HIDDEN, WIDTH, BATCH = 5, 3, 2


def layer(net: Net, op: str, steps: int | str, **how: Any) -> list[str]:
    """A layer with all that it may have."""
    both = how.get("direction") == "bidirectional"
    directions, rows = 1 + both, GATES[op] * HIDDEN
    first = how.get("layout", 0)
    x = net.input(*((BATCH, steps) if first else (steps, BATCH)), WIDTH)
    inputs = [x, net.weight(directions, rows, WIDTH), net.weight(directions, rows, HIDDEN)]
    bias, initial, peepholes = (how.pop(name, False) for name in ("bias", "initial", "peepholes"))
    inputs.append(net.weight(directions, 2 * rows) if bias else "")
    inputs.append("")
    if initial:
        shape = (BATCH, directions, HIDDEN) if first else (directions, BATCH, HIDDEN)
        inputs += [net.weight(*shape) for _ in range(2 if op == "LSTM" else 1)]
    if peepholes:
        inputs += [""] * (7 - len(inputs)) + [net.weight(directions, 3 * HIDDEN)]
    count = 3 if op == "LSTM" else 2
    return list(net.add(op, *inputs, outputs=count, hidden_size=HIDDEN, **how))


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{op: (op, {}) for op in GATES},
    **{f"{op}, bias": (op, {"bias": True, "initial": True}) for op in GATES},
    **{f"{op}, backwards": (op, {"bias": True, "direction": "reverse"}) for op in GATES},
    **{
        f"{op}, both ways": (op, {"bias": True, "initial": True, "direction": "bidirectional"})
        for op in GATES
    },
    "LSTM, peepholes": ("LSTM", {"bias": True, "peepholes": True}),
    "LSTM, forgets": ("LSTM", {"bias": True, "input_forget": 1}),
    "LSTM, clipped": ("LSTM", {"bias": True, "clip": 0.25}),
    "GRU, linear": ("GRU", {"bias": True, "linear_before_reset": 1}),
    "RNN, relu": ("RNN", {"bias": True, "activations": ["Relu"]}),
}


LONG = ("LSTM, both ways", "GRU, linear", "GRU, backwards", "RNN, bias", "LSTM, peepholes")


@pytest.mark.parametrize(
    ("name", "steps"), [*((n, 3) for n in CASES), *((n, 20) for n in LONG), ("LSTM", 1)]
)
def test_layers(name: str, steps: int, tmp_path: Path) -> None:
    op, how = CASES[name]
    net = Net()
    made = check(net.proto(*layer(net, op, steps, **dict(how))), tmp_path)
    assert operators(made).count("Loop") == (0 if steps < 20 else 1 + ("both" in name))


def test_a_sequence_as_long_as_it_is(tmp_path: Path) -> None:
    net = Net()
    outputs = layer(net, "LSTM", "time", bias=True)
    check(net.proto(*outputs), tmp_path, sizes={"time": 6})
