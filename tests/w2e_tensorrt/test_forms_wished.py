"""Codes of one kind for those who wish for it; blocks with minimums; float4 only where it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import w2e_bridge
from tests.w2e_onnx.trt_exports import Graph
from tests.w2e_tensorrt.runtime import Parsed
from tests.w2e_tensorrt.test_forms import built, converted, errors
from w2e_bridge.errors import LossError
from w2e_bridge.ir.encoding import OffsetKind
from w2e_bridge.loss import Grade
from w2e_tensorrt.forms import WISHES

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gguf"
N, K = 32, 64
WISHED = {
    "int8": ("DequantizeLinear int8: int8[:,1] × float32", 40.0, "SM89"),
    "int4": ("DequantizeLinear int4: int4[32,1] × float32", 15.0, "SM89"),
    "float8": ("DequantizeLinear float8: float8_e4m3fn[:,1] × float32", 28.0, "SM89"),
    "mxfp8": ("TRT_MXFP8DequantizeLinear: float8_e4m3fn[32,1] × float8_e8m0fnu", 28.0, "SM89"),
    "nvfp4": (
        "DequantizeLinear NVFP4: float4_e2m1fn[16,1] × float8_e4m3fn[:,:] × float32",
        18.0,
        "SM120",
    ),
}
"""A wish: how the matrix is held, at least how many decibels above its error, and what it is built for."""


def product() -> tuple[bytes, NDArray[np.float32]]:
    """A matrix of floats, and a convolution."""
    g, chance = Graph(), np.random.default_rng(2)
    w = chance.normal(size=(N, K)).astype(np.float32)
    turned = g.node("Transpose", [g.constant("w", w)], perm=[1, 0])
    g.node("MatMul", ["x", turned], "y")
    return g.model((2, K), (2, N), 21), w


@pytest.mark.parametrize("wish", WISHED)
def test_a_wish_makes_new_codes_of_floats(wish: str, tmp_path: Path) -> None:
    encoding, least, device = WISHED[wish]
    source, w = product()
    options = {"weights": wish}
    report, path = converted(source, tmp_path, fidelity="requantized", options=options)
    (row,) = report.tensors
    assert (row.grade, row.encoding) == (Grade.REQUANTIZED, encoding)
    found = w2e_bridge.open(path).tensors["w"].dequantize()
    noise = ((found - w).astype(np.float64) ** 2).sum()
    snr = 10 * np.log10((w.astype(np.float64) ** 2).sum() / noise)
    assert snr > least
    assert row.max_abs_error == pytest.approx(np.abs(found - w).max(), rel=1e-5)
    assert f"SNR {snr:.1f} dB" in row.reason
    assert bool(report.conditions) is (device == "SM120")
    assert not errors(path)
    parsed = Parsed(b"", path)
    assert parsed.ok, parsed.errors
    assert built(parsed, device)


def test_without_a_wish_floats_stay_floats(tmp_path: Path) -> None:
    report, _ = converted(product()[0], tmp_path, fidelity="requantized")
    assert [row.grade for row in report.tensors] == [Grade.EXACT]


def test_a_wish_that_is_not_accepted_leaves_what_is_exact(tmp_path: Path) -> None:
    report = w2e_bridge.convert(
        FIXTURES / "llama-Q4_0.gguf", to="tensorrt", out=tmp_path / "out", options={"weights": "nvfp4"}
    )  # fmt: skip
    assert {row.grade for row in report.tensors} == {Grade.EXACT}
    assert any("int8" in row.encoding for row in report.tensors)
    assert not report.conditions


def test_every_wish_is_an_option() -> None:
    from w2e_tensorrt import TENSORRT

    (option,) = [o for o in TENSORRT.options if o.name == "weights"]
    assert option.choices == WISHES
    assert set(WISHED) | {option.default} == set(WISHES)


@pytest.fixture(scope="module")
def affine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of blocks with minimums, and ONNX Runtime's of the same with floats."""
    there = tmp_path_factory.mktemp("affine")
    source = FIXTURES / "llama-Q4_K_M.gguf"
    report = w2e_bridge.convert(source, to="tensorrt", out=there / "trt")
    assert {row.grade for row in report.tensors} == {Grade.EXACT}
    assert any(row.encoding.startswith("DequantizeLinear int8 + Add") for row in report.tensors)
    w2e_bridge.convert(
        source, to="onnx", out=there / "ort", options={"activations": "float"}, allow_float=True
    )
    return there / "trt" / "model.onnx", there / "ort" / "model.onnx"


def test_minimums_are_found_again(affine: tuple[Path, Path]) -> None:
    source = w2e_bridge.open(FIXTURES / "llama-Q4_K_M.gguf")
    again = w2e_bridge.open(affine[0])
    found = 0
    for name, tensor in source.tensors.items():
        np.testing.assert_array_equal(tensor.dequantize(), again.tensors[name].dequantize())
        offset = again.tensors[name].encoding.offset
        found += offset is not None and offset.kind is OffsetKind.BIAS
    assert found > 10


def test_minimums_compute_what_they_mean(affine: tuple[Path, Path]) -> None:
    results = []
    for path in affine:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        ids = np.arange(3, 14, dtype=np.int64)[None]
        feed: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        for given in session.get_inputs():
            if given.name.startswith("past_key_values."):
                feed[given.name] = np.zeros([1, given.shape[1], 0, given.shape[3]], np.float32)
        results.append(session.run(["logits"], feed)[0])
    assert np.abs(results[0] - results[1]).max() < 1e-4 * np.abs(results[1]).max()


def test_minimums_are_parsed(affine: tuple[Path, Path]) -> None:
    parsed = Parsed(b"", affine[0])
    assert parsed.ok, parsed.errors
    assert not errors(affine[0])


def test_what_no_form_holds_is_refused(tmp_path: Path) -> None:
    g = Graph()
    codes = np.random.default_rng(1).integers(0, 256, (N, K))
    zero = np.where(np.arange(N) % 2, 0, 255)
    scale = np.full(N, 0.01)
    inputs = [g.constant("w", codes, 2), g.constant("s", scale), g.constant("z", zero, 2)]
    w = g.node("DequantizeLinear", inputs, axis=0)
    g.node("MatMul", ["x", g.node("Transpose", [w], perm=[1, 0])], "y")
    with pytest.raises(LossError):
        converted(g.model((2, K), (2, N), 21), tmp_path)
