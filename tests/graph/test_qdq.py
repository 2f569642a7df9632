from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from tests.graph.support import AnyArray, identity_model, run, same_bits, tensor, write
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.planes import blocks, padded
from w2e_bridge.graph.qdq import fold, unfold
from w2e_bridge.graph.qdq_emit import opset_of
from w2e_bridge.graph.serialize import open_model
from w2e_bridge.ir.activation import ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import (
    FLOAT16,
    FLOAT32,
    WHOLE,
    Encoding,
    Offset,
    OffsetKind,
    constant_zero,
    integers,
    zero_point,
)
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import Tensor

SHAPE = (6, 8)
INT4, UINT4, INT8, UINT8 = (
    Integer(bits=b, signed=s) for b, s in ((4, True), (4, False), (8, True), (8, False))
)
E4M3 = Float(name="float8_e4m3fn")


def affine(kind: OffsetKind, block: tuple[int, ...] | None = None) -> Offset:
    return Offset(kind=kind, encoding=FLOAT32, block=block)


ENCODINGS = {
    "per tensor": Encoding(codes=INT8, block=(WHOLE, WHOLE), scale=FLOAT32),
    "per row, zero points": Encoding(
        codes=UINT8, block=(WHOLE,), scale=FLOAT32, offset=zero_point(8)
    ),
    "per column": Encoding(codes=INT8, block=(WHOLE, 1), scale=FLOAT32),
    "int32 bias": Encoding(codes=Integer(bits=32, signed=True), block=(WHOLE,), scale=FLOAT32),
    "blocks of a row": Encoding(codes=INT4, block=(4,), scale=FLOAT32),
    "blocks of a row, the last one short": Encoding(codes=INT8, block=(3,), scale=FLOAT32),
    "blocks of a column": Encoding(
        codes=UINT4, block=(4, 1), scale=FLOAT32, offset=zero_point(4)
    ),
    "float8 per tensor": Encoding(codes=E4M3, block=(WHOLE, WHOLE), scale=FLOAT32),
    "minimums": Encoding(
        codes=UINT4, block=(4,), scale=FLOAT32, offset=affine(OffsetKind.BIAS)
    ),
    "negative minimums, other blocks": Encoding(
        codes=UINT4, block=(2,), scale=FLOAT32, offset=affine(OffsetKind.NEGATIVE_BIAS, (4,))
    ),
    "a second level": Encoding(
        codes=INT4,
        block=(2,),
        scale=Encoding(codes=UINT8, block=(2,), scale=FLOAT32),
    ),
    "powers of two as scales": Encoding(codes=INT8, block=(4,), scale=PLAIN["float8_e8m0fnu"]),
}  # fmt: skip


def numbers(encoding: Encoding, shape: tuple[int, int], seed: int) -> Parts:
    """Parts whose grids repeat for the rows of a block, as `Parts` wants them."""
    chance = np.random.default_rng(seed)
    kind, codes = numpy_type(Encoding(codes=encoding.codes)), encoding.codes
    if isinstance(codes, Integer):
        drawn = chance.integers(codes.low, codes.high, shape, endpoint=True).astype(kind)
    else:
        drawn = chance.normal(size=shape).astype(kind)

    def grid(own: Encoding, block: tuple[int, ...] | None, extents: tuple[int, int]) -> Parts:
        named = padded(block, 2)
        small = numbers(own, blocks(extents, named), seed + 1)  # type: ignore[arg-type]
        index = np.arange(extents[0]) // (named[0] or extents[0])
        return take(small, index)

    offset = encoding.offset or Offset(kind=OffsetKind.BIAS)
    block = offset.block or encoding.block
    return Parts(
        codes=drawn,
        scale=grid(encoding.scale, encoding.block, shape) if encoding.scale else None,
        offset=grid(offset.encoding, block, shape) if offset.encoding else None,
    )


def take(parts: Parts, index: AnyArray) -> Parts:
    rows = index if parts.codes.shape[0] > 1 else np.zeros_like(index)
    return Parts(
        codes=parts.codes[rows],
        scale=None if parts.scale is None else take(parts.scale, index),
        offset=None if parts.offset is None else take(parts.offset, index),
    )


def evaluated(path: Path) -> AnyArray:
    (found,) = ReferenceEvaluator(str(path)).run(None, {})
    assert isinstance(found, np.ndarray)
    return found


def unfolded(one: Tensor) -> Editor:
    editor = Editor(model=identity_model({one.name: one}), tensors={one.name: one})
    unfold(editor, {})
    return editor


@pytest.mark.parametrize("name", ENCODINGS)
def test_weights_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    one = tensor("w", ENCODINGS[name], numbers(ENCODINGS[name], SHAPE, 3), SHAPE)
    out = unfolded(one)
    assert not any(t.encoding.quantized for t in out.tensors.values())
    opened = open_model(write(tmp_path, out.model, out.tensors))
    editor = Editor(model=opened.model, tensors=opened.tensors)
    assert fold(editor) == ({}, ())
    assert list(editor.tensors) == ["w"]
    back = editor.tensors["w"]
    assert (back.encoding, back.shape, back.dtype) == (one.encoding, SHAPE, "float32")
    assert same_bits(back.dequantize(), one.dequantize())
    assert same_bits(back.decode_rows(2, 5), one.dequantize()[2:5])


@pytest.mark.parametrize("name", ENCODINGS)
def test_reference_evaluator_agrees(name: str, tmp_path: Path) -> None:
    one = tensor("w", ENCODINGS[name], numbers(ENCODINGS[name], SHAPE, 5), SHAPE)
    out = unfolded(one)
    path = write(tmp_path, out.model, out.tensors)
    onnx.checker.check_model(str(path), full_check=True)
    found = evaluated(path)
    assert same_bits(found, one.dequantize())


@pytest.mark.parametrize("name", [n for n in ENCODINGS if "powers" not in n])
def test_onnxruntime_agrees(name: str, tmp_path: Path) -> None:
    one = tensor("w", ENCODINGS[name], numbers(ENCODINGS[name], SHAPE, 7), SHAPE)
    editor = Editor(model=identity_model({"w": one}, opset=21), tensors={"w": one})
    unfold(editor, {})
    assert same_bits(run(write(tmp_path, editor.model, editor.tensors))["w.out"], one.dequantize())


def test_convolution_weights_per_output_channel(tmp_path: Path) -> None:
    encoding = Encoding(codes=INT8, block=(WHOLE, WHOLE, WHOLE), scale=FLOAT32)
    shape = (3, 2, 2, 5)
    chance = np.random.default_rng(1)
    codes = chance.integers(-128, 128, (12, 5)).astype(np.int8)
    scale = np.repeat(chance.random((3, 1), np.float32), 4, axis=0)
    one = tensor("w", encoding, Parts(codes=codes, scale=Parts(codes=scale)), shape)
    out = unfolded(one)
    assert out.tensors["w.scale"].shape == (3,)
    opened = open_model(write(tmp_path, out.model, out.tensors))
    editor = Editor(model=opened.model, tensors=opened.tensors)
    fold(editor)
    assert editor.tensors["w"].encoding == encoding
    assert same_bits(editor.tensors["w"].dequantize(), one.dequantize())


def test_constant_zero_points_are_written_out(tmp_path: Path) -> None:
    encoding = Encoding(codes=UINT4, block=(4,), scale=FLOAT32, offset=constant_zero(8))
    parts = numbers(replace(encoding, offset=None), SHAPE, 1)
    one = tensor("w", encoding, parts, SHAPE)
    out = unfolded(one)
    found = evaluated(write(tmp_path, out.model, out.tensors))
    assert same_bits(found, one.dequantize())


@pytest.mark.parametrize(
    ("encoding", "reason"),
    [
        (Encoding(codes=Integer(bits=3), block=(4,), scale=FLOAT32), "uint3"),
        (Encoding(codes=INT4, block=(4,), scale=integers(8, signed=True)), "scales of int8"),
        (Encoding(codes=INT4, block=(4,), scale=FLOAT16), "scales of float16 for float32"),
        (Encoding(codes=INT4, block=(2, 2), scale=FLOAT32), "one axis only"),
        (Encoding(codes=INT4, block=(4,), scale=FLOAT32, scale_divides=True), "divided"),
        (
            Encoding(codes=INT4, block=(4,), scale=FLOAT32, offset=affine(OffsetKind.FLOAT_ZERO)),
            "float zero points",
        ),
        (
            Encoding(
                codes=INT4,
                block=(WHOLE,),
                scale=Encoding(codes=UINT8, block=(WHOLE, WHOLE), scale=FLOAT32),
            ),
            "second levels",
        ),
    ],
)
def test_what_the_operator_has_no_word_for(encoding: Encoding, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        opset_of(encoding, SHAPE)


@pytest.mark.parametrize(
    ("name", "opset"),
    [
        ("per tensor", 10),
        ("per row, zero points", 13),
        ("blocks of a row", 21),
        ("powers of two as scales", 24),
    ],
)
def test_first_operator_set_that_says_it(name: str, opset: int) -> None:
    assert opset_of(ENCODINGS[name], SHAPE) == opset


STATIC = ActivationQuantization(
    codes=UINT8, scale=np.float32(0.25) * np.ones((), np.float32), zero_point=np.array(3, np.uint8)
)
CHANNELS = ActivationQuantization(
    codes=INT8,
    granularity=Granularity.CHANNEL,
    scale=np.array([0.5, 0.25, 2.0], np.float32),
    axis=1,
)


def chain() -> ir.Model:
    """x -> Relu -> y -> Neg -> z, with y read twice."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape((2, 3)))
    relu, neg = ir.node("Relu", [x]), None
    y = relu.outputs[0]
    neg, add = ir.node("Neg", [y]), None
    add = ir.node("Add", [neg.outputs[0], y])
    for value, name in ((y, "y"), (neg.outputs[0], "n"), (add.outputs[0], "z")):
        value.name = name
        value.type, value.shape = x.type, ir.Shape((2, 3))
    graph = ir.Graph(
        [x], [add.outputs[0]], nodes=[relu, neg, add], opset_imports={"": 21}, name="g"
    )
    return ir.Model(graph, ir_version=10)


def equal(a: ActivationQuantization, b: ActivationQuantization) -> bool:
    def array(value: AnyArray | None) -> list[object]:
        return [] if value is None else [value.shape, str(value.dtype), value.tolist()]

    return (
        (a.codes, a.mode, a.granularity, a.axis) == (b.codes, b.mode, b.granularity, b.axis)
        and array(a.scale) == array(b.scale)
        and array(a.zero_point) == array(b.zero_point)
    )


@pytest.mark.parametrize("values", [{"x": STATIC}, {"y": CHANNELS}, {"z": STATIC, "y": STATIC}])
def test_values_come_back_as_they_were(
    values: dict[str, ActivationQuantization], tmp_path: Path
) -> None:
    editor = Editor(model=chain(), tensors={})
    unfold(editor, values)
    path = write(tmp_path, editor.model, editor.tensors)
    opened = open_model(path)
    back = Editor(model=opened.model, tensors=opened.tensors)
    found, left = fold(back)
    assert not left
    assert not back.tensors
    assert [node.op_type for node in back.model.graph] == ["Relu", "Neg", "Add"]
    assert [value.name for value in back.model.graph.outputs] == ["z"]
    assert found.keys() == values.keys()
    assert all(equal(found[name], values[name]) for name in values)


def test_quantized_values_are_what_onnxruntime_computes(tmp_path: Path) -> None:
    editor = Editor(model=chain(), tensors={})
    unfold(editor, {"y": STATIC})
    x = np.array([[0.1, 0.2, 0.3], [-5, 70, 1.125]], np.float32)
    found = run(write(tmp_path, editor.model, editor.tensors), {"x": x})["z"]
    y = np.maximum(x, 0)
    steps = np.clip(np.rint(y / np.float32(0.25)) + 3, 0, 255)
    once = ((steps - 3) * 0.25).astype(np.float32)
    assert same_bits(found, once - once)


def test_a_reader_that_sees_another_quantization_gets_a_value_of_its_own() -> None:
    model = chain()
    editor = Editor(model=model, tensors={})
    unfold(editor, {"y": STATIC})
    add = next(node for node in model.graph if node.op_type == "Add")
    bare = next(v for node in model.graph for v in node.outputs if v.name == "y.unquantized")
    add.replace_input_with(1, bare)
    found, _ = fold(editor)
    assert list(found) == ["y"]
    assert [node.op_type for node in model.graph] == ["Relu", "Identity", "Neg", "Add"]
    neg = next(node for node in model.graph if node.op_type == "Neg")
    assert neg.inputs[0] is not None
    assert neg.inputs[0].name == "y"
    assert add.inputs[1] is bare


def test_what_stays_is_remarked() -> None:
    model = chain()
    editor = Editor(model=model, tensors={})
    unfold(editor, {"y": STATIC})
    dequantize = next(node for node in model.graph if node.op_type == "DequantizeLinear")
    other = ir.Value(name="s", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(()))
    model.graph.inputs.append(other)
    dequantize.replace_input_with(1, other)
    found, left = fold(editor)
    assert not found
    assert [(remark.name, remark.reason[:7]) for remark in left] == [
        ("DequantizeLinear", "1 nodes"),
        ("QuantizeLinear", "1 nodes"),
    ]


def test_decode_matches_by_hand() -> None:
    encoding = ENCODINGS["blocks of a column"]
    parts = numbers(encoding, (8, 2), 1)
    assert parts.scale is not None
    assert parts.offset is not None
    expected = np.empty((8, 2), np.float32)
    for row in range(8):
        for column in range(2):
            code, zero = parts.codes[row, column], parts.offset.codes[row, column]
            expected[row, column] = (
                np.float32(int(code) - int(zero)) * parts.scale.codes[row, column]
            )
    assert same_bits(decode(encoding, parts), expected)
    assert math.isfinite(float(expected.sum()))
