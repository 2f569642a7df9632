"""Floats that read integer weights: rounded at run time as the kernel rounds them, else float's last places."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.w2e_onnx.litert import harness
from tests.w2e_onnx.litert.harness import Data, lowered, run
from tests.w2e_onnx.litert.test_linear import Linear
from tests.w2e_onnx.litert.weighed import Draw, Weighed
from tests.w2e_onnx.litert.windows import Convolution, Transposed
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.hybrid import ASYMMETRIC, dynamic

Array = NDArray[Any]
BOTH = pytest.mark.parametrize("reference", [False, True])


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    """A case with a float activation.

    Attributes:
        case: what is drawn.
        asymmetric: the option of that name.
        x: the numbers, if not random.
    """

    case: Convolution | Transposed | Linear
    asymmetric: bool = False
    x: Array | None = None

    def draw(self) -> Weighed:
        """With numbers."""
        made = replace(self.case, type="float32").draw()
        x = 2 if made.kind == "transpose_conv" else 0
        operands = list(made.operands)
        given = operands[x]
        assert given is not None
        if self.x is not None:
            operands[x] = replace(given, array=self.x.astype(np.float32))
        attributes = dict(made.attributes)
        if made.kind == "fully_connected":
            attributes[ASYMMETRIC] = self.asymmetric
        return replace(made, operands=operands, attributes=attributes)


TIES = np.outer(np.asarray([-1.0, 0.5, 1.0, 2.0]), np.arange(32) / 15.5 - 1)
CONNECTED = {
    "symmetric": Hybrid(case=Linear()),
    "asymmetric": Hybrid(case=Linear(), asymmetric=True),
    "one scale": Hybrid(case=Linear(channels=False)),
    "int4": Hybrid(case=Linear(weights="int4")),
    "int4, odd depth": Hybrid(case=Linear(weights="int4", shape=(4, 31)), asymmetric=True),
    "int2": Hybrid(case=Linear(weights="int2")),
    "kept": Hybrid(case=Linear(shape=(2, 3, 32), keeps=True)),
    "flattened": Hybrid(case=Linear(shape=(2, 3, 32), activation="RELU6", bias=None)),
    "a row": Hybrid(case=Linear(shape=(1, 32), activation="RELU")),
    "a row of int4": Hybrid(case=Linear(shape=(1, 1, 32), weights="int4", keeps=True)),
    "a long row": Hybrid(case=Linear(shape=(1, 300), weights="int4", bias=None)),
    "a long row of ties": Hybrid(case=Linear(shape=(1, 511)), x=np.arange(511)[None] / 255 - 1),
    "zeros": Hybrid(case=Linear(), x=np.zeros((5, 32))),
    "none below zero": Hybrid(case=Linear(), x=np.abs(np.sin(np.arange(160))).reshape(5, 32)),
    "none above zero": Hybrid(case=Linear(), x=-np.abs(np.sin(np.arange(160))).reshape(5, 32)),
    "ties": Hybrid(case=Linear(shape=(4, 32)), x=TIES),
    "ties, asymmetric": Hybrid(case=Linear(shape=(4, 32)), x=TIES, asymmetric=True),
}
WINDOWS = {
    "channels": Hybrid(case=Convolution()),
    "one scale": Hybrid(case=Convolution(channels=False)),
    "batch": Hybrid(case=Convolution(batch=2, stride=2, padding="VALID", activation="RELU")),
    "int4": Hybrid(case=Convolution(weights="int4")),
    "groups": Hybrid(case=Convolution(groups=2)),
    "zeros": Hybrid(case=Convolution(), x=np.zeros((1, 7, 6, 8))),
    "depthwise": Hybrid(case=Convolution(depthwise=True, outputs=1)),
    "depthwise, several": Hybrid(case=Convolution(depthwise=True, outputs=2, batch=2)),
    "points": Hybrid(case=Convolution(kernel=1, batch=2)),
    "points, one scale": Hybrid(case=Convolution(kernel=1, channels=False, dilation=2)),
    "points in steps": Hybrid(case=Convolution(kernel=1, stride=2)),
    "points in groups": Hybrid(case=Convolution(kernel=1, groups=2)),
    "a point": Hybrid(case=Convolution(kernel=1, image=(1, 1, 8))),
    "transposed": Hybrid(case=Transposed()),
    "transposed, one scale": Hybrid(case=Transposed(channels=False, padding="VALID", bias=None)),
}


@pytest.fixture(autouse=True)
def _options_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Floats are marked as the reader of TensorFlow Lite marks them: by the operator's options."""

    def marked(kind: str, operands: Any, outputs: Any, attributes: Any) -> Model:
        model = harness.model_of(kind, operands, outputs, attributes)
        values = {
            name: dynamic(kind, attributes) if value.scale is None else value
            for name, value in model.activations.items()
        }
        return replace(model, activations=values)

    monkeypatch.setattr("tests.w2e_onnx.litert.weighed.model_of", marked)


@BOTH
@pytest.mark.parametrize("case", CONNECTED.values(), ids=CONNECTED)
def test_fully_connected(case: Hybrid, reference: bool) -> None:
    case.draw().check(reference=reference)


@BOTH
@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS)
def test_windows(case: Hybrid, reference: bool) -> None:
    case.draw().check(reference=reference)


@BOTH
@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("adj_y", [False, True])
def test_products(adj_y: bool, asymmetric: bool, reference: bool) -> None:
    draw = Draw(chance=np.random.default_rng(0), type="float32", channels=False)
    weights = draw.codes((6, 8) if adj_y else (8, 6), 0)
    Weighed(
        kind="batch_matmul",
        operands=[draw.activation((2, 5, 8)), weights],
        output=Data(type="float32", shape=(2, 5, 6)),
        attributes={"adj_x": False, "adj_y": adj_y, ASYMMETRIC: asymmetric},
    ).check(reference=reference)


@pytest.mark.parametrize("case", [Linear(), Linear(weights="int4"), Convolution(), Transposed()])
def test_weights_alone(case: Convolution | Transposed | Linear) -> None:
    """Floats that are not rounded: no DequantizeLinear, of which ONNX Runtime would round them."""
    made = replace(case, type="float32").draw()
    plain = [None if d is None else replace(d, dynamic=False) for d in made.operands]
    model = harness.model_of(made.kind, plain, [made.output], made.attributes)
    data, emitter = lowered(model)
    assert not emitter.fallbacks
    assert b"DequantizeLinear" not in data
    real = [None if d is None else _decoded(d) for d in plain]
    model = harness.model_of(made.kind, real, [made.output], made.attributes)
    feeds = {f"x{i}": d.array for i, d in enumerate(plain) if d and d.array is not None}
    np.testing.assert_allclose(
        run(data, feeds)[0], run(lowered(model)[0], feeds)[0], rtol=1e-5, atol=1e-5
    )


def _decoded(data: Data) -> Data:
    if data.scale is None or data.array is None:
        return data
    scale = np.asarray(data.scale, np.float32).reshape(-1, *[1] * (data.array.ndim - 1))
    real = (data.array.astype(np.float32) * scale).astype(np.float32)
    return Data(type="float32", array=real, constant=True)
