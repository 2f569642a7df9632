"""Constants of files, their bits and scales, with LiteRT's DEQUANTIZE and numpy as judges."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import ml_dtypes
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated
from numpy.typing import NDArray

from tests.w2e_tflite.maker import Op, Spec, build, const, litert, one_op
from tests.w2e_tflite.through import lifted, same_in_litert, through, written
from w2e_bridge.errors import FormatError
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor


def constants(data: bytes) -> dict[str, bytes]:
    """Names of constants and their bytes, as LiteRT's own reader has them."""
    model = generated.ModelT.InitFromPackedBuf(data, 0)
    found = {}
    for tensor in model.subgraphs[0].tensors:
        held = model.buffers[tensor.buffer].data
        if held is not None and len(held):
            found[tensor.name.decode()] = bytes(held)
    return found


def dequantized(w: Spec) -> bytes:
    """x + DEQUANTIZE(w)."""
    floats = Spec("floats", w.shape)
    x, y = Spec("x", w.shape), Spec("y", w.shape)
    return build([Op("DEQUANTIZE", [w], [floats]), Op("ADD", [x, floats], [y])])


CODES = np.random.default_rng(0).integers(-8, 8, (4, 6))
CASES = {
    "int8": const("w", CODES * 9, "int8", scale=0.25, zero=-3),
    "int8 channels": const("w", CODES * 9, "int8", scale=[0.1, 0.2, 0.3, 0.4]),
    "uint8": const("w", CODES * 9 + 128, "uint8", scale=0.125, zero=131),
    "int16": const("w", CODES * 1000, "int16", scale=1e-3),
    "int4": const("w", CODES, "int4", scale=0.5),
    "int4 odd": const("w", CODES[:3, :5], "int4", scale=0.5),
    "int4 channels": const("w", CODES, "int4", scale=[1.0, 2.0, 3.0, 4.0]),
    "float16": const("w", CODES / 3, "float16"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_constant_decodes_to(name: str, tmp_path: Path) -> None:
    spec = CASES[name]
    data = dequantized(spec)
    model = lifted(data, tmp_path)
    tensor = model.tensors["w"]
    assert (tensor.shape, tensor.dtype) == (spec.shape, "float32")
    (want,) = litert(data, [np.zeros(spec.shape)], reference=True)[0]
    np.testing.assert_array_equal(tensor.dequantize(), want)
    back = written(model, tmp_path / "out")
    assert constants(back)["w"] == constants(data)["w"]
    same_in_litert(data, back)


@pytest.mark.parametrize("name", CASES)
def test_the_dequantize_is_written_again(name: str, tmp_path: Path) -> None:
    back = generated.ModelT.InitFromPackedBuf(through(dequantized(CASES[name]), tmp_path), 0)
    assert len(back.subgraphs[0].operators) == 2
    one, other = back.subgraphs[0].operators
    tensors = back.subgraphs[0].tensors
    assert tensors[one.inputs[0]].name == b"w"
    assert one.outputs[0] in other.inputs


def plain(spec: Spec, folder: Path) -> Tensor:
    """The tensor of a constant that an operator reads."""
    y = Spec("y", spec.shape, spec.dtype)
    model = lifted(one_op("ADD", [Spec("x", spec.shape, spec.dtype)], [spec], [y]), folder)
    return model.tensors[spec.name]


@pytest.mark.parametrize(
    "dtype", ["float32", "int32", "int64", "uint8", "int8", "int16", "float64"]
)
def test_plain_numbers(dtype: str, tmp_path: Path) -> None:
    numbers = np.arange(1, 1201).reshape(40, 30) % 120
    tensor = plain(const("w", numbers.astype(dtype)), tmp_path)
    assert (tensor.dtype, tensor.encoding.quantized) == (dtype, False)
    np.testing.assert_array_equal(tensor.storage.parts(0, tensor.rows).codes, numbers)


def test_codes_that_no_scale_explains_stay_integers(tmp_path: Path) -> None:
    tensor = plain(const("w", CODES, "int8"), tmp_path)
    assert tensor.dtype == "int8"
    assert not tensor.encoding.quantized


def product(
    w: Spec, b: Spec | None, folder: Path, changes: Mapping[str, Mapping[str, object]] | None = None
) -> Model:
    """A fully connected layer, with fields of the quantization of some tensors changed."""
    x, y = Spec("x", (1, w.shape[1]), "int8", 0.5), Spec("y", (1, w.shape[0]), "int8", 1.0)
    data = one_op("FULLY_CONNECTED", [x], [w, b], [y])
    model = generated.ModelT.InitFromPackedBuf(data, 0)
    for tensor in model.subgraphs[0].tensors:
        for key, value in (changes or {}).get(tensor.name.decode(), {}).items():
            setattr(tensor.quantization, key, value)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return lifted(bytes(builder.Output()), folder)


def layer() -> tuple[Spec, Spec]:
    w = const("w", CODES, "int8", scale=[0.1, 0.2, 0.3, 0.4])
    return w, const("b", [1, 2, 3, 4], "int32", scale=[0.05, 0.1, 0.15, 0.2])


def test_a_stray_dimension_is_repaired_and_told(tmp_path: Path) -> None:
    model = product(*layer(), tmp_path, {"b": {"quantizedDimension": 3}})
    (remark,) = model.remarks
    assert remark.name == "b"
    assert remark.reason == "quantized_dimension 3 of 1 dimensions, read as 0"
    expected = np.array([1, 2, 3, 4]) * np.array([0.05, 0.1, 0.15, 0.2], np.float32)
    np.testing.assert_array_equal(model.tensors["b"].dequantize(), expected.astype(np.float32))
    back = generated.ModelT.InitFromPackedBuf(written(model, tmp_path / "out"), 0)
    (bias,) = [t for t in back.subgraphs[0].tensors if t.name == b"b"]
    assert bias.quantization.quantizedDimension == 0


def test_a_dimension_that_no_axis_explains(tmp_path: Path) -> None:
    w = const("w", CODES[:3], "int8", scale=[0.1, 0.2, 0.3, 0.4], axis=1)
    with pytest.raises(FormatError, match=r"'w': 4 scales along dimension 1 of \(3, 6\)"):
        product(w, None, tmp_path)
    square = const("w", np.ones((4, 4)), "int8", scale=[0.1, 0.2, 0.3, 0.4])
    with pytest.raises(FormatError, match="4 scales along dimension 7"):
        product(square, None, tmp_path, {"w": {"quantizedDimension": 7}})


def test_zero_points_that_are_no_codes(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="'w': zero points from 300 to 300 of int8 codes"):
        product(*layer(), tmp_path, {"w": {"zeroPoint": np.full(4, 300)}})
    with pytest.raises(FormatError, match="4 scales, 3 zero points"):
        product(*layer(), tmp_path, {"w": {"zeroPoint": np.ones(3, np.int64)}})


def test_too_few_bytes(tmp_path: Path) -> None:
    w = Spec("w", (4, 6), "int8", scale=0.5, data=CODES[:3])
    with pytest.raises(FormatError, match=r"'w': expected 24 bytes of int8 \(4, 6\), found 18"):
        product(w, None, tmp_path)


def test_channels_of_any_axis(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(-127, 128, (1, 2, 2, 3))
    w = const("w", numbers, "int8", scale=[0.1, 0.2, 0.3], axis=3)
    b = const("b", [1, 2, 3], "int32", scale=[0.05, 0.1, 0.15])
    x, y = Spec("x", (1, 4, 4, 3), "int8", 0.5), Spec("y", (1, 4, 4, 3), "int8", 2.0)
    options = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1}
    data = one_op("DEPTHWISE_CONV_2D", [x], [w, b], [y], options)
    model = lifted(data, tmp_path)
    scales = np.array([0.1, 0.2, 0.3], np.float32)
    expected = numbers.astype(np.float32) * scales
    np.testing.assert_array_equal(model.tensors["w"].dequantize(), expected)
    same_in_litert(data, written(model, tmp_path / "out"))


def _blockwise(scales: NDArray[Any], size: int) -> bytes:
    """A fully connected layer of 4-bit codes in blocks, on floats."""
    w = const("w", np.tile(CODES, (1, 6))[:, :32], "int4")
    held = const("w_scales", scales)
    x, y = Spec("x", (1, 32)), Spec("y", (1, 4))
    add = Op("ADD", [held, held], [Spec("used", scales.shape, str(scales.dtype))])
    model = generated.ModelT.InitFromPackedBuf(
        build([Op("FULLY_CONNECTED", [x, w, None], [y], version=1), add], outputs=[y]), 0
    )
    graph = model.subgraphs[0]
    graph.operators.pop()
    (index,) = [i for i, t in enumerate(graph.tensors) if t.name == b"w_scales"]
    (tensor,) = [t for t in graph.tensors if t.name == b"w"]
    tensor.quantization = generated.QuantizationParametersT()
    tensor.quantization.detailsType = generated.QuantizationDetails.BlockwiseQuantization
    tensor.quantization.details = generated.BlockwiseQuantizationT()
    tensor.quantization.details.scales = index
    tensor.quantization.details.zeroPoints = -1
    tensor.quantization.details.blockSize = size
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_scales_of_blocks(tmp_path: Path) -> None:
    scales = np.array([[1.5], [0.25], [2.0], [0.125]], np.float16)
    data = _blockwise(scales, 32)
    model = lifted(data, tmp_path)
    tensor = model.tensors["w"]
    assert tensor.encoding.block == (32,)
    assert str(tensor.encoding.scale) == "float16"
    codes = np.tile(CODES, (1, 6))[:, :32]
    np.testing.assert_array_equal(tensor.dequantize(), codes * scales.astype(np.float32))
    back = written(model, tmp_path / "out")
    assert constants(back)["w"] == constants(data)["w"]
    assert constants(back)["w_scales"] == constants(data)["w_scales"]
    same_in_litert(data, back, reference=False)


@pytest.mark.parametrize(
    ("scales", "size"), [(np.ones((4, 2), np.float16), 32), (np.ones((4, 1), np.int32), 32)]
)
def test_scales_of_other_blocks(scales: NDArray[Any], size: int, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="'w': scales of"):
        lifted(_blockwise(scales, size), tmp_path)


def test_two_bits(tmp_path: Path) -> None:
    codes = np.random.default_rng(2).integers(-2, 2, (4, 8))
    w = const("w", codes, "int2", scale=[0.5, 0.25, 1.0, 2.0])
    data = build(
        [Op("FULLY_CONNECTED", [Spec("x", (1, 8)), w, None], [Spec("y", (1, 4))], version=14)]
    )
    model = lifted(data, tmp_path)
    scales = np.array([[0.5], [0.25], [1.0], [2.0]], np.float32)
    np.testing.assert_array_equal(model.tensors["w"].dequantize(), codes * scales)
    back = written(model, tmp_path / "out")
    assert constants(back)["w"] == constants(data)["w"]


def test_bfloat16_bits(tmp_path: Path) -> None:
    numbers = np.arange(800, dtype=np.float32).reshape(2, 400).astype(ml_dtypes.bfloat16)
    x, y = Spec("x", (2, 400), "bfloat16"), Spec("y", (2, 400), "bfloat16")
    w = Spec("w", (2, 400), "bfloat16", data=numbers.view(np.uint16))
    tensor = lifted(one_op("ADD", [x], [w], [y]), tmp_path).tensors["w"]
    assert tensor.dtype == "bfloat16"
    np.testing.assert_array_equal(tensor.dequantize(), numbers.astype(np.float32))


def test_nothing_in_a_constant(tmp_path: Path) -> None:
    shape = const("shape", np.empty(0), "int32")
    data = one_op("RESHAPE", [Spec("x", (1, 1))], [shape], [Spec("y", ())])
    back = through(data, tmp_path)
    same_in_litert(data, back)
