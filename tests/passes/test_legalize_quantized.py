"""Quantized ONNX models as integer TensorFlow Lite: the codes stay, LiteRT computes what ONNX Runtime does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from tests.passes.evaluation import AnyArray, Net, evaluated, feeds_of, lifted, litert_of, ready
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.loss import Grade
from w2e_bridge.passes.layout import ChannelsLast
from w2e_bridge.passes.legalize import Legalize, SatisfyConstraints


def kinds(model: Model) -> Counter[str]:
    """How many operations of each kind a model in the writer's form has."""
    assert model.graph is not None
    steps = cover(model.graph.graph, Scope(tensors=model.tensors, values=model.activations))
    assert all(isinstance(step, Operation) for step in steps)
    return Counter(step.kind for step in steps if isinstance(step, Operation))


def rounded(net: Net, value: str, scale: float, zero: int, dtype: Any = np.int8) -> str:
    parameters = net.constant(np.float32(scale)), net.constant(np.array(zero, dtype))
    return str(
        net.add("DequantizeLinear", net.add("QuantizeLinear", value, *parameters), *parameters)
    )


def weight(
    net: Net, shape: tuple[int, ...], axis: int | None = 0, zero: int = 0, dtype: Any = np.int8
) -> str:
    """Codes with scales that are powers of two, so that sums are exact in float32."""
    low, high = (-127, 128) if dtype == np.int8 else (0, 256)
    numbers = net.constant(net.chance.integers(low, high, shape), dtype)
    count: Any = () if axis is None else shape[axis]
    scale = net.constant(2.0 ** -net.chance.integers(5, 8, count), np.float32)
    zeros = net.constant(np.full(count, zero), dtype)
    return str(net.add("DequantizeLinear", numbers, scale, zeros, axis=axis or 0))


def exact(net: Net, output: str, folder: Path, losses: tuple[Grade, ...] = ()) -> Model:
    """Equal in LiteRT and, unfused, in ONNX Runtime; what the constraints cost is as expected."""
    model = lifted(net.proto(output), folder)
    feeds = feeds_of(model)
    result = SatisfyConstraints()(ChannelsLast()(Legalize()(model).model).model)
    assert tuple(loss.grade for loss in result.losses) == losses
    (found,), (wanted,) = litert_of(result.model, feeds, folder), evaluated(model, feeds)
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found, wanted)
    return result.model


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_convolution(dtype: Any, tmp_path: Path) -> None:
    net = Net()
    middle = 0 if dtype == np.int8 else 128
    x = rounded(net, net.input(1, 3, 8, 8), 0.0625, middle + 3, dtype)
    a = net.add("Conv", x, weight(net, (4, 3, 3, 3)), pads=[1, 1, 1, 1], strides=[2, 2])
    y = rounded(net, net.add("Relu", a), 0.25, middle - 128, dtype)
    made = exact(net, y, tmp_path)
    assert kinds(made) == {"quantize": 1, "transpose": 2, "pad": 1, "conv_2d": 1, "dequantize": 1}
    assert {str(q.codes) for q in made.activations.values()} == {"int8"}


def test_weights_with_zero_points_take_the_unsigned_kernels(tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(1, 4), 0.0625, 131, np.uint8)
    w = weight(net, (4, 3), axis=None, zero=120, dtype=np.uint8)
    y = rounded(net, net.add("MatMul", x, w), 0.25, 100, np.uint8)
    made = exact(net, y, tmp_path)
    assert kinds(made) == {"quantize": 1, "fully_connected": 1, "dequantize": 1}
    assert {str(q.codes) for q in made.activations.values()} == {"uint8"}


def test_unsigned_weights_around_128_become_signed(tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(1, 4), 0.0625, 131, np.uint8)
    y = rounded(
        net, net.add("MatMul", x, weight(net, (4, 3), 1, 128, np.uint8)), 0.25, 100, np.uint8
    )
    made = exact(net, y, tmp_path)
    assert {str(q.codes) for q in made.activations.values()} == {"int8"}
    (tensor,) = (t for t in made.tensors.values() if str(t.encoding.codes) == "int8")
    assert tensor.encoding.offset is None


@pytest.mark.parametrize(("zero", "integers"), [(5, True), (127, False)])
def test_signed_weights_with_zero_points(zero: int, integers: bool, tmp_path: Path) -> None:
    # Where q - z has 8 bits it is the code; elsewhere the product is one of real numbers.
    net = Net()
    x = rounded(net, net.input(1, 4), 0.0625, 3)
    y = rounded(net, net.add("MatMul", x, weight(net, (4, 3), 1, zero)), 0.25, 7)
    made = kinds(exact(net, y, tmp_path))
    count = 1 if integers else 2
    assert made == {"quantize": count, "fully_connected": 1, "dequantize": count}


@pytest.mark.parametrize(("value", "grade"), [(0.5, ()), (0.3, (Grade.ROUNDING,))])
def test_a_bias_of_real_numbers(value: float, grade: tuple[Grade, ...], tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(2, 4), 0.0625, 3)
    numbers = net.constant(np.full(3, value, np.float32))
    w = net.constant(net.chance.integers(-127, 128, (3, 4)), np.int8)
    scale = net.constant(np.float32(0.0625))
    w = net.add("DequantizeLinear", w, scale)
    y = rounded(net, net.add("Gemm", x, w, numbers, transB=1), 0.25, 7)
    made = exact(net, y, tmp_path, grade)
    assert kinds(made)["fully_connected"] == 1
    assert str(made.tensors["w2"].encoding.codes) == "int32"


def test_what_is_only_moved_keeps_its_quantization(tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(1, 4, 6, 6), 0.0625, 3)
    a = net.add(
        "Transpose", net.add("Slice", x, net.ints(1), net.ints(5), net.ints(2)), perm=[0, 2, 3, 1]
    )
    y = rounded(net, net.add("Reshape", a, net.ints(1, -1)), 0.0625, 3)
    made = exact(net, y, tmp_path)
    assert set(kinds(made)) == {"quantize", "slice", "transpose", "reshape", "dequantize"}
    assert kinds(made)["quantize"] == 1


def test_unlike_quantization_of_what_is_put_together(tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(1, 4), 0.0625, 3)
    a = rounded(net, net.input(1, 4), 0.125, -3)
    y = rounded(net, net.add("Concat", x, a, axis=1), 0.125, 1)
    assert kinds(exact(net, y, tmp_path)) == {"quantize": 4, "concatenation": 1, "dequantize": 1}


def test_a_maximum_moves_through_requantization(tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(1, 4, 6, 6), 0.0625, 3)
    y = rounded(
        net,
        net.add("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
        0.03125,
        0,
    )
    exact(net, y, tmp_path)


def test_one_number_is_a_code_of_its_own(tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(2, 4), 0.0625, 3)
    a = rounded(net, net.add("Mul", x, net.constant(np.float32(-0.5))), 0.03125, 4)
    y = rounded(net, net.add("Add", a, net.constant(np.float32(0.25))), 0.03125, 0)
    assert kinds(exact(net, y, tmp_path)) == {"quantize": 1, "mul": 1, "add": 1, "dequantize": 1}


@pytest.mark.parametrize("op", ["Softmax", "Sigmoid", "Tanh"])
def test_kernels_with_a_quantization_of_their_own(op: str, tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(2, 16), 0.0625, 3)
    y = rounded(net, net.add(op, x), 1 / 64, -10)
    model = lifted(net.proto(y), tmp_path)
    feeds = feeds_of(model)
    made = ready(model)
    assert kinds(made)["quantize"] == 2
    (found,), (wanted,) = litert_of(made, feeds, tmp_path), evaluated(model, feeds)
    assert np.abs(found - wanted).max() <= 1 / 64


def test_no_integer_kernel(tmp_path: Path) -> None:
    net = Net()
    x = rounded(net, net.input(2, 16), 0.0625, 3)
    y = rounded(net, net.add("Floor", x), 0.25, -10)
    assert kinds(exact(net, y, tmp_path)) == {"quantize": 2, "floor": 1, "dequantize": 2}


def test_public_codes_keep_their_type(tmp_path: Path) -> None:
    net = Net()
    scale, zero = net.constant(np.float32(0.0625)), net.constant(np.array(130, np.uint8))
    x = net.add("DequantizeLinear", net.input(1, 4, dtype=onnx.TensorProto.UINT8), scale, zero)
    made = net.add("MatMul", x, weight(net, (4, 3), 1))
    other = net.constant(np.float32(0.25)), net.constant(np.array(100, np.uint8))
    y = net.add("QuantizeLinear", made, *other)
    model = ready(lifted(net.proto(y), tmp_path))
    assert kinds(model) == {"quantize": 2, "fully_connected": 1}
    feeds = {"x0": np.array([[0, 130, 200, 255]], np.uint8)}
    (found,) = litert_of(model, feeds, tmp_path)
    assert found.dtype == np.uint8
    (wanted,) = ReferenceEvaluator(net.proto(y)).run(None, feeds)
    np.testing.assert_array_equal(found, wanted)


class Reader:
    """Random images for calibration."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        chance = np.random.default_rng(1)
        images = [chance.normal(size=shape).astype(np.float32) for _ in range(4)]
        self.left: Iterator[Mapping[str, AnyArray]] = iter([{name: image} for image in images])

    def get_next(self) -> Mapping[str, AnyArray] | None:
        return next(self.left, None)


def network() -> onnx.ModelProto:
    net = Net()
    x = net.input(1, 3, 16, 16)
    a = net.add("Conv", x, net.weight(8, 3, 3, 3), net.weight(8), pads=[1, 1, 1, 1], strides=[2, 2])
    a = net.add("Relu", a)
    b = net.add("Conv", a, net.weight(8, 1, 3, 3), net.weight(8), pads=[1, 1, 1, 1], group=8)
    b = net.add("Clip", b, net.constant(np.float32(0)), net.constant(np.float32(6)))
    c = net.add("Add", a, net.add("Conv", b, net.weight(8, 8, 1, 1)))
    d = net.add("MaxPool", c, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    e = net.add("Concat", d, net.add("AveragePool", c, kernel_shape=[2, 2], strides=[2, 2]), axis=1)
    e = net.add("Mul", e, net.add("Sigmoid", e))
    f = net.add("Flatten", net.add("GlobalAveragePool", e))
    return net.proto(net.add("Softmax", net.add("Gemm", f, net.weight(16, 10), net.weight(10))))


EXPECTED = {
    "transpose": 1, "pad": 1, "conv_2d": 2, "depthwise_conv_2d": 1, "add": 1, "padv2": 1, "max_pool_2d": 1,
    "average_pool_2d": 1, "concatenation": 1, "logistic": 1, "mul": 1, "mean": 1, "reshape": 1,
    "fully_connected": 1, "softmax": 1, "dequantize": 1,
}  # fmt: skip


COARSE = ("QUInt8 QUInt8", "QOperator")


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize(
    ("types", "channels"),
    [("QInt8 QInt8", True), ("QUInt8 QInt8", False), ("QUInt8 QUInt8", False)],
)
def test_what_onnxruntime_quantizes(types: str, channels: bool, form: str, tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    activations, weights = types.split()
    plain, path = tmp_path / "plain.onnx", tmp_path / "quantized.onnx"
    onnx.save(network(), plain)
    quantize_static(
        str(plain), str(path), Reader("x0", (1, 3, 16, 16)), quant_format=getattr(QuantFormat, form),
        activation_type=getattr(QuantType, activations), weight_type=getattr(QuantType, weights),
        per_channel=channels,
    )  # fmt: skip
    model = lifted(onnx.load(path), tmp_path)
    made = ready(model)
    found = kinds(made)
    del found["quantize"]
    # Unsigned codes have no wider ones to average in: real numbers, where steps differ by far.
    assert found == EXPECTED | ({"dequantize": 2} if (types, form) == COARSE else {})
    feeds = feeds_of(model)
    (a,), (b,) = (
        litert_of(made, feeds, tmp_path),
        evaluated(replace(model, numerics="float"), feeds),
    )
    assert np.abs(a - b).max() < 0.03
    kept = {name for name, tensor in made.tensors.items() if tensor.encoding.quantized}
    assert {name for name, tensor in model.tensors.items() if tensor.encoding.quantized} <= kept


def test_activations_of_16_bits(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_static

    plain, path = tmp_path / "plain.onnx", tmp_path / "quantized.onnx"
    onnx.save(network(), plain)
    quantize_static(
        str(plain), str(path), Reader("x0", (1, 3, 16, 16)), activation_type=QuantType.QInt16,
        weight_type=QuantType.QInt8, per_channel=True,
        extra_options={"ActivationSymmetric": True, "UseQDQContribOps": False},
    )  # fmt: skip
    model = lifted(onnx.load(path), tmp_path)
    made = ready(model)
    assert kinds(made)["dequantize"] == 1
    biases = {t.name for t in made.tensors.values() if str(t.encoding.codes) == "int64"}
    assert len(biases) == 4
    feeds = feeds_of(model)
    (a,), (b,) = litert_of(made, feeds, tmp_path), evaluated(model, feeds)
    assert np.abs(a - b).max() < 0.001
