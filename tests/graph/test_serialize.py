from __future__ import annotations

import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.graph.support import AnyArray, identity_model, same_bits, write
from w2e_bridge.errors import BridgeError, DefectError, FormatError, UnsupportedError, Where
from w2e_bridge.graph.external import Placement
from w2e_bridge.graph.serialize import graph_bytes, graph_of, open_model, settle
from w2e_bridge.graph.weights import DTYPES, WeightStub
from w2e_bridge.graph.wire import LARGE
from w2e_bridge.ir.tensor import Tensor, plain_tensor

WHERE = Where(path="x")
CORPUS = sorted(
    (Path(onnx.__file__).parent / "backend" / "test" / "data").glob("*/*/model.onnx"),
    key=lambda path: path.parent.name,
)


def array_of(one: Tensor) -> AnyArray:
    return one.storage.parts(0, one.rows).codes.reshape(one.shape)


def model(*initializers: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"])]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y], list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def saved(proto: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.parent.name)
def test_models_of_the_standard(path: Path) -> None:
    opened = open_model(path)
    for proto in onnx.load(path).graph.initializer:
        expected = numpy_helper.to_array(proto)
        assert same_bits(array_of(opened.tensors[proto.name]), expected)
    settle(opened.model, opened.tensors)
    data = graph_bytes(opened.model)
    assert graph_bytes(graph_of(data, WHERE)) == data


TYPES = [name for name in DTYPES if not name.startswith("float8_e8m0")]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_in_every_field(dtype: str, raw: bool, tmp_path: Path) -> None:
    kind = DTYPES[dtype]
    chance = np.random.default_rng(3)
    values = (chance.normal(size=(3, 5)) * 4).astype(kind.numpy())
    if (
        dtype in ("bfloat16", "float16")
        or "float8" in dtype
        or "float4" in dtype
        or "int2" in dtype
    ):
        values = ir.Tensor(values, dtype=kind).numpy()
    data = ir.Tensor(values, dtype=kind).tobytes()
    proto = TensorProto(name="w", data_type=int(kind), dims=[3, 5])
    if raw:
        proto.raw_data = data
    else:
        _typed(proto, dtype, data)
    found = array_of(open_model(saved(model(proto), tmp_path)).tensors["w"])
    expected = values.view(np.uint8) if dtype == "bool" else values
    assert found.astype(np.float64).tolist() == expected.astype(np.float64).tolist()


def _typed(proto: TensorProto, dtype: str, data: bytes) -> None:
    """As the comments of onnx.proto say: which type is in which field."""
    match dtype:
        case "float32":
            proto.float_data.extend(np.frombuffer(data, np.float32).tolist())
        case "float64":
            proto.double_data.extend(np.frombuffer(data, np.float64).tolist())
        case "int64":
            proto.int64_data.extend(np.frombuffer(data, np.int64).tolist())
        case "uint64" | "uint32":
            proto.uint64_data.extend(np.frombuffer(data, dtype).tolist())
        case "int8" | "int16" | "int32":
            proto.int32_data.extend(np.frombuffer(data, dtype).tolist())
        case "uint16" | "float16" | "bfloat16":
            proto.int32_data.extend(np.frombuffer(data, np.uint16).tolist())
        case _:
            proto.int32_data.extend(np.frombuffer(data, np.uint8).tolist())


@pytest.mark.parametrize("field", ["raw_data", "float_data", "external"])
def test_large_arrays_stay_in_the_file(field: str, tmp_path: Path) -> None:
    values = np.arange(LARGE, dtype=np.float32).reshape(-1, 64)
    proto = numpy_helper.from_array(values, "w")
    if field == "float_data":
        proto.ClearField("raw_data")
        proto.float_data.extend(values.reshape(-1).tolist())
    path = saved(model(proto), tmp_path)
    if field == "external":
        onnx.save(onnx.load(path), path, save_as_external_data=True, location="d", size_threshold=0)
    opened = open_model(path)
    home = tmp_path / "d" if field == "external" else path
    assert same_bits(array_of(opened.tensors["w"]), values)
    data = bytearray(home.read_bytes())
    at = data.index(values[:2].tobytes())
    data[at : at + 4] = struct.pack("<f", 7.5)
    home.write_bytes(data)  # what is read now is what is there now
    assert opened.tensors["w"].decode_rows(0, 1)[0, 0] == 7.5
    assert opened.nbytes == sum(f.stat().st_size for f in tmp_path.iterdir())


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes | int) -> tuple[bytes, int]:
    """A field with a length: its start, and how much follows; `data` may be only that much."""
    size = data if isinstance(data, int) else len(data)
    return varint(number << 3 | 2) + varint(size), size


def test_a_model_beyond_what_protobuf_can_parse(tmp_path: Path) -> None:
    rows, columns = 3 << 18, 1024  # 3 GiB, a hole of the disk
    size = rows * columns * 4
    tensor = TensorProto(name="w", data_type=1, dims=[rows, columns]).SerializeToString()
    raw, _ = field(9, size)
    whole, _ = field(5, len(tensor) + len(raw) + size)
    proto = model()
    rest = proto.graph.SerializeToString()
    graph, _ = field(7, len(rest) + len(whole) + len(tensor) + len(raw) + size)
    proto.ClearField("graph")
    head = proto.SerializeToString() + graph + rest + whole + tensor + raw
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
        file.seek(-4, 2)
        file.write(struct.pack("<f", 2.5))
    one = open_model(path).tensors["w"]
    assert one.shape == (rows, columns)
    assert one.decode_rows(rows - 1, rows)[0, -2:].tolist() == [0.0, 2.5]


def test_subgraphs_keep_their_scope(tmp_path: Path) -> None:
    big = np.arange(LARGE, dtype=np.float32)
    branches = [
        helper.make_graph(
            [helper.make_node("Add", ["x", "w"], [out])],
            name,
            [],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(big * sign, "w")],
        )
        for name, out, sign in (("a", "then", 1), ("b", "else", -1))
    ]
    node = helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    proto = model(numpy_helper.from_array(np.array(True), "c"), nodes=[node])
    opened = open_model(saved(proto, tmp_path))
    assert set(opened.tensors) == {"c", "w", "w#2"}
    # attributes are in alphabetical order, so that the other branch comes first
    assert same_bits(array_of(opened.tensors["w"]), -big)
    assert same_bits(array_of(opened.tensors["w#2"]), big)
    renamed = [v for g in opened.model.graphs() for v in g.initializers.values() if v.name == "w#2"]
    assert renamed[0].metadata_props["source_name"] == "w"
    settle(opened.model, opened.tensors)
    assert set(opened.tensors) == {"w", "w#2"}
    graph_of(graph_bytes(opened.model), WHERE)


def test_constant_nodes_are_initializers(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    constant = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(values))
    add = helper.make_node("Add", ["x", "k"], ["y"])
    opened = open_model(saved(model(nodes=[constant, add]), tmp_path))
    assert [node.op_type for node in opened.model.graph] == ["Add"]
    assert same_bits(array_of(opened.tensors["k"]), values)


def test_order_is_that_of_use(tmp_path: Path) -> None:
    arrays = [numpy_helper.from_array(np.ones((2, 2), np.float32), n) for n in ("unused", "b", "a")]
    nodes = [helper.make_node("Add", ["t", "b"], ["y"]), helper.make_node("Add", ["x", "a"], ["t"])]
    opened = open_model(saved(model(*arrays, nodes=nodes), tmp_path))
    assert [(name, one.order) for name, one in opened.tensors.items()] == [
        ("a", 0),
        ("b", 1),
        ("unused", 2),
    ]
    assert [node.outputs[0].name for node in opened.model.graph] == ["t", "y"]


def test_weights_among_the_inputs_are_none(tmp_path: Path) -> None:
    proto = model(numpy_helper.from_array(np.ones((2, 2), np.float32), "w"))
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [2, 2]))
    opened = open_model(saved(proto, tmp_path))
    assert [value.name for value in opened.model.graph.inputs] == ["x"]


def test_small_constants_are_part_of_the_graph() -> None:
    tensors = {
        "shape": plain_tensor("shape", np.array([2, 3])),
        "scalar": plain_tensor("scalar", np.array(0.5, np.float32)),
        "one": plain_tensor("one", np.ones(1, np.float32)),
        "many": plain_tensor("many", np.arange(2000)),
        "kept": plain_tensor("kept", np.arange(2)),
        "codes": plain_tensor("codes", np.arange(4, dtype=np.int8)),
    }
    graph = identity_model(tensors, opset=21)
    settle(graph, tensors, keep=["kept"])
    assert set(tensors) == {"one", "many", "kept", "codes"}
    value = graph.graph.initializers["shape"].const_value
    assert value is not None
    assert value.numpy().tolist() == [2, 3]
    back = graph_of(graph_bytes(graph), WHERE)
    stubs = {n for n, v in back.graph.initializers.items() if isinstance(v.const_value, WeightStub)}
    assert stubs == set(tensors)


def test_bytes_are_the_same_each_time_and_stubs_stay() -> None:
    tensors = {n: plain_tensor(n, np.ones((2, 2), np.float32)) for n in "ab"}
    graph = identity_model(tensors, opset=21)
    places = {n: Placement(location="d", offset=64 * k, length=16) for k, n in enumerate("ab")}
    assert graph_bytes(graph, places) == graph_bytes(graph, places)
    assert all(isinstance(v.const_value, WeightStub) for v in graph.graph.initializers.values())
    proto = onnx.ModelProto.FromString(graph_bytes(graph, places))
    entries = {t.name: {e.key: e.value for e in t.external_data} for t in proto.graph.initializer}
    assert entries["b"] == {"location": "d", "offset": "64", "length": "16"}
    with pytest.raises(DefectError, match="no place for 'b'"):
        graph_bytes(graph, {"a": places["a"]})


def test_the_checker_takes_what_is_written(tmp_path: Path) -> None:
    tensors = {"w": plain_tensor("w", np.ones((2, 3), np.float32))}
    path = write(tmp_path, identity_model(tensors, opset=21), tensors)
    onnx.checker.check_model(str(path), full_check=True)
    assert numpy_helper.to_array(onnx.load(path).graph.initializer[0]).tolist() == [[1, 1, 1]] * 2


def wrong(**fields: object) -> TensorProto:
    proto = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    for name, value in fields.items():
        proto.ClearField(name)
        if isinstance(value, list):
            getattr(proto, name).extend(value)
        elif value is not None:
            setattr(proto, name, value)
    return proto


BAD = {
    "too few bytes": (wrong(raw_data=b"123"), "need 16 bytes of data, found 3"),
    "no bytes": (wrong(raw_data=None), "need 16 bytes of data, found 0"),
    "a negative extent": (wrong(dims=[-2, -2]), "expected a shape"),
    "huge extents": (wrong(dims=[1 << 40, 1 << 40]), "expected a shape"),
    "large extents": (wrong(dims=[1 << 30, 1 << 10]), "need 4398046511104 bytes of data, found 16"),
    "no type": (wrong(data_type=0), "expected an element type, found 0"),
    "an unknown type": (wrong(data_type=99), "expected an element type, found 99"),
    "a number out of range": (wrong(raw_data=None, data_type=12, uint64_data=[1 << 40] * 4), None),
    "no name": (wrong(name=None), "without a name"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_wrong_initializers(what: str, tmp_path: Path) -> None:
    proto, message = BAD[what]
    if message is None:
        open_model(saved(model(proto), tmp_path))
        return
    with pytest.raises(FormatError) as caught:
        open_model(saved(model(proto), tmp_path))
    assert message in str(caught.value)
    assert "model.onnx" in str(caught.value)


def test_an_initializer_twice(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="with the same name"):
        open_model(saved(model(wrong(), wrong()), tmp_path))


@pytest.mark.parametrize("name", ["COMPLEX64", "FLOAT6E2M3"])
def test_types_that_are_not_supported(name: str, tmp_path: Path) -> None:
    if name not in TensorProto.DataType.keys():  # noqa: SIM118 - no mapping
        pytest.skip("this onnx does not have the type")
    proto = wrong(data_type=TensorProto.DataType.Value(name))
    with pytest.raises(UnsupportedError, match=f"{name} are not supported"):
        open_model(saved(model(proto), tmp_path))


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    proto = model()
    proto.graph.sparse_initializer.add().values.name = "s"
    with pytest.raises(UnsupportedError, match="sparse"):
        open_model(saved(proto, tmp_path))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not a protobuf message"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "no ONNX model"),
        (b"\x08\x0a", "expected a graph"),
        (b"\xff" * 9000, "no ONNX model"),
        (b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(5000), "of which 5000 are there"),
    ],
)
def test_files_that_are_no_models(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(FormatError) as caught:
        open_model(tmp_path / "model.onnx")
    assert message in str(caught.value)


def test_values_that_nothing_produces(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "nowhere"], ["y"])]
    with pytest.raises(FormatError, match="nothing produces 'nowhere'"):
        open_model(saved(model(nodes=nodes), tmp_path))


def test_cycles(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Add", ["a", "x"], ["b"])]
    nodes.append(helper.make_node("Identity", ["a"], ["y"]))
    with pytest.raises(FormatError, match="no valid ONNX graph"):
        open_model(saved(model(nodes=nodes), tmp_path))


def test_deep_nesting(tmp_path: Path) -> None:
    data = bytes(LARGE)
    for _ in range(60):
        for number in (6, 5, 1):  # a graph in an attribute in a node
            data = field(number, data)[0] + data
    (tmp_path / "model.onnx").write_bytes(field(7, data)[0] + data)
    with pytest.raises(FormatError, match="nested deeper"):
        open_model(tmp_path / "model.onnx")


@settings(
    derandomize=True,
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.data())
def test_damage_raises_only_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    big = numpy_helper.from_array(np.ones((LARGE // 4,), ml_dtypes.bfloat16), "w")
    nodes = [helper.make_node("Gemm", ["x", "w"], ["y"], alpha=2.0, transB=1)]
    damaged = bytearray(model(big, nodes=nodes).SerializeToString())
    interesting = [n for n, byte in enumerate(damaged) if byte != damaged[-1000]] or [0]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(interesting))
        damaged[at] = data.draw(st.sampled_from([0, 1, 8, 0x7F, 0x80, 0xFF, damaged[at] ^ 8]))
    path = tmp_path / "model.onnx"
    path.write_bytes(damaged)
    try:
        opened = open_model(path)
        for one in opened.tensors.values():
            one.storage.parts(0, one.rows)
        graph_bytes(opened.model)
    except BridgeError as error:
        assert "\n" not in str(error)
