"""What `write` writes, `read` reads: every form of every mode, tensors under the source's names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.graph.samples import make_tensor
from tests.graph.support import same_bits
from w2e_bridge.errors import FormatError
from w2e_bridge.fidelity.audit import Audit
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.weights import weight
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT16, Encoding, Offset, OffsetKind, blocked, zero_point
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import plain_tensor
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.stream.pipeline import write
from w2e_onnx.profiles import ORT_CPU
from w2e_onnx.read import lift
from w2e_onnx.write import lower

COLUMNS = 64
MINIMUMS = Offset(kind=OffsetKind.NEGATIVE_BIAS, encoding=FLOAT16)


def code(
    bits: int, *, signed: bool = False, block: int = 32, offset: Offset | None = None
) -> Encoding:
    return blocked(Integer(bits=bits, signed=signed), block, FLOAT16, offset)


WEIGHTS = {
    "table": (50, code(8, signed=True)),
    "q": (32, code(4, signed=True)),
    "k": (16, code(4, signed=True)),
    "six": (8, code(6, signed=True, block=16)),
    "minimums": (24, code(4, offset=MINIMUMS)),
    "wide minimums": (24, code(5, offset=MINIMUMS)),
    "zeros": (40, code(4, offset=zero_point(4))),
    "two": (40, code(2, signed=True)),
}


def source() -> Model:
    made = [make_tensor(n, e, (rows, COLUMNS), rows) for n, (rows, e) in WEIGHTS.items()]
    norm = plain_tensor("norm", np.linspace(0, 1, COLUMNS).astype(np.float16), "float32")
    tensors = {t.name: replace(t, order=n) for n, t in enumerate([*made, norm])}
    ids = ir.Value(name="ids", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["b", "n"]))
    graph = ir.Graph([ids], [], nodes=[], opset_imports={"": 23}, name="g")

    def add(op: str, inputs: list[ir.Value], name: str, **attributes: object) -> ir.Value:
        node = ir.node(op, inputs, attributes)  # type: ignore[arg-type]
        node.outputs[0].name = name
        graph.append(node)
        return node.outputs[0]

    rows = add("Gather", [weight(graph, tensors["table"]), ids], "rows", axis=0)
    x = add("Mul", [rows, weight(graph, tensors["norm"])], "x")
    for name in WEIGHTS:
        turned = add("Transpose", [weight(graph, tensors[name])], f"{name}.t", perm=[1, 0])
        y = add("MatMul", [x, turned], f"{name}.y")
        y.type, y.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["b", "n", None])
        graph.outputs.append(y)
    return Model(tensors=tensors, graph=ir.Model(graph, ir_version=10))


def lowered(folder: Path, mode: str) -> tuple[Model, Path]:
    model = source()
    request = Request(profile=ORT_CPU.name, options={"activations": mode})
    decisions = negotiate(model, ORT_CPU, request)
    output = lower(model, decisions, request)
    write(output, folder, name=lambda name: name.replace("{stem}", "model"))
    found = lift(folder, {})
    Audit(model.tensors, decisions, lambda: found.tensors, full=True).finish()
    return found, folder / "model.onnx"


@pytest.mark.parametrize("mode", ["int8", "float"])
def test_every_form_is_read_back(mode: str, tmp_path: Path) -> None:
    found, _ = lowered(tmp_path, mode)
    expected = source().tensors
    assert not found.remarks
    assert set(found.tensors) == set(expected)
    for name, one in expected.items():
        assert found.tensors[name].shape == one.shape
        assert same_bits(found.tensors[name].dequantize() + 0.0, one.dequantize() + 0.0)
    assert found.graph is not None
    assert {node.domain for node in found.graph.graph} == {""}
    assert not found.graph.functions
    assert found.tensors["norm"].encoding == FLOAT16


def changed(path: Path, change: Callable[[onnx.ModelProto], None]) -> Model:
    proto = onnx.load(path, load_external_data=False)
    change(proto)
    onnx.save(proto, path)
    return lift(path, {})


def test_a_function_with_another_body_is_left_alone(tmp_path: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        (function,) = (f for f in proto.functions if f.name == "MatMulMinimums")
        next(node for node in function.node if node.op_type == "Mul").op_type = "Div"

    _, path = lowered(tmp_path, "int8")
    found = changed(path, change)
    assert "minimums" not in found.tensors
    assert any(remark.name == "MatMulMinimums" for remark in found.remarks)


def data_of(path: Path, name: str, offset: int) -> None:
    """Flips a bit of an array."""
    proto = onnx.load(path, load_external_data=False)
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    place = {entry.key: entry.value for entry in tensor.external_data}
    data = path.parent / place["location"]
    content = bytearray(data.read_bytes())
    content[int(place["offset"]) + offset] ^= 1
    data.write_bytes(content)


def test_halves_that_do_not_belong_together(tmp_path: Path) -> None:
    _, path = lowered(tmp_path, "float")
    data_of(path, "six.high.scale", 3)
    found = lift(path, {})
    with pytest.raises(FormatError, match=r"six.*halves"):
        found.tensors["six"].dequantize()


def zero_points(proto: onnx.ModelProto, one: str) -> str:
    node = next(n for n in proto.graph.node if n.output[0].startswith(one))
    return str(node.input[3])


def test_zero_points_beside_minimums(tmp_path: Path) -> None:
    _, path = lowered(tmp_path, "int8")
    proto = onnx.load(path, load_external_data=False)
    data_of(path, zero_points(proto, "minimums.y"), 0)
    found = lift(path, {})
    with pytest.raises(FormatError, match=r"minimums.*zero points"):
        found.tensors["minimums"].dequantize()


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf"), "x"])
def test_centres_that_are_none(value: float | str, tmp_path: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            for attribute in node.attribute:
                if attribute.name == "centre":
                    attribute.CopyFrom(onnx.helper.make_attribute("centre", value))

    _, path = lowered(tmp_path, "int8")
    found = changed(path, change)
    assert "minimums" not in found.tensors
