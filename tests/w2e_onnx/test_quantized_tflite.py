"""TFLite models as plain Q/DQ nodes: found again as they were, and a few steps from LiteRT's own integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from tests.graph.support import AnyArray, run
from tests.w2e_onnx.test_quantized import assert_same, lowered
from w2e_onnx.read import lift
from w2e_tflite.read import lift as lift_tflite

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"
STEPS = {
    "convnet_int8": 2, "convnet_int8_u8io": 2, "convnet_uint8_old": 5, "mobile_int8": 2, "unet_int8": 0,
    "loop_int8": 0, "branches_int8": 0, "perceptron_edge_a8w4": 0, "shapes_int8": 0,
    "sparse_perceptron_int8_sparse": 0, "two_heads_int8": 1, "free_batch_int8": 0,
}  # fmt: skip
"""How far the largest output is off, where LiteRT adds in another way than real numbers are rounded."""


@pytest.mark.parametrize("name", STEPS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    source = FIXTURES / f"{name}.tflite"
    model = lift_tflite(source, {})
    path = lowered(model, tmp_path / "model")
    again = lift(path, {})
    assert not again.remarks
    assert_same(model, again)
    interpreter = Interpreter(str(source), num_threads=1)
    interpreter.allocate_tensors()
    chance = np.random.default_rng(3)
    feeds: dict[str, AnyArray] = {}
    assert model.graph is not None
    pairs = zip(interpreter.get_input_details(), model.graph.graph.inputs, strict=True)
    for detail, value in pairs:
        kind = np.iinfo(detail["dtype"])
        drawn = chance.integers(kind.min, kind.max, detail["shape"], endpoint=True)
        feeds[value.name or ""] = drawn.astype(detail["dtype"])
        interpreter.set_tensor(detail["index"], feeds[value.name or ""])
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    found = list(run(path, feeds).values())
    for detail, output in zip(outputs, found, strict=True):
        expected = interpreter.get_tensor(detail["index"])
        assert (output.dtype, output.shape) == (expected.dtype, expected.shape)
        assert np.abs(output.astype(int) - expected.astype(int)).max(initial=0) <= STEPS[name]
