"""A call is lifted to the operation that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import w2e_bridge
from tests.w2e_onnx.litert.harness import Data, lowered, model_of
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope


def test_addition_with_a_constant(tmp_path: Path) -> None:
    a = np.arange(-128, 128, dtype=np.int8).reshape(2, 128)
    operands = [
        Data(type="int8", array=a, scale=0.1, zero_point=3),
        Data(type="int8", array=a[::-1].copy(), scale=0.2, zero_point=-3, constant=True),
    ]
    result = [Data(type="int8", shape=(2, 128), scale=0.25, zero_point=1)]
    model = model_of("add", operands, result, {"fused_activation_function": "RELU6"})
    data, _ = lowered(model)
    (tmp_path / "model.onnx").write_bytes(data)
    back = w2e_bridge.open(tmp_path / "model.onnx")

    assert back.graph is not None
    assert back.remarks == ()
    assert back.numerics == "litert"
    assert [v.name for v in back.graph.graph.inputs] == ["x0"]
    assert [v.name for v in back.graph.graph.outputs] == ["y0"]
    assert set(back.activations) == {"x0", "y0"}
    for name, before in model.activations.items():
        after = back.activations[name]
        assert after.codes == before.codes
        assert after.scale == before.scale
        assert (after.zero_point or 0) == (before.zero_point or 0)
    assert np.array_equal(back.tensors["x1"].dequantize(), model.tensors["x1"].dequantize())

    steps = cover(back.graph.graph, Scope(tensors=back.tensors, values=back.activations))
    assert len(steps) == 1
    assert isinstance(steps[0], Operation)
    assert steps[0].kind == "add"
    assert steps[0].text("fused_activation_function") == "RELU6"
