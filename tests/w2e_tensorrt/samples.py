"""Small Q/DQ models, one for each row of what TensorRT's parser accepts and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16
INT8, UINT8, INT4, UINT4 = TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4
FP8, FP4 = TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT4E2M1


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A model.

    Attributes:
        model: the bytes.
        parses: whether the parser takes it.
        rules: of which errors and warnings our linter speaks.
        why: where we say more than the parser does.
    """

    model: bytes
    parses: bool
    rules: frozenset[str] = frozenset()
    why: str = ""


def array(name: str, numbers: object, kind: int) -> onnx.TensorProto:
    """A constant of any type."""
    data = np.asarray(numbers, np.float32)
    return helper.make_tensor(name, kind, data.shape, data.reshape(-1).tolist())


def made(
    nodes: Sequence[onnx.NodeProto],
    constants: Sequence[onnx.TensorProto],
    x: tuple[int, ...],
    y: tuple[int, ...],
    *,
    opset: int = 21,
    kind: int = F32,
) -> bytes:
    """A model of one input and output."""
    graph = helper.make_graph(
        list(nodes),
        "sample",
        [helper.make_tensor_value_info("x", kind, x)],
        [helper.make_tensor_value_info("y", kind, y)],
        list(constants),
    )
    version = {10: 5, 13: 7, 17: 8, 19: 9, 21: 10, 23: 11}[opset]
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("trt", 1)]
    imports.append(helper.make_opsetid("com.microsoft", 1))
    whole = helper.make_model(graph, opset_imports=imports, ir_version=version)
    return bytes(whole.SerializeToString())


RANDOM = np.random.default_rng(3)
CONV_CODES = RANDOM.integers(-100, 100, (4, 3, 3, 3))
MATRIX = RANDOM.integers(-7, 8, (64, 64))


def activation(
    zero: object = 0, scale: object = 0.02, kind: int | None = INT8
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto], str]:
    """Q and DQ of the input."""
    constants = [array("xs", scale, F32)]
    names = ["xs"]
    if kind is not None:
        constants.append(array("xz", zero, kind))
        names.append("xz")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *names], ["xq"], name="quantize"),
        helper.make_node("DequantizeLinear", ["xq", *names], ["xd"], name="dequantize"),
    ]
    return nodes, constants, "xd"


def conv(
    *,
    zero: object = 0,
    kind: int | None = INT8,
    scale: object = 0.02,
    weight_scale: object = None,
    weight_zero: object = 0,
    bias: str = "",
    opset: int = 21,
) -> bytes:
    """Conv between Q/DQ of the input and DQ of the weights."""
    nodes, constants, x = activation(zero, scale, kind)
    scales = np.full(4, 0.01) if weight_scale is None else np.asarray(weight_scale)
    zeros = np.broadcast_to(np.asarray(weight_zero), scales.shape)
    axis: dict[str, Any] = {"axis": 0} if scales.ndim else {}
    constants += [array("w", CONV_CODES, INT8), array("ws", scales, F32), array("wz", zeros, INT8)]
    nodes.append(
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], name="weights", **axis)
    )
    operands = [x, "wd"]
    if bias == "float":
        constants.append(array("b", np.zeros(4), F32))
        operands.append("b")
    elif bias == "int32":
        constants += [array("b", np.arange(4), TensorProto.INT32), array("bs", 2e-4, F32)]
        nodes.append(helper.make_node("DequantizeLinear", ["b", "bs"], ["bd"], name="bias"))
        operands.append("bd")
    nodes.append(helper.make_node("Conv", operands, ["y"], name="conv"))
    return made(nodes, constants, (1, 3, 8, 8), (1, 4, 6, 6), opset=opset)


def matrix(
    kind: int,
    *,
    block: int = 0,
    axis: int = 0,
    scale_kind: int = F32,
    zero: int = 0,
    turned: bool = False,
    x_kind: int = F32,
) -> bytes:
    """MatMul with a dequantized matrix."""
    shape = [64, 64]
    if block:
        shape[axis] //= block
        attributes: dict[str, Any] = {"axis": axis, "block_size": block}
    else:
        shape, attributes = [64], {"axis": axis}
    codes = np.abs(MATRIX) if kind == UINT4 else MATRIX
    constants = [array("w", codes, kind), array("ws", np.full(shape, 0.05), scale_kind)]
    names = ["w", "ws"]
    if zero:
        constants.append(array("wz", np.full(shape, zero), kind))
        names.append("wz")
    nodes = [helper.make_node("DequantizeLinear", names, ["wd"], name="weights", **attributes)]
    operand = "wd"
    if turned:
        nodes.append(helper.make_node("Transpose", ["wd"], ["wt"], perm=[1, 0], name="turn"))
        operand = "wt"
    nodes.append(helper.make_node("MatMul", ["x", operand], ["y"], name="product"))
    return made(nodes, constants, (2, 64), (2, 64), kind=x_kind)


def qlinear() -> bytes:
    """QLinearConv."""
    constants = [
        array("xs", 0.02, F32), array("xz", 0, INT8), array("w", CONV_CODES, INT8),
        array("ws", 0.01, F32), array("wz", 0, INT8), array("ys", 0.05, F32), array("yz", 0, INT8),
    ]  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["xq"], name="quantize"),
        helper.make_node(
            "QLinearConv", ["xq", "xs", "xz", "w", "ws", "wz", "ys", "yz"], ["yq"], name="conv"
        ),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"], name="dequantize"),
    ]
    return made(nodes, constants, (1, 3, 8, 8), (1, 4, 6, 6))


def dynamic() -> bytes:
    """DynamicQuantizeLinear and MatMulInteger."""
    constants = [array("w", MATRIX, INT8), array("wz", 0, INT8), array("s", 0.01, F32)]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"], name="quantize"),
        helper.make_node("MatMulInteger", ["xq", "w", "xz", "wz"], ["p"], name="product"),
        helper.make_node("Cast", ["p"], ["pf"], to=F32, name="cast"),
        helper.make_node("Mul", ["pf", "s"], ["y"], name="scale"),
    ]
    return made(nodes, constants, (2, 64), (2, 64))


def custom(op: str) -> bytes:
    """A product whose matrix an operator of the domain trt dequantizes."""
    constants = [array("w", MATRIX, INT4), array("ws", np.full((2, 64), 0.05), F32)]
    nodes = [
        helper.make_node(
            op, ["w", "ws"], ["wd"], name="weights", domain="trt", axis=0, block_size=32
        ),
        helper.make_node("MatMul", ["x", "wd"], ["y"], name="product"),
    ]
    return made(nodes, constants, (2, 64), (2, 64))


def minimums() -> bytes:
    """Q4_1-like: DQ and Add of minimums in blocks."""
    constants = [array("w", MATRIX, INT4), array("ws", np.full((2, 64), 0.05), F32)]
    constants.append(array("m", np.full((64, 64), -0.1), F32))
    nodes = [
        helper.make_node(
            "DequantizeLinear", ["w", "ws"], ["wd"], axis=0, block_size=32, name="weights"
        ),
        helper.make_node("Add", ["wd", "m"], ["wm"], name="minimums"),
        helper.make_node("MatMul", ["x", "wm"], ["y"], name="product"),
    ]
    return made(nodes, constants, (2, 64), (2, 64))


def _rules(*names: str) -> frozenset[str]:
    return frozenset(names)


ZERO, UNSIGNED, BIAS = _rules("zero-point"), _rules("unsigned-codes"), _rules("integer-bias")
SCALE, CODES, OPERATOR = _rules("scale-sign"), _rules("code-type"), _rules("operator")
RETYPED = "the parser takes uint8 for int8 at the same scale, so that the upper half saturates"

SAMPLES: dict[str, Sample] = {
    **{f"int8, opset {o}": Sample(model=conv(opset=o), parses=True) for o in (13, 17, 19, 21, 23)},
    "int8, one weight scale, opset 10": Sample(
        model=conv(opset=10, weight_scale=0.01), parses=True
    ),
    "no zero point": Sample(model=conv(kind=None), parses=True, rules=UNSIGNED, why=RETYPED),
    "uint8 at 0": Sample(model=conv(kind=UINT8), parses=True, rules=UNSIGNED, why=RETYPED),
    "uint8 at 128": Sample(model=conv(kind=UINT8, zero=128), parses=False, rules=ZERO),
    "uint8 at 7": Sample(model=conv(kind=UINT8, zero=7), parses=False, rules=ZERO),
    "int8 at 3": Sample(model=conv(zero=3), parses=False, rules=ZERO),
    "weights at 3": Sample(model=conv(weight_zero=3), parses=False, rules=ZERO),
    "int4 at 1": Sample(model=matrix(INT4, block=32, zero=1), parses=False, rules=ZERO),
    "int32 bias": Sample(model=conv(bias="int32"), parses=False, rules=BIAS),
    "float bias": Sample(model=conv(bias="float"), parses=True),
    "scale 0": Sample(model=conv(scale=0.0), parses=False, rules=SCALE),
    "negative scale": Sample(model=conv(scale=-0.1), parses=False, rules=SCALE),
    "one weight scale of 0": Sample(
        model=conv(weight_scale=[0.1, 0.1, 0.0, 0.1]), parses=False, rules=SCALE
    ),
    "QLinearConv": Sample(model=qlinear(), parses=False, rules=OPERATOR),
    "MatMulInteger": Sample(model=dynamic(), parses=False, rules=OPERATOR),
    **{
        f"int4, blocks of {b}": Sample(model=matrix(INT4, block=b), parses=True)
        for b in (16, 32, 64)
    },
    "int4, blocks along axis 1": Sample(model=matrix(INT4, block=32, axis=1), parses=True),
    "int4, turned": Sample(model=matrix(INT4, block=32, axis=1, turned=True), parses=True),
    "int4, per channel": Sample(model=matrix(INT4, axis=1), parses=True),
    "int8, blocks of 32": Sample(model=matrix(INT8, block=32), parses=True),
    "trt::TRT_INT4DequantizeLinear": Sample(model=custom("TRT_INT4DequantizeLinear"), parses=True),
    "uint4": Sample(model=matrix(UINT4, block=32), parses=False, rules=CODES),
    "int16": Sample(model=matrix(TensorProto.INT16, axis=1), parses=False, rules=CODES),
    "float8 e5m2": Sample(model=matrix(TensorProto.FLOAT8E5M2, axis=1), parses=False, rules=CODES),
    "float8 e4m3": Sample(model=matrix(FP8, axis=1), parses=True),
    "float16 scale, float32 product": Sample(
        model=matrix(INT8, block=32, scale_kind=F16), parses=False, rules=_rules("type-mismatch")
    ),
    "float16 throughout": Sample(
        model=matrix(INT8, block=32, scale_kind=F16, x_kind=F16), parses=True
    ),
    "minimums": Sample(model=minimums(), parses=True),
}
"""What is to be tried, by what it is."""
