"""Damaged files whose tables are whole: numbers in them that don't go together."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tests.w2e_tflite.maker import Op, Spec, build, const, one_op
from tests.w2e_tflite.through import lifted, through
from w2e_bridge import api
from w2e_bridge.errors import BridgeError, DefectError, FormatError, UnsupportedError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"
FILES = ("free_batch_int8", "leaky_int8", "loop_int8", "two_heads_int8")
TARGETS = ("onnx", "tflite", "tensorrt")
NUMBERS = (-2, -1, 0, 1, 2, 3, 4, 7, 16, 100, 2**24, 2**31 - 1, -(2**31))
MUTANTS = 10

Change = Callable[[Any], None]


def spoilt(data: bytes, change: Change) -> bytes:
    """A file with something changed in its tables."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def refusal(data: bytes, folder: Path, change: Change) -> FormatError:
    """What is said of it."""
    with pytest.raises(FormatError) as caught:
        lifted(spoilt(data, change), folder)
    return caught.value


def test_an_axis_that_the_operand_has_not(tmp_path: Path) -> None:
    x, parts = Spec("x", (2, 3)), [Spec("a", (3,)), Spec("b", (3,))]
    data = one_op("UNPACK", [x], [], parts, {"num": 2, "axis": 0})

    def change(model: Any) -> None:
        model.subgraphs[0].operators[0].builtinOptions.axis = 16

    error = refusal(data, tmp_path, change)
    assert error.where.offset is not None
    assert "UNPACK: its operands don't go with it" in str(error)


def test_operands_of_other_shapes(tmp_path: Path) -> None:
    x, y = Spec("x", (2, 3)), Spec("y", (2, 3))
    data = one_op("ADD", [x, const("c", np.ones(3, np.float32))], [], [y])

    def change(model: Any) -> None:
        model.subgraphs[0].tensors[0].shape = [2, 5]

    error = refusal(data, tmp_path, change)
    assert error.where.tensor == "y"
    assert "ADD: its operands don't go with it" in str(error)


def test_a_result_of_another_rank(tmp_path: Path) -> None:
    x, a, y = Spec("x", (2, 3)), Spec("a", (2, 3)), Spec("y", (2, 3))
    data = build([Op("ABS", [x], [a]), Op("NEG", [a], [y])])

    def change(model: Any) -> None:
        tensors = model.subgraphs[0].tensors
        next(t for t in tensors if t.name == b"a").shape = [6]

    error = refusal(data, tmp_path, change)
    assert error.where.tensor == "a"
    assert "expected a result of 2 dimensions, found 1" in str(error)


def test_a_rank_that_is_not_said(tmp_path: Path) -> None:
    x, a, y = Spec("x", (2, 3)), Spec("a", ()), Spec("y", (2, 3))
    model = lifted(build([Op("ABS", [x], [a]), Op("NEG", [a], [y])]), tmp_path)
    assert model.graph is not None
    (value,) = next(iter(model.graph.graph)).outputs
    assert value.shape == (2, 3)


def test_an_operator_whose_result_nothing_reads(tmp_path: Path) -> None:
    x, a, y = Spec("x", (2, 3)), Spec("a", (2, 3)), Spec("y", (2, 3))
    data = build(
        [Op("NEG", [x], [y]), Op("ADD", [x, const("c", np.ones(3, np.float32))], [a])], [y]
    )
    model = lifted(data, tmp_path)
    assert model.graph is not None
    assert [node.op_type for node in model.graph.graph] == ["Neg"]
    assert not model.tensors
    assert ("a", "nothing reads this result of an operator") in {
        (remark.name, remark.reason) for remark in model.remarks
    }
    api.lower(model, api.Wishes(to="onnx", out=tmp_path / "onnx", audit="full"))
    assert (
        len(schema.ModelT.InitFromPackedBuf(through(data, tmp_path), 0).subgraphs[0].operators) == 1
    )


def test_a_bias_of_another_length(tmp_path: Path) -> None:
    x, y = Spec("x", (1, 3)), Spec("y", (1, 4))
    weights, bias = (const(n, np.ones(s, np.float32)) for n, s in (("w", (4, 3)), ("b", (5,))))
    error = refusal(
        one_op("FULLY_CONNECTED", [x, weights, bias], [], [y]), tmp_path, lambda _: None
    )
    assert "FULLY_CONNECTED: its operands don't go with it" in str(error)
    assert "expected a bias of 4 numbers, found 5" in str(error)


def test_an_operand_that_is_left_out(tmp_path: Path) -> None:
    x, y, weights = Spec("x", (1, 3)), Spec("y", (1, 4)), const("w", np.ones((4, 3), np.float32))
    data = one_op("FULLY_CONNECTED", [x, weights], [], [y])

    def change(model: Any) -> None:
        model.subgraphs[0].operators[0].inputs = [0]

    assert "FULLY_CONNECTED: its operands don't go with it" in str(refusal(data, tmp_path, change))


def test_a_stride_beyond_any_image(tmp_path: Path) -> None:
    x, y = Spec("x", (1, 4, 4, 1)), Spec("y", (1, 2, 2, 1))
    options = {"stride_h": 1 << 24, "stride_w": 2, "filter_height": 2, "filter_width": 2}
    data = one_op("MAX_POOL_2D", [x], [], [y], options)
    assert "MAX_POOL_2D: strides of" in str(refusal(data, tmp_path, lambda _: None))


def test_a_scale_for_each_channel_of_a_value(tmp_path: Path) -> None:
    x, y = Spec("x", (1, 2), "int8", (0.5, 0.25), (0, 0), axis=1), Spec("y", (1, 2), "int8", 0.5)
    with pytest.raises(UnsupportedError, match="a scale for each channel"):
        lifted(one_op("ABS", [x], [], [y]), tmp_path)


def _number(chance: random.Random, model: Any) -> None:
    """Put some number in the place of another, or one of the same kind."""
    graph = chance.choice(model.subgraphs)
    tensor, operator = chance.choice(graph.tensors), chance.choice(graph.operators)
    number = chance.choice(NUMBERS)
    places: list[tuple[Any, str]] = [
        (tensor, "shape"), (operator, "inputs"), (operator, "outputs"), (graph, "outputs"),
    ]  # fmt: skip
    match chance.randrange(4):
        case 0:
            tensor.type = chance.choice(graph.tensors).type
        case 1:
            tensor.buffer = chance.choice(graph.tensors).buffer
        case 2 if operator.builtinOptions is not None:
            options = operator.builtinOptions
            names = sorted(n for n, v in vars(options).items() if isinstance(v, int) and v > -1)
            for name in chance.sample(names, min(1, len(names))):
                setattr(
                    options, name, type(vars(options)[name])(number if number in range(128) else 1)
                )
        case _:
            holder, name = chance.choice(places)
            held = list(vars(holder)[name] if vars(holder)[name] is not None else ())
            if held:
                held[chance.randrange(len(held))] = number
                setattr(holder, name, held)


@pytest.mark.parametrize("name", FILES)
def test_numbers_that_do_not_go_together(name: str, tmp_path: Path) -> None:
    """Whatever opens converts, or is refused in one line; nothing breaks a pass or a writer."""
    data = (FIXTURES / f"{name}.tflite").read_bytes()
    refused = 0
    for seed in range(MUTANTS):
        chance = random.Random(f"{name} {seed}")
        try:
            model = lifted(spoilt(data, partial(_number, chance)), tmp_path)
        except BridgeError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        for target in TARGETS:
            try:
                api.lower(model, api.Wishes(to=target, out=tmp_path / f"{target}{seed}"))
            except DefectError:
                raise
            except BridgeError as error:
                assert not re.search(r"\n|internal", str(error))
    assert 0 < refused < MUTANTS
