"""What inspect tells of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import w2e_bridge
from tests.cli.runner import run_main
from tests.w2e_tflite.maker import Op, Spec, build, const
from tests.w2e_tflite.test_write import network
from w2e_bridge.errors import UnsupportedError
from w2e_tflite.container import open_file
from w2e_tflite.inspecting import Life, arena, inspect, lives, operators, tensors


def test_operators_with_their_types(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(network())
    rows = operators(open_file(path))
    assert [(r.kind, r.version, r.types, r.count) for r in rows] == [
        ("CONV_2D", 3, "INT8 × INT8[4] × INT32[4] → INT8", 1),
        ("MAX_POOL_2D", 2, "INT8 → INT8", 1),
        ("RESHAPE", 1, "INT8 × INT32 → INT8", 1),
        ("FULLY_CONNECTED", 4, "INT8 × INT8 × INT32 → INT8", 1),
    ]


def test_tensors_with_their_quantization(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(network())
    rows = {row.name: row for row in tensors(open_file(path))}
    assert (rows["x"].quantization, rows["x"].role) == ("0.02, zero point -5", "input")
    assert rows["x"].shape == (-1, 6, 6, 2)
    assert (rows["w"].quantization, rows["w"].role, rows["w"].nbytes) == (
        "4 scales along 0", "constant", 72
    )  # fmt: skip
    assert (rows["s"].quantization, rows["s"].nbytes) == ("", 8)
    assert rows["y"].role == "output"


def refused(folder: Path) -> Path:
    """A file of an operator that is known between two that are not."""
    path = folder / "model.tflite"
    x, y, z, end = (Spec(name, (2,)) for name in ("x", "y", "z", "end"))
    first = Op("custom:FlexErf", [x, const("c", [1], "int32")], [y])
    path.write_bytes(build([first, Op("ABS", [y], [z]), Op("custom:DISPATCH_OP", [z], [end])]))
    return path


def test_operators_that_nothing_converts_are_told_too(tmp_path: Path) -> None:
    found = inspect(refused(tmp_path))
    types = "FLOAT32 → FLOAT32"
    assert found["operators"] == [
        {
            "kind": "custom:FlexErf",
            "version": 1,
            "types": "FLOAT32 × INT32 → FLOAT32",
            "count": 1,
            "refused": "unknown",
        },
        {"kind": "ABS", "version": 1, "types": types, "count": 1, "refused": ""},
        {
            "kind": "custom:DISPATCH_OP",
            "version": 1,
            "types": types,
            "count": 1,
            "refused": "unknown",
        },
    ]
    assert found["signatures"] == []


def test_the_command_shows_a_file_that_nothing_converts(tmp_path: Path) -> None:
    path = refused(tmp_path)
    done = run_main("inspect", str(path))
    assert done.code == 0
    assert "can't be converted: custom operator FlexErf" in done.stdout
    assert "custom:FlexErf" in done.stdout
    assert "ABS" in done.stdout
    with pytest.raises(UnsupportedError, match="FlexErf"):
        w2e_bridge.open(path)


def test_memory_of_a_chain(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(network())
    container = open_file(path)
    found = arena(lives(container.subgraphs[0]))
    # x of 72 bytes and a of 144 live at once, each in blocks of 64
    assert (found.least_nbytes, found.operator) == (128 + 192, 0)
    assert found.nbytes == 320


@pytest.mark.parametrize("count", [0, 1])
def test_memory_of_nothing(count: int) -> None:
    values = [Life(nbytes=0, first=0, last=1)] * count
    assert arena(values).nbytes == 0


LIVES = st.builds(
    lambda size, first, length: Life(nbytes=size, first=first, last=first + length),
    st.integers(0, 1000),
    st.integers(-1, 20),
    st.integers(0, 6),
)


@given(values=st.lists(LIVES, max_size=30))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_no_plan_is_smaller_than_what_lives_at_once(values: list[Life]) -> None:
    found = arena(values, alignment=1)
    alive = [sum(v.nbytes for v in values if v.first <= t <= v.last) for t in range(-1, 30)]
    assert found.least_nbytes == max(alive)
    assert found.least_nbytes <= found.nbytes <= sum(v.nbytes for v in values)


def test_the_command_line_shows_it() -> None:
    path = Path(__file__).parents[2] / "fixtures" / "tflite" / "two_heads_int8.tflite"
    done = run_main("inspect", str(path))
    assert (done.code, done.stderr) == (0, "")
    shown = [line.split() for line in done.stdout.splitlines()]
    assert ["CONV_2D", "3", "INT8", "×", "INT8[8]", "×", "INT32[8]", "→", "INT8", "2"] in shown
    assert ["classify", "576", "B", "576", "B"] in shown
    assert ["segment"] in shown
    said = json.loads(run_main("inspect", str(path), "--json").stdout)["file"]
    assert said["signatures"] == ["classify", "segment"]
    assert {row["name"] for row in said["tensors"]} >= {"classify_x:0", "segment_x:0", "Conv2D"}
