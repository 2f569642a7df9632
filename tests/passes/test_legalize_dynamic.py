"""Convolutions that round floats at run time, from ONNX Runtime's operators to LiteRT's kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import w2e_bridge

CHANNELS = 6
TEXT = f"""<ir_version: 8, opset_import: ["" : 17]>
main (float[1,{CHANNELS},8,8] x) => (float[1,{CHANNELS},8,8] y)
<int8 wz = {{0}}, float ws = {{0.02}}>
{{
  xq, xs, xz = DynamicQuantizeLinear(x)
  sum = ConvInteger<group = {CHANNELS}, kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(xq, w, xz, wz)
  real = Cast<to = 1>(sum)
  scale = Mul(xs, ws)
  y = Mul(real, scale)
}}"""


@pytest.mark.parametrize("resolver", [OpResolverType.AUTO, OpResolverType.BUILTIN_REF])
def test_depthwise_weights_of_one_scale(resolver: OpResolverType, tmp_path: Path) -> None:
    """LiteRT reads as many scales as there are channels, and takes what lies behind a single one."""
    random = np.random.default_rng(0)
    model = onnx.parser.parse_model(TEXT)
    codes = random.integers(-127, 128, (CHANNELS, 1, 3, 3)).astype(np.int8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(codes, "w"))
    onnx.save(model, tmp_path / "model.onnx")
    report = w2e_bridge.convert(tmp_path / "model.onnx", to="tflite", out=tmp_path / "m.tflite")
    assert {row.grade.label for row in report.tensors} == {"exact"}
    x = random.normal(size=(1, CHANNELS, 8, 8)).astype(np.float32)
    (wanted,) = ort.InferenceSession(tmp_path / "model.onnx").run(None, {"x": x})
    interpreter = Interpreter(
        str(tmp_path / "m.tflite"), experimental_op_resolver_type=resolver, num_threads=1
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
