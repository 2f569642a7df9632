"""Q/DQ beside operators that move codes: ONNX Runtime loads what is written, at every level of optimization."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

import w2e_bridge
from w2e_bridge.graph.editing import Editor
from w2e_onnx.lowering.quantized_moving import SINCE, sayable_in, settle

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"

FORWARD = """<ir_version: 10, opset_import: ["" : 21]>
main (int8[2,3] x) => (float[6] y) <float s = {0.1}, int8 z = {3}, int64[1] flat = {-1}>
{ d = DequantizeLinear(x, s, z) n = Identity(d) r = Reshape(n, flat) y = Abs(r) }"""
PUBLIC = """<ir_version: 10, opset_import: ["" : 21]>
main (int8[2,3] x) => (float[6] y) <float s = {0.1}, int8 z = {3}, int64[1] flat = {-1}>
{ d = DequantizeLinear(x, s, z) y = Reshape(d, flat) }"""
SHARED = """<ir_version: 10, opset_import: ["" : 21]>
main (int8[2,3] x) => (float[3,2] y, float[2,3] d) <float s = {0.1}, int8 z = {3}>
{ d = DequantizeLinear(x, s, z) r = Transpose(d) y = Abs(r) }"""
BACKWARD = """<ir_version: 10, opset_import: ["" : 21]>
main (float[2,3] x) => (int8[6] y) <float s = {0.1}, int8 z = {3}, int64[1] flat = {-1}>
{ a = Abs(x) t = Transpose(a) r = Reshape(t, flat) y = QuantizeLinear(r, s, z) }"""
ADDED = {FORWARD: 1, PUBLIC: 1, SHARED: 1, BACKWARD: 2}


def settled(text: str) -> bytes:
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    opset = model.graph.opset_imports[""]
    with patch("w2e_onnx.lowering.quantized_moving.sayable_in", lambda *_: False):
        assert settle(Editor(model=model, tensors={}), opset) == opset
    data: bytes = ir.serde.serialize_model(model).SerializeToString()
    return data


def session(data: bytes | str, *, optimize: bool = True) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("text", ADDED)
def test_pairs_are_added_and_change_nothing(text: str) -> None:
    data = settled(text)
    operators = [node.op_type for node in onnx.load_from_string(data).graph.node]
    before = [node.op_type for node in onnx.parser.parse_model(text).graph.node]
    for kind in ("QuantizeLinear", "DequantizeLinear"):
        assert operators.count(kind) == before.count(kind) + ADDED[text]
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    own = session(model.SerializeToString(), optimize=False)
    x = np.arange(-60, 60, 20).reshape(2, 3)
    feed = {"x": x.astype({"tensor(int8)": np.int8}.get(own.get_inputs()[0].type, np.float32))}
    for optimize in (False, True):
        for mine, theirs in zip(
            session(data, optimize=optimize).run(None, feed), own.run(None, feed), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


def test_nothing_is_added_to_what_is_rounded_already() -> None:
    text = FORWARD.replace(
        "y = Abs(r) }", "q = QuantizeLinear(r, s, z) e = DequantizeLinear(q, s, z) y = Abs(e) }"
    )
    assert len(onnx.load_from_string(settled(text)).graph.node) == 6


def test_old_operator_sets_need_nothing() -> None:
    text = FORWARD.replace('"" : 21', f'"" : {SINCE - 1}')
    assert len(onnx.load_from_string(settled(text)).graph.node) == 4


@pytest.mark.parametrize(
    ("operator", "sayable"),
    [
        ("Abs(x)", True),
        ("RMSNormalization(x, x)", False),
        ('Cast<to = 1, round_mode = "up">(x)', False),
    ],
)
def test_older_operator_sets(operator: str, sayable: bool) -> None:
    text = f'<ir_version: 10, opset_import: ["" : 25]> main (float[3] x) => (float[3] y) {{ y = {operator} }}'
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    assert sayable_in(Editor(model=model, tensors={}), SINCE - 1) == sayable


@pytest.mark.parametrize("stem", ["indices_int8", "shapes_int8", "spaces_int8"])
def test_ort_loads_plain_qdq(stem: str, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    w2e_bridge.convert(FIXTURES / f"{stem}.tflite", to="onnx", out=out, options={"match": "none"})
    onnx.checker.check_model(onnx.load(out), full_check=True)
    assert session(str(out)).get_inputs()
