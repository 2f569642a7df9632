"""Products of values whose scale is found when the model runs, in every form that they are written in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.support import AnyArray, run
from tests.w2e_onnx.test_operators import MICROSOFT, save, weights
from tests.w2e_onnx.test_quantized import assert_same, lowered
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised
from w2e_bridge.graph.serialize import open_model
from w2e_bridge.ir.activation import ActivationMode, Granularity
from w2e_bridge.ir.codes import Integer
from w2e_onnx.read import lift
from w2e_onnx.recognise_expansion import Expansion
from w2e_onnx.recognise_operators import run as recognise

node = helper.make_node
QUANTIZED = node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"])
SCALED = [
    node("Cast", ["p"], ["c"], to=TensorProto.FLOAT),
    node("Mul", ["xs", "s"], ["both"]),
    node("Mul", ["c", "both"], ["y"]),
]
FORMS: dict[str, list[onnx.NodeProto]] = {
    "MatMulInteger": [QUANTIZED, node("MatMulInteger", ["xq", "w", "xz", "z"], ["p"]), *SCALED],
    "scales one after the other": [
        QUANTIZED,
        node("MatMulInteger", ["xq", "w", "xz"], ["p"]),
        node("Cast", ["p"], ["c"], to=TensorProto.FLOAT),
        node("Mul", ["xs", "c"], ["once"]),
        node("Mul", ["once", "s"], ["y"]),
    ],
    "MatMulIntegerToFloat": [
        QUANTIZED,
        node("MatMulIntegerToFloat", ["xq", "w", "xs", "s", "xz", "z", "b"], ["y"], domain=MICROSOFT),
    ],
    "DynamicQuantizeMatMul": [
        node("DynamicQuantizeMatMul", ["x", "w", "s", "z", "b"], ["y"], domain=MICROSOFT)
    ],
}  # fmt: skip


def build(
    path: Path, nodes: list[onnx.NodeProto], arrays: dict[str, AnyArray], shapes: list[list[int]]
) -> Path:
    used = {name for n in nodes for name in n.input}
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip("xy", shapes, strict=True)
    )
    stored = [numpy_helper.from_array(a, name) for name, a in arrays.items() if name in used]
    return save(path, nodes, [x], [y], stored)


def matrix(axis: int | None = None) -> dict[str, AnyArray]:
    w, s, z = weights((8, 5), axis)
    return {"w": w, "s": s, "z": z, "b": np.arange(5, dtype=np.float32)}


def inputs(*shape: int) -> dict[str, AnyArray]:
    return {"x": np.random.default_rng(4).normal(size=shape).astype(np.float32)}


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("form", FORMS)
def test_products(form: str, axis: int | None, tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", FORMS[form], matrix(axis), [[2, 8], [2, 5]])
    model = lift(path, {})
    assert not model.remarks
    assert model.graph is not None
    ops = [n.op_type for n in model.graph.graph]
    bias = any("b" in n.input for n in FORMS[form])
    assert ops == ["Identity", "Transpose", "MatMul", *(["Add"] if bias else [])]
    (quantization,) = model.activations.values()
    assert (quantization.mode, quantization.codes) == (ActivationMode.DYNAMIC, Integer(bits=8))
    assert model.tensors["w"].shape == (5, 8)
    again = lowered(model, tmp_path / "again")
    assert_same(model, lift(again, {}))
    expected, found = (run(p, inputs(2, 8))["y"] for p in (path, again))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def convolution() -> tuple[list[onnx.NodeProto], dict[str, AnyArray]]:
    w, s, z = weights((4, 3, 3, 3), None, "uint8")
    nodes = [
        QUANTIZED,
        node("ConvInteger", ["xq", "w", "xz", "z"], ["p"], pads=[1, 1, 1, 1]),
        node("Cast", ["p"], ["c"], to=TensorProto.FLOAT),
        node("Mul", ["xs", "s"], ["both"]),
        node("Mul", ["c", "both"], ["scaled"]),
        node("Reshape", ["b", "shape"], ["wide"]),
        node("Add", ["scaled", "wide"], ["y"]),
    ]
    bias = np.arange(4, dtype=np.float32)
    return nodes, {"w": w, "s": s, "z": z, "b": bias, "shape": np.array([1, -1, 1, 1])}


def test_convolutions_with_their_bias(tmp_path: Path) -> None:
    nodes, arrays = convolution()
    path = build(tmp_path / "model.onnx", nodes, arrays, [[1, 3, 5, 5], [1, 4, 5, 5]])
    model = lift(path, {})
    assert model.graph is not None
    _, conv = model.graph.graph
    assert (conv.op_type, [v and v.name for v in conv.inputs][1:]) == ("Conv", ["w", "b"])
    again = lowered(model, tmp_path / "again")
    assert_same(model, lift(again, {}))
    expected, found = (run(p, inputs(1, 3, 5, 5))["y"] for p in (path, again))
    assert np.array_equal(found, expected)


def test_a_scale_for_each_channel(tmp_path: Path) -> None:
    nodes, arrays = convolution()
    arrays["s"] = np.array([0.5, 0.25, 2, 1], np.float32).reshape(4, 1, 1)
    path = build(tmp_path / "model.onnx", nodes, arrays, [[1, 3, 5, 5], [1, 4, 5, 5]])
    model = lift(path, {})
    assert model.tensors["w"].encoding.block is not None
    expected = run(path, inputs(1, 3, 5, 5))["y"]
    again = lowered(model, tmp_path / "again")  # one zero point for each channel has no operator
    found = run(again, inputs(1, 3, 5, 5))["y"]
    assert "ConvInteger" not in {n.op_type for n in onnx.load(again).graph.node}
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_other_rounding_is_said_to_be_left_out(tmp_path: Path) -> None:
    path = build(tmp_path / "model.onnx", FORMS["MatMulInteger"], matrix(), [[2, 8], [2, 5]])
    model = lift(path, {})
    ((name, quantization),) = model.activations.items()
    token = replace(quantization, granularity=Granularity.TOKEN)
    again = lowered(replace(model, activations={name: token}), tmp_path / "again")
    assert "DynamicQuantizeLinear" not in {n.op_type for n in onnx.load(again).graph.node}
    expected, found = (run(p, inputs(2, 8))["y"] for p in (path, again))
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_value_that_others_read_as_it_is(tmp_path: Path) -> None:
    nodes = [node("Neg", ["x"], ["n"]), *FORMS["MatMulInteger"]]
    nodes[1] = node("DynamicQuantizeLinear", ["n"], ["xq", "xs", "xz"])
    nodes[-1] = node("Mul", ["c", "both"], ["product"])
    nodes.append(node("Concat", ["n", "product"], ["y"], axis=1))
    path = build(tmp_path / "model.onnx", nodes, matrix(), [[2, 8], [2, 13]])
    model = lift(path, {})
    assert model.graph is not None
    assert [n.op_type for n in model.graph.graph][:2] == ["Neg", "Identity"]
    assert "n" not in model.activations
    again = lowered(model, tmp_path / "again")
    assert_same(model, lift(again, {}))


def test_products_of_codes_that_are_no_pattern_stay(tmp_path: Path) -> None:
    nodes = [
        QUANTIZED,
        node("MatMulInteger", ["xq", "w", "xz", "z"], ["p"]),
        node("Cast", ["p"], ["y"], to=TensorProto.FLOAT),
    ]
    path = build(tmp_path / "model.onnx", nodes, matrix(), [[2, 8], [2, 5]])
    model = lift(path, {})
    assert {remark.name for remark in model.remarks} == {"DynamicQuantizeLinear", "MatMulInteger"}
    assert not model.activations
    expected, found = (
        run(p, inputs(2, 8))["y"] for p in (path, lowered(model, tmp_path / "again"))
    )
    assert np.array_equal(found, expected)


def test_calls_of_other_domains_are_written_out_by_who_knows_them(tmp_path: Path) -> None:
    def expand(work: Expansion) -> None:
        x, scale, zero = work.node.inputs
        if x is None or scale is None or work.node.op_type != "Negate":
            raise Unrecognised("another call")
        work.finish(work.add("Neg", [work.dequantized(x, scale, zero)]), scale, zero)

    path = tmp_path / "model.onnx"
    values = [helper.make_tensor_value_info(n, TensorProto.INT8, [3]) for n in "xy"]
    stored = [
        numpy_helper.from_array(np.array(0.5, np.float32), "s"),
        numpy_helper.from_array(np.array(4, np.int8), "z"),
    ]
    nodes = [
        node("Negate", ["x", "s", "z"], ["a"], domain="test"),
        node("Other", ["a", "s", "z"], ["y"], domain="test"),
    ]
    save(path, nodes, values[:1], values[1:], stored)
    opened = open_model(path)
    editor = Editor(model=opened.model, tensors=opened.tensors)
    found, _ = recognise(editor, handlers={"test": expand})
    assert [n.op_type for n in editor.model.graph] == ["Neg", "QuantizeLinear", "Other"]
    assert set(found) == {"x"}
