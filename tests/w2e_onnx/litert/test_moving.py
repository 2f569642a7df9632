"""Rules that move codes: ONNX Runtime gives LiteRT's codes, and the way back gives the same operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import w2e_bridge
from tests.kernels.moving import As, Moves, X, found, opened
from tests.kernels.moving_cases import (
    CODES,
    INDICES,
    NEW_AXIS,
    PADDING,
    SCATTER,
    SHAPE,
    SLICING,
    SPACES,
    STRIDED,
)
from tests.w2e_onnx.litert.harness import Data, lowered, operation
from tests.w2e_tflite.maker import Spec, const, litert, one_op

ALL = [*SHAPE, *SLICING, *STRIDED, *PADDING, *INDICES, *SCATTER, *SPACES]


@pytest.mark.parametrize("case", ALL, ids=str)
@pytest.mark.parametrize(
    ("dtype", "reference"),
    [("int8", False), ("int8", True), ("uint8", False), ("int16", True)],
)
def test_codes(case: Moves, dtype: str, reference: bool) -> None:
    if dtype in case.only and not (reference and case.default_only):
        case.check_run(dtype, reference=reference, optimize=not reference)


@pytest.mark.parametrize("case", [*ALL, NEW_AXIS], ids=str)
def test_there_and_back(case: Moves, tmp_path: Path) -> None:
    case.check_back("int8" if "int8" in case.only else case.only[0], tmp_path)


def test_one_index_of_one_axis_is_one_node() -> None:
    case = next(c for c in STRIDED if c.options.get("begin_mask") == 13)
    _, emitter = lowered(case.model("int8"))
    bodies = [f for name, f in emitter.functions.items() if name.startswith("strided_slice")]
    assert [[node.op_type for node in body] for body in bodies] == [["Gather"]]


def test_unpacking_an_axis_before_another_is_two_nodes() -> None:
    case = next(c for c in SLICING if c.builtin == "UNPACK")
    _, emitter = lowered(case.model("int8"))
    bodies = [f for name, f in emitter.functions.items() if name.startswith("unpack")]
    assert [[node.op_type for node in body] for body in bodies] == [["Reshape", "Split"]]


@pytest.mark.parametrize("dtype", ["int8", "int4"])
@pytest.mark.parametrize("rows", [False, True])
def test_rows_of_a_quantized_table_are_real_numbers(dtype: str, rows: bool) -> None:
    random = np.random.default_rng(3)
    low, high = (-8, 7) if dtype == "int4" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    codes = random.integers(low, high, (6, 4), endpoint=True)
    codes = codes.astype("int8" if dtype == "int4" else dtype)
    scale = random.uniform(0.01, 3, 6).astype(np.float32) if rows else np.float32(0.37)
    zero = [0] * 6 if rows else 0
    ids = np.array([0, 5, 2, 2], np.int32)
    table = const("t", codes, dtype, scale=scale.tolist(), zero=zero)
    data = one_op("EMBEDDING_LOOKUP", [Spec("i", (4,), "int32"), table], [], [Spec("y", (4, 4))])
    held = Data(
        type=dtype,
        array=codes,
        scale=np.asarray(scale),
        zero_point=np.asarray(zero),
        axis=0 if rows else None,
        constant=True,
    )
    operands = [Data(type="int32", array=ids), held]
    (got,) = operation("embedding_lookup", operands, [Data(type="float32", shape=(4, 4))])
    np.testing.assert_array_equal(got, litert(data, [ids])[0][0])


def test_a_quantized_table_comes_back_as_one(tmp_path: Path) -> None:
    codes = np.arange(-12, 12, dtype=np.int8).reshape(6, 4)
    table = const("t", codes, "int8", scale=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], zero=[0] * 6)
    data = one_op("EMBEDDING_LOOKUP", [Spec("i", (4,), "int32"), table], [], [Spec("y", (4, 4))])
    (tmp_path / "there.tflite").write_bytes(data)
    w2e_bridge.convert(tmp_path / "there.tflite", to="onnx", out=tmp_path / "there.onnx")
    w2e_bridge.convert(tmp_path / "there.onnx", to="tflite", out=tmp_path / "back.tflite")
    back = (tmp_path / "back.tflite").read_bytes()
    assert found(opened(back)).kind == "embedding_lookup"
    ids = np.array([0, 5, 2, 2], np.int32)
    np.testing.assert_array_equal(litert(back, [ids])[0][0], litert(data, [ids])[0][0])


def test_a_code_that_is_not_zero_counts_whatever_the_zero_point() -> None:
    x = np.array([[0, -7, 5], [0, 0, -128]], np.int8)
    case = Moves(
        builtin="WHERE",
        inputs=[X(shape=(2, 3))],
        outputs=[As(dtype="int64", shape=(1, 2))],
        only=CODES,
    )
    data = case.file("int8")
    want = litert(data, [x])[0][0]
    assert want.tolist() == [[0, 1], [0, 2], [1, 2]]
    model = opened(data)
    assert model.graph is not None
    y = Data(type="int64", shape=("n", 2))
    (got,) = operation("where", [Data(type="int8", array=x, scale=0.1, zero_point=-7)], [y])
    np.testing.assert_array_equal(got, want)
