"""Codes that are public, that are moved, that others read: each against what ONNX Runtime computes of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.support import AnyArray, run, write
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.graph.qdq import fold, unfold
from w2e_bridge.graph.qdq_movement import MOVEMENTS
from w2e_bridge.graph.serialize import open_model, settle
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.model import Remark

node = helper.make_node
SHAPE = (2, 3, 4, 4)
TYPES = {"f": TensorProto.FLOAT, "u": TensorProto.UINT8, "i": TensorProto.INT8}
CONSTANTS: dict[str, AnyArray] = {
    "s": np.array(0.25, np.float32), "z": np.array(3, np.uint8), "s2": np.array(0.5, np.float32),
    "zi": np.array(-5, np.int8),
}  # fmt: skip
UINT8 = Integer(bits=8)


def build(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: str,
    outputs: str,
    constants: dict[str, AnyArray] | None = None,
) -> Path:
    """A model; inputs and outputs as "name:type" and a shape for outputs that isn't that of all."""
    values: list[list[onnx.ValueInfoProto]] = []
    for said in (inputs, outputs):
        values.append([])
        for item in said.split():
            name, kind, *shape = item.split(":")
            extents = [int(n) for n in shape[0].split(",")] if shape else SHAPE
            values[-1].append(helper.make_tensor_value_info(name, TYPES.get(kind, 7), extents))
    arrays: dict[str, AnyArray] = {**CONSTANTS, **(constants or {})}
    used = {name for n in nodes for name in n.input}
    stored = [numpy_helper.from_array(a, name) for name, a in arrays.items() if name in used]
    graph = helper.make_graph(list(nodes), "g", values[0], values[1], stored)
    versions = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=10), path)
    return path


class Folded:
    """A file, folded; and written out again."""

    def __init__(self, path: Path) -> None:
        opened = open_model(path)
        self.path = path
        self.editor = Editor(model=opened.model, tensors=opened.tensors)
        self.values: dict[str, ActivationQuantization]
        self.left: tuple[Remark, ...]
        self.values, self.left = fold(self.editor)
        settle(self.editor.model, self.editor.tensors)

    @property
    def graph(self) -> list[tuple[str, list[str], list[str]]]:
        return [
            (
                n.op_type,
                [name_of(v) for v in n.inputs if v is not None],
                [name_of(v) for v in n.outputs],
            )
            for n in self.editor.model.graph
        ]

    @property
    def ops(self) -> list[str]:
        return [op for op, _, _ in self.graph]

    def check(self, feeds: dict[str, AnyArray]) -> None:
        """Written out again it computes the same, and folds to the same."""
        before, values = self.graph, dict(self.values)
        unfold(self.editor, self.values)
        folder = self.path.parent / "again"
        folder.mkdir()
        again = write(folder, self.editor.model, self.editor.tensors)
        expected, found = run(self.path, feeds), run(again, feeds)
        assert {n: (a.dtype, a.tolist()) for n, a in expected.items()} == {
            n: (a.dtype, a.tolist()) for n, a in found.items()
        }
        back = Folded(again)
        assert back.graph == before
        assert back.values.keys() == values.keys()


def codes(kind: type = np.uint8, shape: Sequence[int] = SHAPE) -> AnyArray:
    info = np.iinfo(kind)
    return np.random.default_rng(2).integers(info.min, info.max + 1, shape).astype(kind)


def reals(shape: Sequence[int] = SHAPE) -> AnyArray:
    return np.random.default_rng(2).normal(scale=9, size=shape).astype(np.float32)


def quantize(x: str, y: str, scale: str = "s", zero: str = "z") -> onnx.NodeProto:
    return node("QuantizeLinear", [x, scale, zero], [y])


def dequantize(x: str, y: str, scale: str = "s", zero: str = "z") -> onnx.NodeProto:
    return node("DequantizeLinear", [x, scale, zero], [y])


def test_public_codes_are_quantized_public_values(tmp_path: Path) -> None:
    nodes = [dequantize("x", "a"), node("Neg", ["a"], ["b"]), quantize("b", "y")]
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:u", "y:u"))
    assert folded.graph == [("Neg", ["x"], ["y"])]
    assert set(folded.values) == {"x", "y"}
    assert folded.values["x"].codes == UINT8
    folded.check({"x": codes()})


def test_public_reals_that_are_quantized_inside(tmp_path: Path) -> None:
    nodes = [
        quantize("x", "xq"), dequantize("xq", "a"), node("Neg", ["a"], ["b"]),
        quantize("b", "y_quantized"), dequantize("y_quantized", "y"),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:f"))
    assert folded.graph == [
        ("Identity", ["x"], ["xq"]), ("Neg", ["xq"], ["b"]), ("Identity", ["b"], ["y"]),
    ]  # fmt: skip
    assert set(folded.values) == {"xq", "b"}
    folded.check({"x": reals()})


def test_quantized_again_in_another_way(tmp_path: Path) -> None:
    nodes = [
        dequantize("x", "a"), quantize("a", "aq", "s2", "zi"), dequantize("aq", "b", "s2", "zi"),
        node("Neg", ["b"], ["c"]), quantize("c", "y", "s2", "zi"),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:u", "y:i"))
    assert folded.graph == [("Identity", ["x"], ["aq"]), ("Neg", ["aq"], ["y"])]
    assert [str(folded.values[n].codes) for n in ("x", "aq", "y")] == ["uint8", "int8", "int8"]
    folded.check({"x": codes()})


def test_public_codes_in_both_forms(tmp_path: Path) -> None:
    nodes = [quantize("x", "y"), dequantize("y", "z1")]
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:u z1:f"))
    assert folded.graph == [("Identity", ["x"], ["y"]), ("Identity", ["y"], ["z1"])]
    assert set(folded.values) == {"y"}
    folded.check({"x": reals()})


def test_one_value_given_out_as_codes_twice(tmp_path: Path) -> None:
    nodes = [node("Neg", ["x"], ["a"]), quantize("a", "y"), quantize("a", "w")]
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:u w:u"))
    assert folded.ops == ["Neg", "Identity"]
    assert set(folded.values) == {"y", "w"}
    folded.check({"x": reals()})


INDICES = {"i": np.array([2, 0], np.int64), "axes": np.array([1], np.int64)}
MOVES: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "Transpose": (["x"], {"perm": [0, 2, 3, 1]}, "2,4,4,3"),
    "Reshape": (["x", "shape"], {}, "6,16"),
    "Flatten": (["x"], {}, "2,48"),
    "Squeeze": (["x"], {}, "2,3,4,4"),
    "Unsqueeze": (["x", "axes"], {}, "2,1,3,4,4"),
    "Expand": (["x", "wide"], {}, "2,2,3,4,4"),
    "Tile": (["x", "times"], {}, "2,6,4,4"),
    "Slice": (["x", "from", "to"], {}, "1,2,4,4"),
    "DepthToSpace": (["x4"], {"blocksize": 2}, ""),
    "SpaceToDepth": (["x"], {"blocksize": 2}, "2,12,2,2"),
    "Gather": (["x", "i"], {"axis": 2}, "2,3,2,4"),
    "GatherND": (["x", "i"], {}, "4,4"),
    "GatherElements": (["x", "elements"], {"axis": 3}, "2,3,4,2"),
    "Compress": (["x", "mask"], {"axis": 0}, "1,3,4,4"),
    "MaxPool": (["x"], {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}, "2,3,4,4"),
    "ReduceMax": (["x", "axes"], {}, "2,1,4,4"),
    "ReduceMin": (["x", "axes"], {"keepdims": 0}, "2,4,4"),
    "Resize": (["x", "", "", "sizes"], {"mode": "nearest"}, "2,3,8,8"),
    "Max": (["x", "x"], {}, "2,3,4,4"),
    "Concat": (["x", "k"], {"axis": 1}, "2,4,4,4"),
    "Where": (["yes", "x", "k1"], {}, "2,3,4,4"),
    "ScatterND": (["x", "at", "k1"], {}, "2,3,4,4"),
    "Pad": (["x", "pads"], {}, "2,3,6,4"),
    "Clip": (["x", "low", "high"], {}, "2,3,4,4"),
}
ARRAYS: dict[str, AnyArray] = {
    **INDICES,
    "shape": np.array([6, -1]), "wide": np.array([2, 2, 3, 4, 4]), "times": np.array([1, 2, 1, 1]),
    "from": np.array([1, 1]), "to": np.array([9, 3]), "elements": np.zeros((2, 3, 4, 2), np.int64),
    "mask": np.array([False, True]), "sizes": np.array([2, 3, 8, 8]),
    "k": codes(shape=(2, 1, 4, 4)), "k1": codes(shape=(1, 3, 4, 4)), "yes": codes() > 99,
    "at": np.array([[1]]), "pads": np.array([0, 0, 1, 0, 0, 0, 1, 0]),
    "low": np.array(20, np.uint8), "high": np.array(200, np.uint8),
}  # fmt: skip
ARRAYS["i"] = np.array([1, 0])


@pytest.mark.parametrize("op", [op for op in MOVES if op != "DepthToSpace"])
def test_moved_codes_become_moved_reals(op: str, tmp_path: Path) -> None:
    inputs, attributes, shape = MOVES[op]
    nodes = [node(op, inputs, ["a"], **attributes), dequantize("a", "b"), node("Neg", ["b"], ["y"])]
    path = build(tmp_path / "model.onnx", nodes, "x:u", f"y:f:{shape}", ARRAYS)
    folded = Folded(path)
    assert folded.ops == [op, "Neg"]
    assert not folded.left
    assert set(folded.values) == {"x", "a"}
    folded.check({"x": codes()})


def test_every_row_says_an_operator_of_the_standard() -> None:
    assert all(onnx.defs.get_schema(op, 21) is not None for op in MOVEMENTS)


def test_forward_through_a_split(tmp_path: Path) -> None:
    nodes = [
        quantize("x", "q"), node("Split", ["q"], ["a", "b"], axis=0, num_outputs=2),
        node("Max", ["a", "b"], ["c"]), dequantize("c", "y"),
    ]  # fmt: skip
    path = build(tmp_path / "model.onnx", nodes, "x:f", "y:f:1,3,4,4")
    folded = Folded(path)
    assert folded.ops == ["Identity", "Split", "Max", "Identity"]
    assert {"a", "b", "c"} < set(folded.values)
    folded.check({"x": reals()})


def test_relu_of_signed_codes_cuts_at_what_code_zero_stands_for(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), dequantize("a", "y", "s2", "zi")]
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:i", "y:f"))
    assert folded.ops == ["Clip", "Identity"]
    folded.check({"x": codes(np.int8)})


def test_positions_and_comparisons_read_reals(tmp_path: Path) -> None:
    nodes = [
        dequantize("x", "a"), node("Neg", ["a"], ["y"]),
        node("ArgMax", ["x"], ["where"], axis=1, keepdims=0),
    ]  # fmt: skip
    path = build(tmp_path / "model.onnx", nodes, "x:u", "y:f where:n:2,4,4")
    folded = Folded(path)
    assert folded.graph == [("Neg", ["x"], ["y"]), ("ArgMax", ["x"], ["where"])]
    folded.check({"x": codes()})


def test_other_readers_get_codes_again(tmp_path: Path) -> None:
    nodes = [
        dequantize("x", "a"), node("Neg", ["a"], ["y"]), node("Cast", ["x"], ["w"], to=TensorProto.INT64),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:u", "y:f w:n"))
    assert sorted(folded.ops) == ["Cast", "Neg", "QuantizeLinear"]
    assert [remark.name for remark in folded.left] == ["QuantizeLinear"]
    folded.check({"x": codes()})


def test_codes_of_another_make_are_dequantized_before_they_move(tmp_path: Path) -> None:
    nodes = [
        node("Cast", ["x"], ["c"], to=TensorProto.UINT8), node("Flatten", ["c"], ["f"]),
        dequantize("f", "y"),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:f:2,48"))
    assert folded.ops == ["Cast", "DequantizeLinear", "Flatten", "Identity"]
    folded.check({"x": np.abs(reals())})


def test_codes_of_unknown_meaning_stay(tmp_path: Path) -> None:
    nodes = [node("Flatten", ["x"], ["f"]), node("Max", ["f", "f"], ["y"])]
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:u", "y:u:2,48"))
    assert folded.ops == ["Flatten", "Max"]
    assert not folded.values
    folded.check({"x": codes()})


def test_two_meanings_of_the_same_codes(tmp_path: Path) -> None:
    nodes = [
        quantize("x", "q"), dequantize("q", "y"), node("Flatten", ["q"], ["f"]), dequantize("f", "w", "s2"),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:f w:f:2,48"))
    assert sorted(folded.ops) == [
        "DequantizeLinear", "Flatten", "Identity", "Identity", "QuantizeLinear"
    ]  # fmt: skip
    folded.check({"x": reals()})


def test_codes_that_are_made_with_a_scale_of_the_run(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMax", ["x"], ["top"], keepdims=0), quantize("x", "q", "top"),
        dequantize("q", "y"),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:f"))
    assert folded.ops == ["ReduceMax", "QuantizeLinear", "DequantizeLinear"]
    assert not folded.values
    folded.check({"x": reals()})


def test_constant_codes_are_constants_with_an_encoding(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["k"], ["t"], perm=[1, 0, 2, 3]), dequantize("t", "d"),
        node("Add", ["x", "d"], ["y"]),
    ]  # fmt: skip
    path = build(tmp_path / "model.onnx", nodes, "x:f:1,2,4,4", "y:f:1,2,4,4", ARRAYS)
    folded = Folded(path)
    assert folded.ops == ["Transpose", "Add"]
    assert not folded.values
    assert folded.editor.tensors["k"].encoding.quantized
    folded.check({"x": reals((1, 2, 4, 4))})


def test_the_same_constants_are_one_weight(tmp_path: Path) -> None:
    nodes = [
        dequantize("k1", "a"), dequantize("k1", "b"), node("Add", ["x", "a"], ["c"]),
        node("Mul", ["c", "b"], ["y"]),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:f", ARRAYS))
    assert list(folded.editor.tensors) == ["k1"]
    folded.check({"x": reals()})


@pytest.mark.parametrize("axis", [None, 1])
def test_constants_that_are_rounded_when_the_model_runs(axis: int | None, tmp_path: Path) -> None:
    """As training tools write them: weights as numbers, rounded by the same nodes as values are."""
    scale = np.array([0.25, 0.5, 0.125], np.float32) if axis else np.array(0.25, np.float32)
    zero = np.zeros(scale.shape, np.int8)
    more: dict[str, Any] = {} if axis is None else {"axis": axis}
    nodes = [
        node("QuantizeLinear", ["w", "ws", "wz"], ["q"], **more),
        node("DequantizeLinear", ["q", "ws", "wz"], ["d"], **more), node("Add", ["x", "d"], ["y"]),
    ]  # fmt: skip
    weights = {"w": reals() * 8, "ws": scale, "wz": zero}
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:f", weights))
    assert folded.graph == [("Add", ["x", "w"], ["y"])]
    assert not folded.values
    assert str(folded.editor.tensors["w"].encoding.codes) == "int8"
    folded.check({"x": reals()})


def test_codes_inside_of_a_branch(tmp_path: Path) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"{name}q", TensorProto.UINT8, None)
        nodes = [
            node(op, ["q"], [f"{name}m"]), dequantize(f"{name}m", f"{name}d"),
            node("Neg", [f"{name}d"], [f"{name}n"]), quantize(f"{name}n", f"{name}q"),
        ]  # fmt: skip
        return helper.make_graph(nodes, name, [], [out])

    nodes = [
        quantize("x", "q"), node("ReduceMax", ["x"], ["top"], keepdims=0),
        node("Greater", ["top", "s"], ["large"]),
        node("If", ["large"], ["i"], then_branch=branch("t", "Identity"), else_branch=branch("e", "Identity")),
        dequantize("i", "y"),
    ]  # fmt: skip
    folded = Folded(build(tmp_path / "model.onnx", nodes, "x:f", "y:f"))
    assert {"tm", "em"} <= set(folded.values)
    folded.check({"x": reals()})
