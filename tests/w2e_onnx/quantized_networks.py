"""Small networks and what ONNX Runtime's own quantizer makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_dynamic as _dynamic
    from onnxruntime.quantization import quantize_static as _static

Array = NDArray[Any]
IMAGE, TOKENS = (1, 3, 8, 8), (1, 6, 16)


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Mapping[str, Array],
    shapes: tuple[Sequence[int], Sequence[int]],
    opset: int,
) -> Path:
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in zip("xy", shapes, strict=True)
    )
    constants = [numpy_helper.from_array(np.asarray(a), name) for name, a in weights.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    versions = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=10), path)
    return path


def _drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    chance = np.random.default_rng(0)
    return {n: (chance.normal(size=s) * 0.3).astype(np.float32) for n, s in shapes.items()}


def images(path: Path, opset: int = 21) -> Path:
    """Convolutions, one of them depthwise, a residual sum, a gate, pools, and a classifier."""
    weights = _drawn(
        {
            "w1": (8, 3, 3, 3), "b1": (8,), "wd": (8, 1, 3, 3), "bd": (8,), "w2": (8, 8, 1, 1),
            "b2": (8,), "wg": (5, 8), "bg": (5,), "wm": (5, 6),
        }
    )  # fmt: skip
    weights |= {
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
        "flat": np.array([1, -1]),
    }
    weights |= {name: np.array([n]) for name, n in (("from", 0), ("to", 8), ("axis", 1))}
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["m1"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["m1", "wd", "bd"], ["d1"], pads=[1, 1, 1, 1], group=8),
        node("Clip", ["d1", "low", "high"], ["k1"]),
        node("Conv", ["k1", "w2", "b2"], ["c2"]),
        node("Add", ["m1", "c2"], ["s"]),
        node("Sigmoid", ["s"], ["g"]),
        node("Mul", ["s", "g"], ["sg"]),
        node("Concat", ["sg", "m1"], ["cc"], axis=1),
        node("Slice", ["cc", "from", "to", "axis"], ["sl"]),
        node("AveragePool", ["sl"], ["ap"], kernel_shape=[2, 2]),
        node("GlobalAveragePool", ["ap"], ["p"]),
        node("Reshape", ["p", "flat"], ["f"]),
        node("Gemm", ["f", "wg", "bg"], ["gm"], transB=1),
        node("MatMul", ["gm", "wm"], ["mm"]),
        node("Softmax", ["mm"], ["y"], axis=-1),
    ]
    return _save(path, nodes, weights, (IMAGE, [1, 6]), opset)


def encoder(path: Path) -> Path:
    """A block of a transformer: attention of two heads, a sum, a norm and a perceptron."""
    width, heads, tokens = TOKENS[2], 2, TOKENS[1]
    names = {f"w{n}": (width, width) for n in "qkvo"} | {f"b{n}": (width,) for n in "qkvo"}
    names |= {"w1": (width, 32), "b1": (32,), "w2": (32, width), "b2": (width,)}
    weights = _drawn(names | dict.fromkeys(("g1", "e1", "g2", "e2"), (width,)))
    weights["heads"] = np.array([1, tokens, heads, width // heads])
    weights["flat"] = np.array(TOKENS)
    weights["root"] = np.array((width / heads) ** -0.5, np.float32)
    node = helper.make_node
    nodes = []
    for n in "qkv":
        nodes += [
            node("MatMul", ["x", f"w{n}"], [f"m{n}"]),
            node("Add", [f"m{n}", f"b{n}"], [f"a{n}"]),
            node("Reshape", [f"a{n}", "heads"], [f"r{n}"]),
            node(
                "Transpose", [f"r{n}"], [f"t{n}"], perm=[0, 2, 3, 1] if n == "k" else [0, 2, 1, 3]
            ),
        ]
    nodes += [
        node("MatMul", ["tq", "tk"], ["s"]),
        node("Mul", ["s", "root"], ["ss"]),
        node("Softmax", ["ss"], ["p"], axis=-1),
        node("MatMul", ["p", "tv"], ["o"]),
        node("Transpose", ["o"], ["ot"], perm=[0, 2, 1, 3]),
        node("Reshape", ["ot", "flat"], ["of"]),
        node("MatMul", ["of", "wo"], ["mo"]),
        node("Add", ["mo", "bo"], ["ao"]),
        node("Add", ["ao", "x"], ["res"]),
        node("LayerNormalization", ["res", "g1", "e1"], ["ln"], axis=-1),
        node("MatMul", ["ln", "w1"], ["f1"]),
        node("Add", ["f1", "b1"], ["fa"]),
        node("Gelu", ["fa"], ["ge"]),
        node("MatMul", ["ge", "w2"], ["f2"]),
        node("Add", ["f2", "b2"], ["fb"]),
        node("Add", ["fb", "ln"], ["sum"]),
        node("LayerNormalization", ["sum", "g2", "e2"], ["y"], axis=-1),
    ]
    return _save(path, nodes, weights, (TOKENS, TOKENS), 21)


class _Reader(CalibrationDataReader):  # type: ignore[misc, unused-ignore]
    def __init__(self, shape: Sequence[int]) -> None:
        chance = np.random.default_rng(1)
        batches = [{"x": chance.normal(size=shape).astype(np.float32)} for _ in range(3)]
        self.batches: Iterator[dict[str, Array]] = iter(batches)

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


NETWORKS = {"images": (images, IMAGE), "encoder": (encoder, TOKENS)}


def static(network: str, folder: Path, spelling: str, *, channels: bool) -> tuple[Path, Array]:
    """A quantized network, and an input for it.

    Args:
        network: "images" or "encoder".
        folder: for the files.
        spelling: form, activations and weights: "QDQ QUInt8 QInt8".
        channels: whether weights have a scale for each channel. Their codes have 7 bits, since without VNNI
            products of uint8 and int8 saturate in the runtime's kernels.
    """
    form, activations, weights = spelling.split()
    build, shape = NETWORKS[network]
    source, target = build(folder / "float.onnx"), folder / "quantized.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _static(
            source,
            target,
            _Reader(shape),
            quant_format=QuantFormat[form],
            per_channel=channels,
            reduce_range=weights == "QInt8",
            weight_type=QuantType[weights],
            activation_type=QuantType[activations],
        )
    return target, np.random.default_rng(5).normal(size=shape).astype(np.float32)


def dynamic(network: str, folder: Path, weights: str, *, channels: bool) -> tuple[Path, Array]:
    """A network whose weights are quantized, and whose values are when it runs."""
    build, shape = NETWORKS[network]
    source, target = build(folder / "float.onnx"), folder / "quantized.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _dynamic(
            source, target, per_channel=channels, weight_type=QuantType[weights], reduce_range=True
        )
    return target, np.random.default_rng(5).normal(size=shape).astype(np.float32)
