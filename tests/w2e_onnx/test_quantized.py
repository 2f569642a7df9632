"""Quantized models lifted, lowered to Q/DQ nodes and lifted again; and what ONNX Runtime computes of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.support import AnyArray, run
from tests.w2e_onnx.quantized_networks import IMAGE, NETWORKS, dynamic, images, static
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph import store
from w2e_bridge.graph.qdq_parameters import key_of
from w2e_bridge.ir.activation import ActivationMode
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.negotiation.profile import Form, Profile, Role
from w2e_bridge.stream.pipeline import write
from w2e_onnx.lowering.quantized import lower
from w2e_onnx.read import lift

ANYTHING = Form(name="DequantizeLinear", roles=frozenset(Role), anything=True)
PROFILE = Profile(name="portable", title="ONNX", forms=(ANYTHING,))


def lowered(model: Model, folder: Path) -> Path:
    folder.mkdir()
    request = Request(profile=PROFILE.name)
    output = lower(model, negotiate(model, PROFILE, request), request)
    write(output, folder, name=lambda name: name.replace("{stem}", "model"))
    return folder / "model.onnx"


def shape_of(model: Model) -> list[object]:
    assert model.graph is not None
    return [
        (n.op_type, [v and v.name for v in n.inputs], [v.name for v in n.outputs])
        for n in model.graph.graph
    ]


def assert_same(a: Model, b: Model) -> None:
    """Equal in graph, names, codes and scales."""
    assert shape_of(a) == shape_of(b)
    said = [{n: key_of(q) for n, q in m.activations.items()} for m in (a, b)]
    assert said[0] == said[1]
    assert {n: t.encoding for n, t in a.tensors.items()} == {
        n: t.encoding for n, t in b.tensors.items()
    }
    for name, tensor in a.tensors.items():
        assert np.array_equal(tensor.dequantize(), b.tensors[name].dequantize()), name


STATIC = [
    ("images", "QDQ QUInt8 QInt8", True),
    ("images", "QDQ QInt8 QInt8", False),
    ("images", "QDQ QUInt8 QUInt8", False),
    ("images", "QDQ QInt16 QInt8", True),
    ("images", "QDQ QInt8 QInt4", True),
    ("images", "QOperator QUInt8 QInt8", True),
    ("images", "QOperator QInt8 QInt8", False),
    ("encoder", "QDQ QUInt8 QInt8", False),
    ("encoder", "QDQ QUInt16 QInt8", True),
    ("encoder", "QOperator QUInt8 QInt8", True),
]


@pytest.mark.parametrize(("network", "spelling", "channels"), STATIC)
def test_static(network: str, spelling: str, channels: bool, tmp_path: Path) -> None:
    path, x = static(network, tmp_path, spelling, channels=channels)
    model = lift(path, {})
    assert not model.remarks
    assert all(t.encoding.quantized for n, t in model.tensors.items() if n in ("w1", "wm", "wq"))
    assert len(model.activations) > 10
    again = lowered(model, tmp_path / "again")
    onnx.checker.check_model(str(again), full_check=True)
    assert_same(model, lift(again, {}))
    expected, found = (run(p, {"x": x})["y"] for p in (path, again))
    if spelling.startswith("QDQ"):
        assert np.array_equal(expected, found)
    else:  # the runtime's softmax of codes looks exponents up: a step of the last scale
        (*_, last) = model.activations.values()
        assert last.scale is not None
        assert np.abs(expected - found).max() <= 1.01 * last.scale


@pytest.mark.parametrize("network", ["images", "encoder"])
def test_both_spellings_are_one_model(network: str, tmp_path: Path) -> None:
    found = []
    for form in ("QDQ", "QOperator"):
        (tmp_path / form).mkdir()
        path, _ = static(network, tmp_path / form, f"{form} QUInt8 QInt8", channels=False)
        found.append(lift(path, {}))
    a, b = ([n.op_type for n in m.graph.graph] for m in found if m.graph is not None)
    if network == "images":
        assert a == b
    codes = [{n: m.tensors[n].encoding.codes for n in ("w1", "w2")} for m in found]
    assert codes[0] == codes[1]
    for name in ("w1", "w2"):
        first, second = (m.tensors[name].dequantize() for m in found)
        assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("network", "weights", "channels"),
    [("images", "QUInt8", False), ("encoder", "QInt8", False), ("encoder", "QUInt8", True)],
)
def test_dynamic(network: str, weights: str, channels: bool, tmp_path: Path) -> None:
    path, x = dynamic(network, tmp_path, weights, channels=channels)
    model = lift(path, {})
    assert not model.remarks
    assert {q.mode for q in model.activations.values()} == {ActivationMode.DYNAMIC}
    again = lowered(model, tmp_path / "again")
    operators = {node.op_type for node in onnx.load(again).graph.node}
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= operators
    assert_same(model, lift(again, {}))
    expected, found = (run(p, {"x": x})["y"] for p in (path, again))
    assert np.array_equal(expected, found)


def test_older_operators_stay_as_far_as_they_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "images", (partial(images, opset=13), IMAGE))
    path, x = static("images", tmp_path, "QDQ QUInt8 QInt8", channels=True)
    model = lift(path, {})
    again = lowered(model, tmp_path / "again")
    assert version(again) == 13
    expected, found = (run(p, {"x": x})["y"] for p in (path, again))
    assert np.array_equal(expected, found)
    wide = {
        name: replace(q, codes=Integer(bits=16, signed=True), zero_point=None)
        for name, q in model.activations.items()
    }
    newer = lowered(replace(model, activations=wide), tmp_path / "newer")
    assert version(newer) > 20
    assert run(newer, {"x": x})["y"].shape == found.shape


def version(path: Path) -> int:
    proto = onnx.load(path)
    onnx.checker.check_model(proto, full_check=True)
    (only,) = proto.opset_import
    return int(only.version)


def test_large_weights_lie_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, x = static("encoder", tmp_path, "QDQ QUInt8 QInt8", channels=True)
    model = lift(path, {})
    monkeypatch.setattr(store, "INLINE", 0)
    monkeypatch.setattr(store, "LARGE", 64)
    again = lowered(model, tmp_path / "again")
    assert again.with_name("model.onnx.data").stat().st_size > 1000
    assert_same(model, lift(again, {}))
    expected, found = (run(p, {"x": x})["y"] for p in (path, again))
    assert np.array_equal(expected, found)


def small(path: Path, codes: AnyArray, scale: AnyArray, dtype: int, axis: int | None) -> Path:
    """y = x + DequantizeLinear(codes)."""
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["wd"], **attributes),
        helper.make_node("Add", ["x", "wd"], ["y"]),
    ]
    shape = list(codes.shape)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xy"]
    stored = helper.make_tensor("w", dtype, shape, codes.reshape(-1).tolist())
    graph = helper.make_graph(
        nodes, "g", values[:1], values[1:], [stored, numpy_helper.from_array(scale, "s")]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 25)], ir_version=13), path
    )
    return path


def test_two_bits_are_stored_in_four(tmp_path: Path) -> None:
    codes = np.array([[-2, -1, 0], [1, 1, -2]])
    path = small(
        tmp_path / "model.onnx", codes, np.array([0.5, 0.25], np.float32), TensorProto.INT2, axis=0
    )
    model = lift(path, {})
    assert str(model.tensors["w"].encoding.codes) == "int2"
    again = lift(lowered(model, tmp_path / "again"), {})
    assert str(again.tensors["w"].encoding.codes) == "int4"
    assert np.array_equal(again.tensors["w"].dequantize(), model.tensors["w"].dequantize())


def test_blocks_along_two_axes_are_refused(tmp_path: Path) -> None:
    path = small(
        tmp_path / "model.onnx", np.ones((4, 4)), np.array(0.5, np.float32), TensorProto.INT8, None
    )
    model = lift(path, {})
    tensor = model.tensors["w"]
    blocked = replace(tensor, encoding=replace(tensor.encoding, block=(2, 2)))
    with pytest.raises(UnsupportedError, match="'w': DequantizeLinear has blocks along one axis"):
        lowered(replace(model, tensors={"w": blocked}), tmp_path / "again")
