"""For processors with VNNI: products with the weights' own bytes, of codes so small that none saturates elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import w2e_bridge
from tests.w2e_onnx.litert.harness import lowered, model_of
from tests.w2e_onnx.litert.test_linear import Linear
from tests.w2e_onnx.litert.weighed import Weighed
from tests.w2e_onnx.litert.windows import Convolution, Transposed

CASES = {
    "convolution": Convolution(),
    "one scale": Convolution(channels=False, activation="RELU6"),
    "groups": Convolution(groups=2),
    "depthwise": Convolution(depthwise=True, outputs=1),
    "transposed": Transposed(),
    "linear": Linear(),
    "linear, one scale": Linear(channels=False),
}
FIXTURE = Path(__file__).parents[3] / "fixtures" / "tflite" / "convnet_int8.tflite"


def small(case: Weighed) -> Weighed:
    """The same with weights of which two products fit in 16 bits."""
    weights = case.operands[1]
    assert weights is not None
    assert weights.array is not None
    weights.array[...] = np.right_shift(weights.array, 1)
    return case


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_equal(case: Convolution | Transposed | Linear, reference: bool) -> None:
    drawn = small(case.draw())
    model = model_of(drawn.kind, drawn.operands, [drawn.output], drawn.attributes)
    data, emitter = lowered(model, reference=reference, signed=True)
    assert not emitter.fallbacks
    for optimize in (True, False):
        got = drawn.got(data, optimize=optimize)
        np.testing.assert_array_equal(got, drawn.wanted(reference=reference))


def test_weights_are_not_shifted(tmp_path: Path) -> None:
    names = []
    for processor in ("any", "vnni"):
        out = tmp_path / f"{processor}.onnx"
        w2e_bridge.convert(FIXTURE, to="onnx", out=out, options={"processor": processor})
        functions = onnx.load(out).functions
        convolution = next(f for f in functions if "conv" in f.name)
        names.append([node.op_type for node in convolution.node])
    assert "QLinearConv" in names[0]
    assert "QLinearConv" in names[1]
    assert {"Cast", "Add"} <= set(names[0]) - set(names[1])


def test_the_way_back(tmp_path: Path) -> None:
    out = tmp_path / "there.onnx"
    w2e_bridge.convert(FIXTURE, to="onnx", out=out, options={"processor": "vnni"})
    w2e_bridge.convert(out, to="tflite", out=tmp_path / "back.tflite")
    assert w2e_bridge.compare(FIXTURE, tmp_path / "back.tflite").same
