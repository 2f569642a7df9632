"""MatMulNBits and GatherBlockQuantized made by hand: what is decoded must be what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.graph.support import run, same_bits
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding, OffsetKind, blocked, constant_zero, zero_point
from w2e_bridge.ir.model import Model
from w2e_onnx.read import lift

AnyArray = NDArray[Any]


def packed(codes: AnyArray, bits: int) -> AnyArray:
    """(rows, codes) to (rows, bytes), by arithmetic with Python's own integers."""
    rows = []
    for row in codes.tolist():
        word = sum(code << place * bits for place, code in enumerate(row))
        rows.append(np.frombuffer(word.to_bytes(-(-len(row) * bits // 8), "little"), np.uint8))
    return np.stack(rows)


def saved(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    arrays: Mapping[str, AnyArray],
    x: tuple[int, list[int]] = (TensorProto.FLOAT, [4, 40]),
) -> Path:
    inputs = [helper.make_tensor_value_info("x", *x)]
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
    weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(list(nodes), "g", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def product(*inputs: str, name: str = "y", **attributes: int) -> onnx.NodeProto:
    more: dict[str, Any] = {"domain": "com.microsoft", **attributes}
    return helper.make_node("MatMulNBits", list(inputs), [name], **more)


def lookup(*inputs: str, **attributes: int) -> onnx.NodeProto:
    more: dict[str, Any] = {"domain": "com.microsoft", **attributes}
    return helper.make_node("GatherBlockQuantized", list(inputs), ["y"], **more)


def matrix(bits: int, block: int, rows: int, columns: int) -> dict[str, AnyArray]:
    """Codes in whole blocks, scales and zero points of a random matrix."""
    chance = np.random.default_rng(bits * block + rows)
    blocks = -(-columns // block)
    codes = chance.integers(0, 1 << bits, (rows, blocks * block))
    return {
        "w.codes": packed(codes, bits).reshape(rows, blocks, -1),
        "w.scale": chance.normal(size=(rows, blocks)).astype(np.float32),
        "w.zero_point": packed(chance.integers(0, 1 << bits, (rows, blocks)), bits),
    }


def operators(model: Model) -> list[str]:
    assert model.graph is not None
    return [node.op_type for node in model.graph.graph]


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("columns", [64, 40])
@pytest.mark.parametrize(("bits", "block"), [(2, 16), (4, 16), (4, 32), (8, 32)])
def test_products(bits: int, block: int, columns: int, zeros: bool, tmp_path: Path) -> None:
    arrays = matrix(bits, block, 7, columns)
    if not zeros:
        del arrays["w.zero_point"]
    node = product("x", *arrays, K=columns, N=7, bits=bits, block_size=block, accuracy_level=0)
    path = saved(tmp_path, [node], arrays, (TensorProto.FLOAT, [columns, columns]))
    model = lift(path, {})
    assert operators(model) == ["Transpose", "MatMul"]
    one = model.tensors["w"]
    offset = zero_point(bits) if zeros else constant_zero(1 << bits - 1)
    assert one.encoding == blocked(Integer(bits=bits), block, FLOAT32, offset)
    assert list(model.tensors) == ["w"]
    # a product with the identity is the matrix: all other summands are zero
    expected = run(path, {"x": np.eye(columns, dtype=np.float32)})["y"].T
    assert same_bits(
        one.dequantize() + np.float32(0), np.ascontiguousarray(expected) + np.float32(0)
    )
    assert same_bits(one.decode_rows(2, 5), one.dequantize()[2:5])


def test_zero_points_that_are_floats(tmp_path: Path) -> None:
    arrays = matrix(4, 32, 5, 64)
    arrays["w.zero_point"] = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32) * 3
    node = product("x", *arrays, K=64, N=5, bits=4, block_size=32, accuracy_level=0)
    path = saved(tmp_path, [node], arrays, (TensorProto.FLOAT, [64, 64]))
    one = lift(path, {}).tensors["w"]
    assert one.encoding.offset is not None
    assert one.encoding.offset.kind is OffsetKind.FLOAT_ZERO
    expected = run(path, {"x": np.eye(64, dtype=np.float32)})["y"].T
    np.testing.assert_allclose(one.dequantize(), expected, rtol=1e-6, atol=1e-6)


def test_a_bias_is_added(tmp_path: Path) -> None:
    arrays = {**matrix(4, 32, 5, 64), "bias": np.arange(5, dtype=np.float32)}
    node = product(
        "x", "w.codes", "w.scale", "w.zero_point", "", "bias", K=64, N=5, bits=4, block_size=32
    )
    model = lift(saved(tmp_path, [node], arrays), {})
    assert operators(model) == ["Transpose", "MatMul", "Add"]
    assert list(model.tensors) == ["w", "bias"]


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("kind", ["uint8", "int4", "uint4"])
def test_look_ups(kind: str, zeros: bool, tmp_path: Path) -> None:
    arrays = matrix(4, 16, 6, 48)
    arrays["w.codes"] = arrays["w.codes"].reshape(6, -1)
    if not zeros:
        del arrays["w.zero_point"]
    ids = np.array([[5, 0], [3, 3]], np.int64)
    attributes = {"bits": 4, "block_size": 16, "gather_axis": 0, "quantize_axis": 1}
    names = ["w.codes", "x", "w.scale", *(["w.zero_point"] if zeros else [])]
    path = saved(tmp_path, [lookup(*names, **attributes)], arrays, (TensorProto.INT64, [2, 2]))
    if kind != "uint8":
        _retyped(path, kind)
    model = lift(path, {})
    assert operators(model) == ["Gather"]
    signed = kind == "int4"
    expected = zero_point(4, signed=signed) if zeros else None
    if kind == "uint8" and not zeros:
        expected = constant_zero(8)
    codes = Integer(bits=4, signed=signed)
    assert model.tensors["w"].encoding == blocked(codes, 16, FLOAT32, expected)
    found = model.tensors["w"].dequantize()[ids]
    assert same_bits(found, run(path, {"x": ids})["y"])


def _retyped(path: Path, kind: str) -> None:
    """The same bits as codes of a type of their own; three zero points of a row in two bytes go along."""
    proto = onnx.load(path)
    types = {"int4": TensorProto.INT4, "uint4": TensorProto.UINT4}
    for tensor in proto.graph.initializer:
        if tensor.name == "w.codes":
            tensor.data_type, tensor.dims[1] = types[kind], tensor.dims[1] * 2
        if tensor.name == "w.zero_point":
            nibbles = [n for byte in tensor.raw_data for n in (byte & 15, byte >> 4)]
            rows = [nibbles[at : at + 3] for at in range(0, len(nibbles), 4)]
            flat = [n for row in rows for n in row]
            tensor.raw_data = bytes(a | b << 4 for a, b in zip(flat[::2], flat[1::2], strict=True))
            tensor.data_type, tensor.dims[1] = types[kind], 3
    for attribute in proto.graph.node[0].attribute:
        if attribute.name == "bits":
            proto.graph.node[0].attribute.remove(attribute)
            break
    onnx.save(proto, path)


def test_a_tied_weight_is_one_tensor(tmp_path: Path) -> None:
    arrays = matrix(4, 32, 5, 64)
    arrays["w.rows"] = arrays["w.codes"].reshape(5, -1)
    gather = helper.make_node(
        "GatherBlockQuantized", ["w.rows", "x", "w.scale", "w.zero_point"], ["h"],
        domain="com.microsoft", bits=4, block_size=32, gather_axis=0, quantize_axis=1,
    )  # fmt: skip
    node = product("h", "w.codes", "w.scale", "w.zero_point", K=64, N=5, bits=4, block_size=32)
    path = saved(tmp_path, [gather, node], arrays, (TensorProto.INT64, [3]))
    model = lift(path, {})
    assert list(model.tensors) == ["w"]
    assert operators(model) == ["Gather", "Transpose", "MatMul"]


def manifest(path: Path, text: str) -> Path:
    proto = onnx.load(path)
    proto.metadata_props.add(key="w2e.manifest", value=text)
    onnx.save(proto, path)
    return path


def merged(folder: Path, text: str) -> Model:
    arrays = {n.replace("w.", "q+k."): a for n, a in matrix(4, 32, 5, 64).items()}
    node = product("x", *arrays, K=64, N=5, bits=4, block_size=32)
    path = saved(folder, [node], {**arrays, "n": np.ones((3, 2), np.float32)}, (1, [2, 64]))
    return lift(manifest(path, text), {})


def test_rows_of_several_tensors(tmp_path: Path) -> None:
    text = """{"tensors": {"k": {"initializer": "q+k", "rows": [3, 5]},
        "q": {"initializer": "q+k", "rows": [0, 3]}, "a": {"initializer": "n", "rows": [0, 1]},
        "b": {"initializer": "n", "rows": [1, 3]}}, "version": 1}"""
    model = merged(tmp_path, text)
    assert {name: one.shape for name, one in model.tensors.items()} == {
        "q": (3, 64), "k": (2, 64), "a": (1, 2), "b": (2, 2),
    }  # fmt: skip
    assert operators(model)[-3:] == ["Transpose", "MatMul", "Concat"]
    assert "w2e.manifest" not in model.metadata
    whole = merged(tmp_path, "{}").tensors["q+k"]
    assert same_bits(model.tensors["k"].dequantize(), whole.dequantize()[3:])
    assert same_bits(model.tensors["q"].decode_rows(1, 2), whole.decode_rows(1, 2))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"tensors": 1}', '{"tensors": {"q": 1}}', "[" * 100_000,
        '{"tensors": {"q": {"initializer": 1, "rows": [0, 3]}}}',
        '{"tensors": {"q": {"initializer": "q+k", "rows": [0]}}}',
        '{"tensors": {"q": {"initializer": "q+k", "rows": [-1, 3]}}}',
        '{"tensors": {"q": {"initializer": "q+k", "rows": ["x", 3]}}}',
        '{"tensors": {"q": {"initializer": "q+k", "rows": [0, 1e400]}}}',
    ],
)  # fmt: skip
def test_manifests_that_are_none(text: str, tmp_path: Path) -> None:
    model = merged(tmp_path, text)
    assert [remark.name for remark in model.remarks] == ["w2e.manifest"]
    assert set(model.tensors) == {"q+k", "n"}


@pytest.mark.parametrize("rows", ["[0, 4]", "[1, 5]", "[0, 6]"])
def test_rows_that_do_not_cover_the_array(rows: str, tmp_path: Path) -> None:
    text = f'{{"tensors": {{"q": {{"initializer": "q+k", "rows": {rows}}}}}}}'
    assert set(merged(tmp_path, text).tensors) == {"q+k", "n"}


WRONG: dict[str, dict[str, Any]] = {
    "no K": {"K": None},
    "another K": {"K": 100},
    "another N": {"N": 6},
    "no columns": {"K": 0},
    "other bits": {"bits": 3},
    "many bits": {"bits": 64},
    "no bits to a byte": {"bits": 0},
    "no block": {"block_size": 0},
    "a negative block": {"block_size": -32},
    "a huge block": {"block_size": 1 << 62},
    "a layout of one device": {"weight_prepacked": 1},
}


@pytest.mark.parametrize("what", WRONG)
def test_attributes_that_do_not_go_with_the_arrays(what: str, tmp_path: Path) -> None:
    attributes = {"K": 64, "N": 5, "bits": 4, "block_size": 32, **WRONG[what]}
    arrays = matrix(4, 32, 5, 64)
    node = product("x", *arrays, **{k: v for k, v in attributes.items() if v is not None})
    model = lift(saved(tmp_path, [node], arrays), {})
    assert operators(model) == ["MatMulNBits"]
    assert ("MatMulNBits", "1 nodes read weights") in [
        (r.name, r.reason[:20]) for r in model.remarks
    ]


def test_arrays_that_do_not_go_together(tmp_path: Path) -> None:
    whole = matrix(4, 32, 5, 64)
    for name, array in {
        "w.codes": whole["w.codes"].astype(np.float32),
        "w.scale": whole["w.scale"][:4],
        "w.zero_point": whole["w.zero_point"][:, :0],
    }.items():
        arrays = {**whole, name: array}
        node = product("x", *arrays, K=64, N=5, bits=4, block_size=32)
        assert operators(lift(saved(tmp_path, [node], arrays), {})) == ["MatMulNBits"]


def test_weights_that_are_computed_stay(tmp_path: Path) -> None:
    arrays = matrix(4, 32, 5, 64)
    turn = helper.make_node("Identity", ["w.scale"], ["s"])
    node = product("x", "w.codes", "s", "w.zero_point", K=64, N=5, bits=4, block_size=32)
    assert operators(lift(saved(tmp_path, [turn, node], arrays), {})) == ["Identity", "MatMulNBits"]


def test_narrow_floats_that_are_widened(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)
    cast = helper.make_node("Cast", ["w"], ["w32"], to=TensorProto.FLOAT)
    node = helper.make_node("Add", ["x", "w32"], ["y"])
    model = lift(saved(tmp_path, [cast, node], {"w": values}), {})
    assert operators(model) == ["Add"]
    one = model.tensors["w"]
    assert (one.dtype, one.encoding) == ("float32", Encoding(codes=Float(name="float16")))
    assert same_bits(one.dequantize(), values.astype(np.float32))


def test_casts_that_lose_stay(tmp_path: Path) -> None:
    values = np.ones((3, 4), np.float32)
    cast = helper.make_node("Cast", ["w"], ["h"], to=TensorProto.FLOAT16)
    back = helper.make_node("Cast", ["h"], ["y"], to=TensorProto.FLOAT)
    assert operators(lift(saved(tmp_path, [cast, back], {"w": values}), {})) == ["Cast", "Cast"]


def test_folders(tmp_path: Path) -> None:
    from w2e_onnx.folder import accepts

    assert not accepts(tmp_path)
    path = saved(tmp_path, [helper.make_node("Identity", ["x"], ["y"])], {})
    assert lift(tmp_path, {}).origin == lift(tmp_path, {}).origin
    other = tmp_path / "other.onnx"
    other.write_bytes(path.read_bytes())
    assert accepts(tmp_path)
    path.rename(tmp_path / "third.onnx")
    assert not accepts(tmp_path)
