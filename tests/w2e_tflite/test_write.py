"""The canonical model to files: LiteRT runs them and gives what it gave for the source."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as generated
from ai_edge_litert.interpreter import Interpreter

from tests.w2e_tflite.maker import Graph, Op, Signature, Spec, build, build_graphs, const, one_op
from tests.w2e_tflite.test_read import graph_of, two_graphs
from tests.w2e_tflite.through import lifted, same_in_litert, through, written
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.spec import Request
from w2e_bridge.loss import Grade
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_tflite.profiles import TFLITE, profiles
from w2e_tflite.write import lower

TYPES = {v: k for k, v in vars(generated.TensorType).items() if isinstance(v, int)}
OPERATORS = {v: k for k, v in vars(generated.BuiltinOperator).items() if isinstance(v, int)}


def objects(data: bytes) -> Any:
    return generated.ModelT.InitFromPackedBuf(data, 0)


def operators(data: bytes, graph: int = 0) -> list[tuple[str, int]]:
    """(name, version) of the operators."""
    model = objects(data)
    codes = [model.operatorCodes[o.opcodeIndex] for o in model.subgraphs[graph].operators]
    return [(OPERATORS[code.builtinCode], code.version) for code in codes]


def tensors(data: bytes, graph: int = 0) -> dict[str, Any]:
    return {t.name.decode(): t for t in objects(data).subgraphs[graph].tensors}


def network() -> bytes:
    """Convolution, pooling, shape and a fully connected layer, in 8 bits."""
    random = np.random.default_rng(0)
    x = Spec("x", (1, 6, 6, 2), "int8", 0.02, -5, signature=(-1, 6, 6, 2))
    w = const(
        "w", random.integers(-127, 128, (4, 3, 3, 2)), "int8", scale=[0.01, 0.02, 0.03, 0.005]
    )
    scales = np.array([0.01, 0.02, 0.03, 0.005], np.float32) * np.float32(0.02)
    b = const("b", random.integers(-50, 50, 4), "int32", scale=scales.tolist())
    a = Spec("a", (1, 6, 6, 4), "int8", 0.03, 3, signature=(-1, 6, 6, 4))
    p = Spec("p", (1, 3, 3, 4), "int8", 0.03, 3, signature=(-1, 3, 3, 4))
    f = Spec("f", (1, 36), "int8", 0.03, 3, signature=(-1, 36))
    v = const("v", random.integers(-127, 128, (5, 36)), "int8", scale=0.01)
    c = const("c", random.integers(-50, 50, 5), "int32", scale=0.01 * 0.03)
    y = Spec("y", (1, 5), "int8", 0.1, 1, signature=(-1, 5))
    window = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU"}
    pool = {"padding": "VALID", "stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
    ops = [
        Op("CONV_2D", [x, w, b], [a], window, version=3),
        Op("MAX_POOL_2D", [a], [p], pool, version=2),
        Op("RESHAPE", [p, const("s", [-1, 36], "int32")], [f], {"new_shape": [-1, 36]}),
        Op("FULLY_CONNECTED", [f, v, c], [y], version=4),
    ]
    signature = Signature("serving_default", {"image": x}, {"scores": y})
    return build_graphs(
        [Graph(ops, [y])], signatures=[signature], metadata={"blob": b"\0\1\xff"}, description="it"
    )


def test_a_network_comes_back(tmp_path: Path) -> None:
    data = network()
    back = through(data, tmp_path)
    same_in_litert(data, back)
    assert operators(back) == [
        ("CONV_2D", 3), ("MAX_POOL_2D", 2), ("RESHAPE", 1), ("FULLY_CONNECTED", 4)
    ]  # fmt: skip
    one, other = tensors(data), tensors(back)
    for name in ("x", "w", "b", "a", "p", "f", "v", "c", "y"):
        a, b = one[name], other[name]
        assert a.type == b.type
        assert list(a.shape) == list(b.shape)
        np.testing.assert_array_equal(a.quantization.scale, b.quantization.scale)
        np.testing.assert_array_equal(a.quantization.zeroPoint, b.quantization.zeroPoint)
    assert list(other["x"].shapeSignature) == [-1, 6, 6, 2]
    model = objects(back)
    assert model.description == b"it"
    assert model.metadata[0].name == b"blob"
    assert bytes(model.buffers[model.metadata[0].buffer].data) == b"\0\1\xff"
    assert model.buffers[0].data is None
    (signature,) = model.signatureDefs
    assert (signature.signatureKey, signature.inputs[0].name) == (b"serving_default", b"image")


def test_written_twice_is_written_alike(tmp_path: Path) -> None:
    model = lifted(network(), tmp_path)
    assert written(model, tmp_path / "a") == written(model, tmp_path / "b")


def test_reading_and_writing_settles(tmp_path: Path) -> None:
    once = through(network(), tmp_path)
    assert through(once, tmp_path) == once


def test_large_weights_are_streamed(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(-127, 128, (300, 400))
    w = const("w", numbers, "int8", scale=np.linspace(0.01, 0.02, 300).tolist())
    x, y = Spec("x", (1, 400), "int8", 0.02, -5), Spec("y", (1, 300), "int8", 0.5)
    data = one_op("FULLY_CONNECTED", [x], [w, None], [y])
    model = lifted(data, tmp_path)
    request = Request(profile=TFLITE.name)
    (file,) = lower(model, negotiate(model, TFLITE, request), request).files
    assert [job.name for job in file.jobs] == ["w"]
    assert sum(len(piece) for _, piece in file.head) < 8000
    same_in_litert(data, written(model, tmp_path / "out"))


@pytest.mark.parametrize("columns", [401, 400])
def test_large_weights_of_four_bits(columns: int, tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(-7, 8, (400, columns))
    w = const("w", numbers, "int4", scale=0.02)
    x, y = Spec("x", (1, columns), "int8", 0.02, -5), Spec("y", (1, 400), "int8", 0.5)
    data = build([Op("FULLY_CONNECTED", [x, w, None], [y], version=10)])
    model = lifted(data, tmp_path)
    back = written(model, tmp_path / "out")
    held = [bytes(objects(d).buffers[tensors(d)["w"].buffer].data) for d in (data, back)]
    assert held[0] == held[1]


def test_equal_constants_share_a_buffer(tmp_path: Path) -> None:
    x, a, y = Spec("x", (2, 3)), Spec("a", (2, 3)), Spec("y", (2, 3))
    one, other = (
        const("one", np.ones((2, 3), np.float32)),
        const("other", np.ones((2, 3), np.float32)),
    )
    back = through(build([Op("MUL", [x, one], [a]), Op("MUL", [a, other], [y])]), tmp_path)
    found = tensors(back)
    assert found["one"].buffer == found["other"].buffer > 0


def test_a_constant_read_as_codes_and_as_floats(tmp_path: Path) -> None:
    """Two ways to the same weights: a kernel that rounds its floats, and a float kernel."""
    w = const("w", np.random.default_rng(0).integers(-127, 128, (3, 4)), "int8", scale=0.05)
    x, held, a, b = Spec("x", (1, 4)), Spec("held", (3, 4)), Spec("a", (1, 3)), Spec("b", (1, 3))
    ops = [
        Op("DEQUANTIZE", [w], [held], version=2),
        Op("FULLY_CONNECTED", [x, held, None], [a]),
        Op("FULLY_CONNECTED", [x, w, None], [b]),
    ]
    data = build(ops, outputs=[a, b])
    back = through(data, tmp_path)
    same_in_litert(data, back)
    assert sorted(name for name, _ in operators(back)) == sorted(n for n, _ in operators(data))


def test_unsigned_weights_stay_unsigned(tmp_path: Path) -> None:
    w = const("w", np.random.default_rng(0).integers(0, 256, (3, 4)), "uint8", scale=0.05, zero=131)
    x, y = Spec("x", (1, 4), "uint8", 0.02, 120), Spec("y", (1, 3), "uint8", 0.5, 7)
    bias = const("b", [1, 2, 3], "int32", scale=0.05 * 0.02)
    data = one_op("FULLY_CONNECTED", [x], [w, bias], [y])
    back = through(data, tmp_path)
    same_in_litert(data, back)
    assert TYPES[tensors(back)["w"].type] == "UINT8"
    assert tensors(back)["w"].quantization.zeroPoint.tolist() == [131]


def test_components_and_their_signatures(tmp_path: Path) -> None:
    back = through(two_graphs(), tmp_path)
    runner = Interpreter(model_content=back)
    assert runner.get_signature_list() == {
        "first": {"inputs": ["in"], "outputs": ["out"]},
        "second": {"inputs": ["left"], "outputs": ["right"]},
    }
    second = runner.get_signature_runner("second")
    np.testing.assert_array_equal(
        second(left=np.asarray([1, 2, 3], np.float32))["right"],
        np.asarray([-1, -2, -3], np.float32),
    )


def test_files_behind_the_model(tmp_path: Path) -> None:
    held = io.BytesIO(network())
    with zipfile.ZipFile(held, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\n")
        archive.writestr("more.txt", "x" * 1000)
    back = through(held.getvalue(), tmp_path)
    with zipfile.ZipFile(io.BytesIO(back)) as archive:
        assert archive.read("labels.txt") == b"cat\ndog\n"
        assert archive.testzip() is None
        start = archive.infolist()[0].header_offset
    assert back[start : start + 4] == b"PK\x03\x04"  # as the file says it, without a reader's help
    same_in_litert(network(), back)


def test_a_resource_is_kept(tmp_path: Path) -> None:
    x, y = Spec("x", (1, 2)), Spec("y", (1, 2))
    handle, held = Spec("h", (), "resource"), Spec("held", (1, 2))
    first, start = Spec("g", (), "resource"), const("start", np.asarray([[3.5, 3.5]], np.float32))
    name = {"container": "", "shared_name": "memory"}
    main = Graph(
        [
            Op("CALL_ONCE", [], [], {"init_subgraph_index": 1}),
            Op("VAR_HANDLE", [], [handle], name),
            Op("READ_VARIABLE", [handle], [held]),
            Op("ADD", [x, held], [y]),
            Op("ASSIGN_VARIABLE", [handle, y], []),
        ],
        [y],
    )
    begin = Graph(
        [Op("VAR_HANDLE", [], [first], name), Op("ASSIGN_VARIABLE", [first, start], [])],
        [],
        inputs=[],
        name="begin",
    )
    data = build_graphs([main, begin])
    model = lifted(data, tmp_path)
    assert [v.name for v in graph_of(model).inputs] == ["x", "held"]
    assert model.metadata["w2e.state.held.initial"] == "3.5"
    back = written(model, tmp_path / "out")
    same_in_litert(data, back, steps=4)
    assert Interpreter(model_content=back).get_input_details()[0]["name"] == "x"


def test_a_resource_that_nothing_assigns_is_a_constant(tmp_path: Path) -> None:
    x, y = Spec("x", (1, 2)), Spec("y", (1, 2))
    handle, held = Spec("h", (), "resource"), Spec("held", (1, 2))
    first, start = Spec("g", (), "resource"), const("start", np.asarray([[3.5, 4.5]], np.float32))
    name = {"container": "", "shared_name": "memory"}
    main = Graph(
        [
            Op("CALL_ONCE", [], [], {"init_subgraph_index": 1}),
            Op("VAR_HANDLE", [], [handle], name),
            Op("READ_VARIABLE", [handle], [held]),
            Op("ADD", [x, held], [y]),
        ],
        [y],
    )
    ops = [Op("VAR_HANDLE", [], [first], name), Op("ASSIGN_VARIABLE", [first, start], [])]
    data = build_graphs([main, Graph(ops, [], inputs=[], name="begin")])
    model = lifted(data, tmp_path)
    assert [v.name for v in graph_of(model).inputs] == ["x"]
    same_in_litert(data, written(model, tmp_path / "out"))


def test_branches(tmp_path: Path) -> None:
    c, x, y = Spec("c", (1,), "bool"), Spec("x", (2,), "int8", 0.5), Spec("y", (2,), "int8", 0.5)
    one = [Spec("x1", (2,), "int8", 0.5), Spec("y1", (2,), "int8", 0.5)]
    other = [Spec("x2", (2,), "int8", 0.5), Spec("y2", (2,), "int8", 0.5)]
    options = {"then_subgraph_index": 1, "else_subgraph_index": 2}
    graphs = [
        Graph([Op("IF", [c, x], [y], options)], [y], inputs=[c, x]),
        Graph([Op("RELU", [one[0]], [one[1]], version=2)], [one[1]], name="then"),
        Graph([Op("ADD", [other[0], other[0]], [other[1]], version=2)], [other[1]], name="else"),
    ]
    data = build_graphs(graphs)
    back = through(data, tmp_path)
    assert len(objects(back).subgraphs) == 3
    for chosen in (True, False):
        values = [np.asarray([chosen]), np.asarray([-5, 7], np.int8)]
        one_result, other_result = (_run(d, values) for d in (data, back))
        np.testing.assert_array_equal(one_result, other_result)


def _run(data: bytes, values: list[Any]) -> Any:
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), values, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_nodes_that_no_operator_computes(tmp_path: Path) -> None:
    model = lifted(one_op("ABS", [Spec("x", (2,))], [], [Spec("y", (2,))]), tmp_path)
    (node,) = graph_of(model)
    odd = ir.node("Det", [node.outputs[0]])
    odd.outputs[0].name = "det"
    graph_of(model).append(odd)
    graph_of(model).outputs[0] = odd.outputs[0]
    with pytest.raises(UnsupportedError, match=r"does not have: Det \(makes 'det'\)"):
        written(model, tmp_path / "out")


def test_a_model_of_another_format_gets_a_signature(tmp_path: Path) -> None:
    model = lifted(one_op("ABS", [Spec("x", (2,))], [], [Spec("y", (2,))]), tmp_path)
    assert objects(written(model, tmp_path / "out")).signatureDefs
    kept = replace(model, metadata={"tflite.description": "old"})
    assert objects(written(kept, tmp_path / "out")).signatureDefs is None


def test_the_report(tmp_path: Path) -> None:
    model = lifted(network(), tmp_path)
    noted = replace(model, metadata={**model.metadata, "author": "somebody"})
    request = Request(profile=TFLITE.name)
    decisions = negotiate(noted, TFLITE, request)
    assert {d.loss.grade for d in decisions.values()} == {Grade.EXACT}
    output = lower(noted, decisions, request)
    assert [v.name for v in output.values] == list(model.activations)
    assert [i.name for i in output.ignored] == ["author"]
    assert output.summary == "int32, int8 codes kept; int8 activations"


def test_the_profile() -> None:
    (name,) = profiles()
    assert name == TFLITE.name == "litert"
    assert TFLITE.needs_graph
