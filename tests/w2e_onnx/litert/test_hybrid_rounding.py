"""Floats whose codes lie half-way, through a unit matrix of codes: how each kernel rounds is what comes out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.w2e_onnx.litert.steps import litert, onnx_of, opened, run
from tests.w2e_onnx.litert.test_recurrent import ROWS, WIDTH
from tests.w2e_tflite.maker import Op, Spec, build

UNIT = (127 * np.eye(WIDTH)).astype(np.int8)
CHANNELS = [1 / 127] * (WIDTH - 1) + [2 / 127]
IMAGE = {
    "stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1, "padding": "VALID",
}  # fmt: skip


def operator(kind: str) -> tuple[bytes, tuple[int, ...]]:
    """A file of an operator, and the shape of its input."""
    image = "CONV" in kind
    shape = (1, 1, 1, WIDTH) if image else (1, WIDTH)
    x, y = Spec("x", shape), Spec("y", shape)
    options: dict[str, object] = dict(IMAGE) if image else {"asymmetric_quantize_inputs": True}
    scale: list[float] | float = CHANNELS if image else 1 / 127
    zeros = [0] * WIDTH if image else 0
    data, axis = UNIT.reshape(WIDTH, 1, 1, WIDTH) if image else UNIT, 0
    if kind == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = 1
        data, axis = np.full((1, 1, 1, WIDTH), 127, np.int8), 3
    weights = Spec("w", data.shape, "int8", scale, zeros, data=data, axis=axis)
    bias = [] if kind == "BATCH_MATMUL" else [Spec("b", (WIDTH,), data=np.zeros(WIDTH, np.float32))]
    versions = {"FULLY_CONNECTED": 9, "BATCH_MATMUL": 4, "CONV_2D": 5, "DEPTHWISE_CONV_2D": 6}
    op = Op(kind, [x, weights, *bias], [y], options, version=versions[kind])
    return build([op]), shape


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize(
    "kind", ["FULLY_CONNECTED", "BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D"]
)
def test_halves(tmp_path: Path, kind: str, reference: bool) -> None:
    data, shape = operator(kind)
    runs = [[np.asarray(row, np.float32).reshape(shape)] for row in ROWS]
    got = run(onnx_of(opened(data, tmp_path), reference=reference), runs)
    want = litert(data, runs, reference=reference)
    np.testing.assert_allclose(np.ravel(got), np.ravel(want), rtol=1e-5, atol=1e-6)
