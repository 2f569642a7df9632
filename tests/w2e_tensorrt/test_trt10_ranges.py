"""Ranges of values: what covers what, and what follows from it without a loss."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.w2e_tensorrt.trt10_cases import Array, bundle, decibels, run
from w2e_bridge.graph.weights import weight
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.tensor import plain_tensor
from w2e_bridge.loss import Grade
from w2e_tensorrt.lowering.covering import Covering

INT8, UINT8 = Integer(bits=8, signed=True), Integer(bits=8)


def static(
    scale: object, zero: int | None = None, codes: Integer | Float = INT8
) -> ActivationQuantization:
    return ActivationQuantization(
        codes=codes,
        scale=np.asarray(scale, np.float32),
        zero_point=None if zero is None else np.asarray(zero),
    )


def covered(
    nodes: list[onnx.NodeProto], outputs: str, values: Mapping[str, ActivationQuantization]
) -> Covering:
    """The ranges of a graph whose input is x."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g",
        [value("x", TensorProto.FLOAT, [1, 4, 4, 4])],
        [value(name, TensorProto.FLOAT, None) for name in outputs.split()],
        [numpy_helper.from_array(np.array([0, -1]), "shape"),
         numpy_helper.from_array(np.zeros((), np.float32), "low")],
    )  # fmt: skip
    found = Covering(values=values)
    found.run(ir.serde.deserialize_model(helper.make_model(graph)))
    return found


@pytest.mark.parametrize(
    ("found", "scale", "grade"),
    [
        (static(0.1), 0.1, Grade.EXACT),
        (static(0.1, 128, UINT8), 0.1, Grade.EXACT),
        (static(0.1, 0, UINT8), 25.5 / 127, Grade.REQUANTIZED),
        (static(0.1, -128), 25.5 / 127, Grade.REQUANTIZED),
        (static(0.1, 27), 15.5 / 127, Grade.REQUANTIZED),
        (static(0.001, 0, Integer(bits=16, signed=True)), 32.768 / 127, Grade.REQUANTIZED),
        (static(0.1, codes=Float(name="float8_e4m3fn")), 44.8 / 127, Grade.REQUANTIZED),
    ],
)
def test_the_smallest_symmetric_range_that_covers_the_source(
    found: ActivationQuantization, scale: float, grade: Grade
) -> None:
    made = covered([helper.make_node("Exp", ["x"], ["y"])], "y", {"x": found})
    assert made.scales["x"] == pytest.approx(scale)
    (row,) = made.losses
    assert row.grade is grade
    assert row.max_abs_error == (0 if grade is Grade.EXACT else pytest.approx(scale / 2))


@pytest.mark.parametrize(
    "found",
    [
        ActivationQuantization(codes=INT8, mode=ActivationMode.DYNAMIC),
        ActivationQuantization(
            codes=INT8, granularity=Granularity.CHANNEL, axis=1, scale=np.ones(4, np.float32)
        ),
        static(0.0),
        static(np.inf),
    ],
)
def test_what_has_no_range_is_said(found: ActivationQuantization) -> None:
    made = covered([helper.make_node("Exp", ["x"], ["y"])], "y", {"x": found, "z": static(1)})
    assert not made.scales
    assert [(row.grade, row.reason[:8]) for row in made.losses] == [(Grade.FLOAT, "no range")]
    assert [row.name for row in made.ignored] == ["z"]


CHAINS: Mapping[str, tuple[list[tuple[str, str, str]], str, str, str]] = {
    "onwards": ([("Transpose", "x", "t"), ("Relu", "t", "r"), ("Exp", "r", "y")], "x", "t r", "y"),
    "not through a cut": ([("Clip", "x low", "c"), ("Exp", "c", "y")], "x", "", "y"),
    "back through a cut": ([("Exp", "x", "e"), ("Clip", "e low", "y")], "y", "e", "y"),
    "back and on": ([("Exp", "x", "e"), ("Flatten", "e", "f"), ("Relu", "f", "y")], "y", "e f", "y"),
    "two readers": (
        [("Exp", "x", "e"), ("Relu", "e", "r"), ("Neg", "e", "n"), ("Add", "r n", "y")],
        "r", "", "y",
    ),
    "public": ([("Exp", "x", "e"), ("Relu", "e", "y")], "y", "", "y e"),
    "places are no numbers": ([("MaxPool", "x", "m i"), ("Exp", "m", "y")], "x", "m", "y i"),
    "all parts": ([("Split", "x", "a b"), ("Add", "a b", "y")], "x", "a b", "y"),
    "one part of two": ([("Exp", "x", "e"), ("Split", "e", "a b"), ("Add", "a b", "y")], "a", "", "y"),
    "whole numbers": ([("Shape", "x", "s"), ("Squeeze", "s", "q"), ("Exp", "x", "y")], "x", "", "y q"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_ranges_follow_from_others(name: str) -> None:
    steps, known, derived, outputs = CHAINS[name]
    nodes = [helper.make_node(op, a.split(), b.split()) for op, a, b in steps]
    for node in nodes:
        if node.op_type == "MaxPool":
            node.attribute.append(helper.make_attribute("kernel_shape", [2, 2]))
    made = covered(nodes, outputs, {known: static(0.25)})
    assert made.derived == set(derived.split())
    assert set(made.scales.values()) == {np.float32(0.25)}


@pytest.mark.parametrize("turned", [False, True])
def test_the_product_before_a_bias_is_covered_with_it(turned: bool) -> None:
    bias = np.array([1, -2, 0.5, 0], np.float32)
    operands = ["b", "p"] if turned else ["p", "b"]
    nodes = [
        helper.make_node("MatMul", ["x", "x"], ["p"]),
        helper.make_node("Add", operands, ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4, 4]) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    model = ir.serde.deserialize_model(helper.make_model(graph))
    tensor = plain_tensor("b", bias)
    model.graph[1].replace_input_with(operands.index("b"), weight(model.graph, tensor))
    found = Covering(values={"y": static(0.25)}, tensors={"b": tensor})
    found.run(model)
    assert found.scales == {
        "p": np.float32((0.25 * 127 + 2) / 127), "s": np.float32(0.25), "y": np.float32(0.25)
    }  # fmt: skip


@given(
    st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=20),
    st.floats(2**-6, 1, width=32),
    st.floats(0.0, 8, width=32),
)
def test_rounding_before_and_behind_a_cut_is_rounding_behind_it(
    numbers: list[float], scale: float, top: float
) -> None:
    def rounded(x: Array) -> Array:
        made: Array = np.clip(np.rint(x / np.float32(scale)), -128, 127) * np.float32(scale)
        return made

    x = np.array(numbers, np.float32)
    for low, high in ((0.0, np.inf), (0.0, top), (-top, top)):
        once = rounded(np.clip(x, low, high))
        assert np.array_equal(once, rounded(np.clip(rounded(x), low, high)))


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("zero", [np.uint8(0), np.int8(0)])
def test_a_clip_that_the_quantizer_stood_for_is_one_again(
    zero: Any, between: bool, tmp_path: Path
) -> None:
    random = np.random.default_rng(4)
    top = 255 if zero.dtype == np.uint8 else 127
    constants = {
        "w": random.normal(size=(8, 8)).astype(np.float32),
        "v": random.integers(-127, 127, (8, 3)).astype(np.int8),
        "vs": np.float32(0.01), "vz": np.int8(0), "s": np.float32(6 / top), "z": zero,
    }  # fmt: skip
    relu = [helper.make_node("Relu", ["m"], ["a"])]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m" if between else "a"]),
        *(relu if between else []),
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["v", "vs", "vz"], ["vd"]),
        helper.make_node("MatMul", ["d", "vd"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g",
        [value("x", TensorProto.FLOAT, [16, 8])], [value("y", TensorProto.FLOAT, [16, 3])],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 17)]
    source, out = tmp_path / "net.onnx", tmp_path / "out"
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), source)
    bundle(source, out)
    model = onnx.load(out / "model.onnx")
    kept = between or zero.dtype == np.uint8  # codes around 0 are no Relu where none is
    found = [node.op_type for node in model.graph.node]
    assert found == ["MatMul", "Clip", "MatMul"] if kept else ["MatMul", "MatMul"]
    if kept:
        feed = 5 * random.normal(size=(16, 8)).astype(np.float32)
        assert decibels(run(source, feed, plain=True), run(out / "model.onnx", feed)) > 35
