"""Weights that kernels read in the way they are stored: sparse, or with scales of blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated
from numpy.typing import NDArray

import w2e_bridge
from tests.w2e_onnx.litert.steps import again, litert, onnx_of, opened, run
from tests.w2e_tflite.maker import Op, Spec, build, const
from tests.w2e_tflite.test_sparsity import sparse_file
from w2e_tflite.sparsity import Pattern

Array = NDArray[Any]
UNITS, DEPTH, BLOCK = 24, 64, 32


def sparse() -> bytes:
    """FULLY_CONNECTED of sparse int8 weights, in the blocks that LiteRT's kernel knows."""
    random = np.random.default_rng(0)
    dense = random.integers(-127, 128, (UNITS, DEPTH // 16, 16)).astype(np.int8)
    dense[random.random((UNITS, DEPTH // 16)) < 0.5] = 0
    dense = dense.reshape(UNITS, DEPTH)
    pattern = Pattern(
        order=(0, 1, 2),
        block_map=(1,),
        sizes=(UNITS, DEPTH // 16, 16),
        listed={1: ("Uint8Vector", "Uint8Vector")},
    )
    scales = random.uniform(0.001, 0.01, UNITS).astype(np.float32)
    x = Spec("x", (32, DEPTH), "int8", scale=0.05, zero=-3)
    w = const("w", dense, scale=scales.tolist(), zero=[0] * UNITS)
    b = const("b", random.integers(-3000, 3000, UNITS).astype(np.int32),
              scale=(scales * np.float32(0.05)).tolist(), zero=[0] * UNITS)  # fmt: skip
    y = Spec("y", (32, UNITS), "int8", scale=0.11, zero=7)
    return sparse_file(dense, pattern, [Op("FULLY_CONNECTED", [x, w, b], [y], version=8)])


def in_blocks(rows: int) -> bytes:
    """FULLY_CONNECTED of floats and int4 weights with a scale for each so many of a row."""
    random = np.random.default_rng(1)
    scales = random.uniform(0.01, 0.1, (UNITS, DEPTH // BLOCK)).astype(np.float16)
    x, y = Spec("x", (rows, DEPTH)), Spec("y", (rows, UNITS))
    w = const("w", random.integers(-7, 8, (UNITS, DEPTH)), "int4", scale=1.0)
    held = const("scales", scales)
    unused = Spec("unused", scales.shape, "float16")
    data = build(
        [Op("FULLY_CONNECTED", [x, w, None], [y], version=13), Op("ADD", [held, held], [unused])]
    )
    model = generated.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    names = [tensor.name for tensor in graph.tensors]
    quantization = graph.tensors[names.index(b"w")].quantization
    quantization.scale = quantization.zeroPoint = None
    details = generated.BlockwiseQuantizationT()
    details.scales, details.zeroPoints, details.blockSize = names.index(b"scales"), -1, BLOCK
    quantization.detailsType = generated.QuantizationDetails.BlockwiseQuantization
    quantization.details = details
    graph.operators, model.operatorCodes = graph.operators[:1], model.operatorCodes[:1]
    graph.outputs = [names.index(b"y")]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("reference", [False, True])
def test_sparse(tmp_path: Path, reference: bool) -> None:
    data = sparse()
    x = np.random.default_rng(2).integers(-128, 128, (32, DEPTH)).astype(np.int8)
    made = onnx_of(opened(data, tmp_path), reference=reference)
    wanted = litert(data, [[x]], reference=reference)[0][0]
    np.testing.assert_array_equal(run(made, [[x]])[0][0], wanted)
    back = litert(again(made, tmp_path), [[x]], reference=reference)[0][0]
    np.testing.assert_array_equal(back, wanted)


@pytest.mark.parametrize("rows", [1, 3])
def test_blocks(tmp_path: Path, rows: int) -> None:
    """The default kernels only: the others read no scales of blocks."""
    data = in_blocks(rows)
    x = np.random.default_rng(3).normal(size=(rows, DEPTH)).astype(np.float32)
    made = onnx_of(opened(data, tmp_path))
    wanted = litert(data, [[x]])[0][0]
    np.testing.assert_allclose(run(made, [[x]])[0][0], wanted, rtol=0, atol=1e-5)
    back = again(made, tmp_path)
    np.testing.assert_array_equal(litert(back, [[x]])[0][0], wanted)
    tensor = w2e_bridge.open(tmp_path / "made.onnx").tensors["w"]
    assert tensor.encoding == w2e_bridge.open(tmp_path / "model.tflite").tensors["w"].encoding
