"""Networks of the usual shapes with random weights, and what ONNX Runtime's quantizer makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]


@dataclass(slots=True)
class Net:
    """Collects nodes and weights; its input is "x"."""

    shape: Sequence[int]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    chance: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its first output."""
        name = f"{op.lower()}{len(self.nodes)}"
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        self.nodes.append(helper.make_node(op, inputs, names, name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant."""
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(value, dtype)
        return name

    def drawn(self, *shape: int, fan: int = 1) -> str:
        """Add random weights."""
        return self.constant(self.chance.normal(size=shape) * fan**-0.5, np.float32)

    def conv(self, x: str, shape: Sequence[int], stride: int = 1, group: int = 1) -> str:
        """A convolution with a bias, "same" where the stride is 1."""
        outputs, depth, kernel = shape
        fan = depth * kernel * kernel
        weights = self.drawn(outputs, depth, kernel, kernel, fan=fan)
        return self.node(
            "Conv", x, weights, self.drawn(outputs, fan=100), kernel_shape=[kernel, kernel],
            strides=[stride, stride], pads=[kernel // 2] * 4, group=group,
        )  # fmt: skip

    def relu6(self, x: str) -> str:
        """Clip to 0..6."""
        return self.node("Clip", x, self.constant(0, np.float32), self.constant(6, np.float32))

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        """A Gemm."""
        weights = self.drawn(outputs, inputs, fan=inputs)
        return self.node("Gemm", x, weights, self.drawn(outputs, fan=100), transB=1)

    def flat(self, x: str) -> str:
        """The mean of each channel, as a vector."""
        return self.node("Flatten", self.node("GlobalAveragePool", x), axis=1)

    def proto(self, *outputs: str, inputs: Sequence[str] = ("x",)) -> onnx.ModelProto:
        """The model; all inputs have the same shape."""
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(x, TensorProto.FLOAT, self.shape) for x in inputs],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(a, name) for name, a in self.weights.items()],
        )
        versions = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=versions, ir_version=10)
        return onnx.shape_inference.infer_shapes(model)


def straight(*, head: bool = True) -> onnx.ModelProto:
    """Convolutions only, of all kinds."""
    net = Net((1, 3, 16, 16))
    x = net.relu6(net.conv("x", (8, 3, 3), stride=2))
    x = net.node("Relu", net.conv(x, (8, 1, 3), group=8))
    x = net.conv(x, (16, 8, 1))
    x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = net.node("Relu", net.conv(x, (12, 8, 3), group=2))
    if head:
        x = net.dense(net.node("Flatten", x, axis=1), 12 * 16, 5)
    return net.proto(x)


def residual() -> onnx.ModelProto:
    """Two blocks, of which one halves the image, as in ResNet."""
    net = Net((1, 3, 16, 16))
    x = net.node("Relu", net.conv("x", (8, 3, 3)))
    for stride, width in ((1, 8), (2, 16)):
        depth = 8
        inner = net.node("Relu", net.conv(x, (width, depth, 3), stride=stride))
        inner = net.conv(inner, (width, width, 3))
        short = x if stride == 1 else net.conv(x, (width, depth, 1), stride=stride)
        x = net.node("Relu", net.node("Add", inner, short))
    return net.proto(net.node("Softmax", net.dense(net.flat(x), 16, 10), axis=-1))


def depthwise() -> onnx.ModelProto:
    """Pairs of convolutions, each channel by itself and across channels, as in MobileNet."""
    net = Net((1, 1, 20, 10))
    x = net.node("Relu", net.conv("x", (16, 1, 5), stride=2))
    for _ in range(2):
        x = net.node("Relu", net.conv(x, (16, 1, 3), group=16))
        x = net.node("Relu", net.conv(x, (16, 16, 1)))
    x = net.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    return net.proto(net.dense(net.flat(x), 16, 4))


def mobile() -> onnx.ModelProto:
    """Inverted residuals, as in MobileNet v2."""
    net = Net((1, 3, 24, 24))
    x = net.relu6(net.conv("x", (8, 3, 3), stride=2))
    width = 8
    for outputs, stride, expand in ((8, 1, 1), (12, 2, 4), (12, 1, 4), (16, 2, 4), (16, 1, 4)):
        inner, wide = x, width * expand
        if expand > 1:
            inner = net.relu6(net.conv(inner, (wide, width, 1)))
        inner = net.relu6(net.conv(inner, (wide, 1, 3), stride=stride, group=wide))
        inner = net.conv(inner, (outputs, wide, 1))
        x = net.node("Add", x, inner) if (outputs, stride) == (width, 1) else inner
        width = outputs
    x = net.relu6(net.conv(x, (32, width, 1)))
    return net.proto(net.dense(net.flat(x), 32, 10))


def gated() -> onnx.ModelProto:
    """Squeeze and excitation, a concatenation, a resize: as in EfficientNet and U-Net."""
    net = Net((1, 3, 16, 16))
    x = net.conv("x", (8, 3, 3))
    x = net.node("Mul", x, net.node("Sigmoid", x))
    gate = net.node("GlobalAveragePool", x)
    gate = net.node("Relu", net.conv(gate, (4, 8, 1)))
    gate = net.node("Sigmoid", net.conv(gate, (8, 4, 1)))
    x = net.node("Mul", x, gate)
    low = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    low = net.node("LeakyRelu", net.conv(low, (8, 8, 3)), alpha=0.125)
    scales = net.constant([1, 1, 2, 2], np.float32)
    high = net.node(
        "Resize", low, "", scales, mode="nearest", nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )  # fmt: skip
    return net.proto(net.conv(net.node("Concat", high, x, axis=1), (2, 16, 1)))


def encoder(tokens: int = 6, width: int = 16, heads: int = 2) -> onnx.ModelProto:
    """A block of a transformer as exporters write it: attention, norms from parts, a perceptron."""
    net = Net((1, tokens, width))

    def linear(x: str, inputs: int, outputs: int) -> str:
        made = net.node("MatMul", x, net.drawn(inputs, outputs, fan=inputs))
        return net.node("Add", made, net.drawn(outputs, fan=100))

    def norm(x: str) -> str:
        away = net.node("Sub", x, net.node("ReduceMean", x, axes=[-1]))
        squares = net.node("Pow", away, net.constant(2, np.float32))
        variance = net.node("ReduceMean", squares, axes=[-1])
        root = net.node("Sqrt", net.node("Add", variance, net.constant(1e-5, np.float32)))
        made = net.node("Mul", net.node("Div", away, root), net.drawn(width))
        return net.node("Add", made, net.drawn(width))

    def split(x: str, perm: Sequence[int]) -> str:
        shape = net.constant([1, tokens, heads, width // heads], np.int64)
        return net.node("Transpose", net.node("Reshape", x, shape), perm=perm)

    q, k, v = (linear("x", width, width) for _ in range(3))
    scores = net.node("MatMul", split(q, [0, 2, 1, 3]), split(k, [0, 2, 3, 1]))
    scores = net.node("Mul", scores, net.constant((width / heads) ** -0.5, np.float32))
    seen = net.node("MatMul", net.node("Softmax", scores, axis=-1), split(v, [0, 2, 1, 3]))
    whole = net.constant([1, tokens, width], np.int64)
    seen = net.node("Reshape", net.node("Transpose", seen, perm=[0, 2, 1, 3]), whole)
    x = norm(net.node("Add", linear(seen, width, width), "x"))
    half = net.constant(0.5, np.float32)
    wide = linear(x, width, 4 * width)
    bent = net.node("Erf", net.node("Mul", wide, net.constant(2**-0.5, np.float32)))
    bent = net.node("Mul", wide, net.node("Add", bent, net.constant(1, np.float32)))
    x = norm(net.node("Add", linear(net.node("Mul", bent, half), 4 * width, width), x))
    return net.proto(x)


NETWORKS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "straight": straight,
    "residual": residual,
    "depthwise": depthwise,
    "mobile": mobile,
    "gated": gated,
    "encoder": encoder,
}


def litert(path: Path, feeds: Mapping[str, Array]) -> list[Array]:
    """What LiteRT's default kernels make; extents known at run time only are those of what is fed."""
    interpreter = Interpreter(str(path), num_threads=1)
    for detail in interpreter.get_input_details():
        value = feeds[detail["name"]]
        if tuple(detail["shape"]) != value.shape:
            interpreter.resize_tensor_input(detail["index"], value.shape)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]


def inputs_of(model: onnx.ModelProto, count: int, seed: int = 1) -> list[Array]:
    """Random inputs."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    shape = [d.dim_value for d in dims]
    chance = np.random.default_rng(seed)
    return [chance.normal(size=shape).astype(np.float32) for _ in range(count)]


def quantized(model: onnx.ModelProto, folder: Path, spelling: str, *, channels: bool) -> Path:
    """A network as `onnxruntime.quantization.quantize_static` makes it.

    Args:
        model: of floats.
        folder: for the files.
        spelling: form, activations, weights: "QDQ QUInt8 QInt8".
        channels: whether weights have a scale for each channel; those of convolutions are signed then.
            Signed codes have 7 bits, since without VNNI products of uint8 and int8 saturate in the
            runtime's kernels.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        class Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                self.feeds: Iterator[Array] = iter(inputs_of(model, 3))

            def get_next(self) -> dict[str, Array] | None:
                feed = next(self.feeds, None)
                return None if feed is None else {"x": feed}

        form, activations, weights = spelling.split()
        source, target = folder / "float.onnx", folder / "quantized.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            Reader(),
            quant_format=QuantFormat[form],
            per_channel=channels,
            reduce_range=channels or weights == "QInt8",
            weight_type=QuantType[weights],
            activation_type=QuantType[activations],
        )
    return target
