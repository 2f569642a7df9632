"""Language models: no operator that TensorRT has not, their blocks of codes as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import w2e_bridge
from w2e_bridge.loss import Grade

SOURCE = Path(__file__).parents[2] / "fixtures" / "gguf" / "llama-Q4_0.gguf"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model for TensorRT, and for ONNX Runtime with all weights as float32."""
    there = tmp_path_factory.mktemp("bundle")
    report = w2e_bridge.convert(SOURCE, to="tensorrt", out=there / "trt", allow_float=True)
    assert all(row.grade in (Grade.EXACT, Grade.FLOAT) for row in report.tensors)
    assert sum(row.encoding.startswith("DequantizeLinear") for row in report.tensors) > 10
    w2e_bridge.convert(
        SOURCE, to="onnx", out=there / "ort", allow_float=True, options={"activations": "float"}
    )
    return there / "trt" / "model.onnx", there / "ort" / "model.onnx"


def test_large_operators_and_functions_are_written_as_parts(folders: tuple[Path, Path]) -> None:
    model = onnx.load(folders[0], load_external_data=False)
    found = {node.op_type for node in model.graph.node}
    assert {"MatMul", "Softmax", "DequantizeLinear"} <= found
    assert not found & {"Attention", "RotaryEmbedding", "RMSNormalization"}
    assert not model.functions
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 21)]
    assert w2e_bridge.api.lint(folders[0], "tensorrt") is not None


def test_logits_are_those_of_onnx_runtime(folders: tuple[Path, Path]) -> None:
    ids = np.arange(3, 14, dtype=np.int64)[None]
    results = []
    for path in folders:
        session = ort.InferenceSession(str(path))
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        for given in session.get_inputs():
            if given.name.startswith("past_key_values."):
                shape = [1, given.shape[1], 0, given.shape[3]]
                feed[given.name] = np.zeros(shape, kinds[given.type])
        results.append(session.run(["logits"], feed)[0])
    want, got = results[1], results[0]
    assert np.abs(want - got).max() < 1e-4 * np.abs(want).max()
