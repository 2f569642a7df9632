"""Models as each exporter for TensorRT writes them, one row each: what is in them, and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

AnyArray = NDArray[Any]
F32, F16, INT8, INT4 = (
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8, TensorProto.INT4,
)  # fmt: skip
FP8, FP4, UINT8 = TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT4E2M1, TensorProto.UINT8
IR_VERSIONS = {10: 5, 11: 6, 13: 7, 17: 8, 19: 9, 21: 10, 23: 11}
NUMPY: Mapping[int, Any] = {
    F32: np.float32, F16: np.float16, INT8: np.int8, UINT8: np.uint8,
    FP8: ml_dtypes.float8_e4m3fn, FP4: ml_dtypes.float4_e2m1fn, INT4: ml_dtypes.int4,
}  # fmt: skip

N, K = 32, 64
RANDOM = np.random.default_rng(11)
MATRIX = RANDOM.normal(size=(N, K)).astype(np.float32)
KERNEL = RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32)
CODES = RANDOM.integers(-8, 8, (N, K)).astype(np.float32)


@dataclass(kw_only=True)
class Graph:
    """A model that is being built."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def constant(self, name: str, numbers: object, kind: int = F32) -> str:
        """A constant of any type."""
        array = np.asarray(numbers, np.float32)
        self.constants.append(helper.make_tensor(name, kind, array.shape, array.reshape(-1)))
        return name

    def node(
        self, op: str, inputs: Sequence[str], *outputs: str, domain: str = "", **said: Any
    ) -> str:
        """A node; the name of its first output."""
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, inputs, outputs or [name], name=name, domain=domain, **said)
        )
        return outputs[0] if outputs else name

    def model(self, x: Sequence[int], y: Sequence[int], opset: int, kind: int = F32) -> bytes:
        """One input x, one output y."""
        graph = helper.make_graph(
            self.nodes,
            "exported",
            [helper.make_tensor_value_info("x", kind, x)],
            [helper.make_tensor_value_info("y", kind, y)],
            self.constants,
        )
        imports = [helper.make_opsetid("", opset), helper.make_opsetid("trt", 1)]
        made = helper.make_model(graph, opset_imports=imports, ir_version=IR_VERSIONS[opset])
        return bytes(made.SerializeToString())


@dataclass(frozen=True, kw_only=True)
class Export:
    """A model and what it means.

    Attributes:
        model: the bytes.
        weight: name of its one weight.
        values: what that decodes to.
        encoding: how it is said.
        activation: codes of its one quantized value and "static" or "dynamic", or None.
        parsed: whether TensorRT's parser takes it.
        standard: whether ONNX Runtime runs it.
    """

    model: bytes
    weight: str
    values: AnyArray
    encoding: str
    activation: tuple[str, str] | None = None
    parsed: bool = True
    standard: bool = True


def rounded(array: AnyArray, kind: int, end: float) -> AnyArray:
    """Numbers to codes, as numbers."""
    clipped = np.clip(array.astype(np.float32), -end, end)
    if kind in (FP8, FP4):
        return clipped.astype(NUMPY[kind]).astype(np.float32)
    return np.clip(np.rint(array.astype(np.float32)), -end - 1, end)


def quantized(g: Graph, opset: int, kind: int = F32) -> str:
    """Q and DQ of the input, int8."""
    pair = [g.constant("x_scale", 0.02, kind), g.constant("x_zero", 0, INT8)]
    said: dict[str, Any] = {"axis": 1} if opset >= 13 else {}
    return g.node(
        "DequantizeLinear", [g.node("QuantizeLinear", ["x", *pair], **said), *pair], **said
    )


def convolution(
    opset: int,
    *,
    axis: int | None = 0,
    op: str = "Conv",
    weight: AnyArray = KERNEL,
    turn: Any = None,
) -> Export:
    """PyTorch-Quantization and TF2ONNX: float weights, quantized in the graph, a scale for each channel."""
    g = Graph()
    x = quantized(g, opset)
    count = () if axis is None else (weight.shape[axis],)
    scale = np.abs(RANDOM.normal(size=count) * 0.01 + 0.02).astype(np.float32)
    spread = scale if axis is None else scale.reshape([-1 if a == axis else 1 for a in range(4)])
    pair = [g.constant("w_scale", scale), g.constant("w_zero", np.zeros(count), INT8)]
    said: dict[str, Any] = {} if axis is None else {"axis": axis}
    codes = g.node("QuantizeLinear", [g.constant("w", weight), *pair], **said)
    w = g.node("DequantizeLinear", [codes, *pair], **said)
    if turn:
        w = g.node("Transpose", [w], perm=turn)
    g.node(op, [x, w], "y")
    shapes = {"Conv": ((1, 3, 8, 8), (1, 4, 6, 6)), "ConvTranspose": ((1, 4, 6, 6), (1, 3, 8, 8))}
    values = rounded(weight / spread, INT8, 127) * spread
    first = 1 if axis == 0 else 0  # leading extents of 1 are not named
    extents = ",".join("1" if a == axis else ":" for a in range(first, 4))
    return Export(
        model=g.model(*shapes[op], opset), weight="w", values=values,
        encoding=f"int8[{extents}] × float32", activation=("int8", "static"),
    )  # fmt: skip


def stated(opset: int) -> Export:
    """No zero points: the type of the codes is an attribute."""
    g = Graph()
    scale = g.constant("x_scale", 0.02)
    x = g.node(
        "DequantizeLinear", [g.node("QuantizeLinear", ["x", scale], output_dtype=INT8), scale]
    )
    codes = rounded(MATRIX * 20, INT8, 127)
    step = np.linspace(0.01, 0.02, N, dtype=np.float32)
    w = g.node(
        "DequantizeLinear", [g.constant("w", codes, INT8), g.constant("w_scale", step)], axis=0
    )
    g.node("MatMul", [x, g.node("Transpose", [w], perm=[1, 0])], "y")
    return Export(
        model=g.model((2, K), (2, N), opset), weight="w", values=codes * step[:, None],
        encoding="int8[:] × float32", activation=("int8", "static"),
    )  # fmt: skip


def halves(kind: int, opset: int, end: float, word: str) -> Export:
    """A float16 network: scales are float16 too."""
    g = Graph()
    if kind == INT8:
        x, activation = quantized(g, opset, F16), ("int8", "static")
    else:
        x, activation = "x", None
    step = np.linspace(0.01, 0.02, N, dtype=np.float16)
    codes = rounded(MATRIX * 3, kind, end)
    w = g.node(
        "DequantizeLinear", [g.constant("w", codes, kind), g.constant("w_scale", step, F16)], axis=0
    )
    g.node("MatMul", [x, g.node("Transpose", [w], perm=[1, 0])], "y")
    values = codes * step.astype(np.float32)[:, None]
    return Export(
        model=g.model((2, K), (2, N), opset, F16), weight="w", values=values,
        encoding=f"{word}[:] × float16", activation=activation, standard=kind == INT8,
    )  # fmt: skip


def int4(
    kind: int, axis: int, opset: int = 21, domain: str = "", op: str = "DequantizeLinear"
) -> Export:
    """ModelOpt's INT4 weights: blocks along the axis that the product sums over."""
    g = Graph()
    codes = CODES if axis else CODES.T
    shape = [n // 32 if a == axis else n for a, n in enumerate(codes.shape)]
    step = RANDOM.uniform(0.01, 0.02, shape).astype(NUMPY[kind])
    w = g.node(
        op, [g.constant("w", codes, INT4), g.constant("w_scale", step, kind)],
        domain=domain, axis=axis, block_size=32,
    )  # fmt: skip
    g.node("MatMul", ["x", g.node("Transpose", [w], perm=[1, 0]) if axis else w], "y")
    values = codes * np.repeat(step.astype(np.float32), 32, axis=axis)
    values = values if axis else values.T  # matrices of products are stored by outputs
    dtype = "float32" if kind == F32 else "float16"
    return Export(
        model=g.model((2, K), (2, N), opset, kind), weight="w", values=values,
        encoding=f"int4[32] × {dtype}", standard=not domain and kind == F32,
    )  # fmt: skip


def in_graph(prefix: str, kind: int, end: float, block: int, word: str) -> Export:
    """torch's exporter: float weights, quantized in the graph by operators of the domain trt."""
    g = Graph()
    if block:
        shape: tuple[int, ...] = (N, K // block)
        said = {"axis": 1, "block_size": block}
    else:
        shape, said = (), {}
    step = RANDOM.uniform(0.2, 0.4, shape).astype(np.float32)
    spread = np.repeat(step, block, axis=1) if block else step
    names = [f"TRT_{prefix}{what}Linear" for what in ("Quantize", "Dequantize")]
    codes = g.node(
        names[0], [g.constant("w", MATRIX), g.constant("q_scale", step)], domain="trt", **said
    )
    w = g.node(names[1], [codes, g.constant("dq_scale", step)], domain="trt", **said)
    g.node("MatMul", ["x", g.node("Transpose", [w], perm=[1, 0])], "y")
    extents = str(block) if block else ":,:"
    return Export(
        model=g.model((2, K), (2, N), 21), weight="w", encoding=f"{word}[{extents}] × float32",
        values=rounded(MATRIX / spread, kind, end) * spread, standard=False,
    )  # fmt: skip


def fp8_values() -> Export:
    """FP8 of weights and values in the operators of the domain trt."""
    g = Graph()
    scale = g.constant("x_scale", 0.5)
    codes = g.node("TRT_FP8QuantizeLinear", ["x", scale], domain="trt")
    x = g.node("TRT_FP8DequantizeLinear", [codes, scale], domain="trt")
    numbers = rounded(MATRIX, FP8, 448)
    w = g.node(
        "TRT_FP8DequantizeLinear", [g.constant("w", numbers, FP8), g.constant("w_scale", 0.25)],
        domain="trt",
    )  # fmt: skip
    g.node("MatMul", [x, g.node("Transpose", [w], perm=[1, 0])], "y")
    return Export(
        model=g.model((2, K), (2, N), 19), weight="w", values=numbers * np.float32(0.25),
        encoding="float8_e4m3fn[:,:] × float32", activation=("float8_e4m3fn", "static"),
        standard=False,
    )  # fmt: skip


def fp8_standard(channels: bool) -> Export:
    """FP8 in the standard's operators, its zero points of the same type."""
    g = Graph()
    pair = [g.constant("x_scale", 0.5), g.constant("x_zero", 0, FP8)]
    x = g.node("DequantizeLinear", [g.node("QuantizeLinear", ["x", *pair]), *pair])
    numbers = rounded(MATRIX, FP8, 448)
    step = np.linspace(0.1, 0.2, N, dtype=np.float32) if channels else np.full((), 0.25, np.float32)
    said: dict[str, Any] = {"axis": 0} if channels else {}
    inputs = [g.constant("w", numbers, FP8), g.constant("w_scale", step)]
    w = g.node("DequantizeLinear", inputs, **said)
    g.node("MatMul", [x, g.node("Transpose", [w], perm=[1, 0])], "y")
    return Export(
        model=g.model((2, K), (2, N), 19), weight="w",
        values=numbers * (step[:, None] if channels else step),
        encoding=f"float8_e4m3fn[{'' if channels else ':,'}:] × float32",
        activation=("float8_e4m3fn", "static"),
    )  # fmt: skip


def mxfp8(kind: int) -> Export:
    """MXFP8 as ModelOpt writes it: scales as bytes, values quantized at run time."""
    g = Graph()
    said: dict[str, Any] = {"domain": "trt", "axis": -1, "block_size": 32}
    q, s = "x_codes", "x_scales"
    g.node("TRT_MXFP8DynamicQuantize", ["x"], q, s, output_dtype=FP8, **said)
    x = g.node("TRT_MXFP8DequantizeLinear", [q, s], output_dtype=kind, **said)
    exponents = RANDOM.integers(120, 126, (N, K // 32))
    scale = np.repeat(np.exp2(exponents - 127.0), 32, axis=1).astype(np.float32)
    numbers = rounded(MATRIX, FP8, 448)
    inputs = [g.constant("w", numbers, FP8), g.constant("w_scale", exponents, UINT8)]
    w = g.node("TRT_MXFP8DequantizeLinear", inputs, output_dtype=kind, **said)
    g.node("MatMul", [x, g.node("Transpose", [w], perm=[1, 0])], "y")
    return Export(
        model=g.model((2, K), (2, N), 21, kind), weight="w", values=numbers * scale,
        encoding="float8_e4m3fn[32] × float8_e8m0fnu", activation=("float8_e4m3fn", "dynamic"),
        standard=False,
    )  # fmt: skip


def nvfp4(*, halved: bool = False, domain: str = "", values: bool = True) -> Export:
    """NVFP4 as ModelOpt writes it: two dequantizations of weights and of values."""
    g = Graph()
    x = "x"
    if values:
        factor, dq = g.constant("x_factor", 0.001), "DequantizeLinear"
        said: dict[str, Any] = {"axis": -1, "block_size": 16}
        g.node(
            "TRT_FP4DynamicQuantize", ["x", factor], "q", "s", domain="trt", scale_type=FP8, **said
        )
        scales = g.node(dq, ["s", factor], domain=domain)
        x = g.node(dq, ["q", scales], domain=domain, **said)
    numbers = rounded(MATRIX * 3, FP4, 6)
    scale = rounded(RANDOM.uniform(8, 400, (N, K // 16)), FP8, 448)
    inputs = [g.constant("w_f4_scale", scale, FP8), g.constant("w_factor", 0.0004)]
    inputs = [g.constant("w", numbers, FP4), g.node("DequantizeLinear", inputs)]
    w = g.node("DequantizeLinear", inputs, axis=-1, block_size=16)
    if halved:
        x, w = (g.node("Cast", [value], to=F16) for value in (x, w))
    product = g.node(
        "MatMul", [x, g.node("Transpose", [w], perm=[1, 0])], *([] if halved else ["y"])
    )
    if halved:
        g.node("Cast", [product], "y", to=F32)
    steps = np.repeat(scale * np.float32(0.0004), 16, axis=1)
    return Export(
        model=g.model((2, K), (2, N), 23), weight="w", values=numbers * steps,
        encoding="float4_e2m1fn[16] × float8_e4m3fn[:,:] × float32",
        activation=("float4_e2m1fn", "dynamic") if values else None, standard=False,
    )  # fmt: skip


def fp4_weights() -> Export:
    """The exporter's own operator for weights that are still floats; TensorRT has none of that name."""
    g = Graph()
    w = g.node("TRT_FP4QDQ", [g.constant("w", MATRIX)], domain="trt", block_size=16)
    g.node("MatMul", ["x", g.node("Transpose", [w], perm=[1, 0])], "y")
    factor = np.float32(np.abs(MATRIX).max() / np.float32(6 * 448))
    blocks = MATRIX.reshape(N, -1, 16)
    scale = (np.abs(blocks).max(axis=-1) / (np.float32(6) * factor)).astype(np.float32)
    numbers = rounded(blocks / (scale[..., None] * factor), FP4, 6).reshape(N, K)
    steps = np.repeat(rounded(scale, FP8, 448) * factor, 16, axis=1)
    return Export(
        model=g.model((2, K), (2, N), 23), weight="w", values=numbers * steps,
        encoding="float4_e2m1fn[16] × float8_e4m3fn[:,:] × float32", parsed=False, standard=False,
    )  # fmt: skip


TURNED = np.ascontiguousarray(KERNEL.transpose(2, 3, 1, 0))

EXPORTS: Mapping[str, Callable[[], Export]] = {
    "torch int8, opset 13": lambda: convolution(13),
    "torch int8, opset 17": lambda: convolution(17),
    "torch int8, opset 19": lambda: convolution(19),
    "one scale, opset 10": lambda: convolution(10, axis=None),
    "one scale, opset 11": lambda: convolution(11, axis=None),
    "ConvTranspose, axis 0": lambda: convolution(13, op="ConvTranspose"),
    "ConvTranspose, axis 1": lambda: convolution(13, op="ConvTranspose", axis=1),
    "tf2onnx": lambda: convolution(13, weight=TURNED, axis=3, turn=[3, 2, 0, 1]),
    "no zero points, opset 21": lambda: stated(21),
    "no zero points, opset 23": lambda: stated(23),
    "float16 scales, int8": lambda: halves(INT8, 19, 127, "int8"),
    "float16 scales, float8": lambda: halves(FP8, 19, 448, "float8_e4m3fn"),
    "int4 blocks, axis 0": lambda: int4(F32, 0),
    "int4 blocks, axis 1": lambda: int4(F32, 1),
    "int4 blocks, float16": lambda: int4(F16, 0),
    "TRT_INT4DequantizeLinear": lambda: int4(F16, 1, domain="trt", op="TRT_INT4DequantizeLinear"),
    "TRT_INT4QuantizeLinear": lambda: in_graph("INT4", INT4, 7, 32, "int4"),
    "TRT_FP8QuantizeLinear": lambda: in_graph("FP8", FP8, 448, 0, "float8_e4m3fn"),
    "float8 values, domain trt": fp8_values,
    "float8 values": lambda: fp8_standard(False),
    "float8 channels": lambda: fp8_standard(True),
    "MXFP8": lambda: mxfp8(F32),
    "MXFP8, float16": lambda: mxfp8(F16),
    "NVFP4": nvfp4,
    "NVFP4, float16 products": lambda: nvfp4(halved=True),
    "NVFP4, domain trt": lambda: nvfp4(domain="trt"),
    "NVFP4, weights only": lambda: nvfp4(values=False),
    "TRT_FP4QDQ": fp4_weights,
}
"""What exporters write, by what it is."""
