"""Checks an ONNX model for TensorRT without TensorRT."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.lint import Finding, Rule, Severity
from w2e_bridge.graph.inspecting import STANDARD, attribute_of, given, is_op, is_weight, name_of
from w2e_bridge.graph.serialize import open_model
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.ir.tensor import Tensor
from w2e_tensorrt import lint_rules as rules

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
LARGE = 1 << 24
"""Scales and zero points beyond this many are not looked at one by one."""

_CODES = {"int8", "uint8", "int4", "float8_e4m3fn", "float4_e2m1fn"}
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
Found = Iterator[tuple[Rule, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that is checked.

    Attributes:
        model: as ONNX has it.
        tensors: its constants.
    """

    model: ir.Model
    tensors: Mapping[str, Tensor]

    def constant(self, value: ir.Value | None) -> Tensor | None:
        """The tensor behind a value that is a constant."""
        if value is None or not is_weight(value):
            return None
        return self.tensors.get(name_of(value))

    def numbers(
        self, value: ir.Value | None
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None:
        """The numbers of a small constant."""
        tensor = self.constant(value)
        if tensor is None or tensor.elements > LARGE:
            return None
        return tensor.storage.parts(0, tensor.rows).codes.astype(np.float64)

    def type_of(self, value: ir.Value | None) -> str | None:
        """The element type of a value, where it is known."""
        tensor = self.constant(value)
        if tensor is not None:
            return tensor.dtype
        dtype = None if value is None else value.dtype
        return None if dtype is None else DTYPE_NAMES.get(dtype)


def lint(path: Path) -> Sequence[Finding]:
    """All findings of an ONNX file, in the order of its nodes.

    Raises:
        FormatError: it is no ONNX model, or damaged.
    """
    opened = open_model(path)
    model = Model(model=opened.model, tensors=opened.tensors)
    return [*_inputs(model), *(f for node in _nodes(model) for f in _of(node, model))]


def check(path: Path) -> None:
    """Refuse a network that was written and that TensorRT would not build.

    Raises:
        UnsupportedError: what is left in it has no legal form that is known here.
    """
    errors = [finding for finding in lint(path) if finding.rule.severity is Severity.ERROR]
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise UnsupportedError(
            f"TensorRT would refuse node '{first.node}', {first.detail}{more}: {first.rule.mend} Nothing was kept"
        )


def _nodes(model: Model) -> Iterator[ir.Node]:
    for graph in model.model.graphs():
        yield from graph
    for function in model.model.functions.values():
        yield from function


def _of(node: ir.Node, model: Model) -> Iterator[Finding]:
    name = node.name or name_of(node.outputs[0])
    for check in CHECKS:
        for rule, detail in check(node, model):
            yield Finding(rule=rule, node=name, detail=detail)


def _inputs(model: Model) -> Iterator[Finding]:
    for value in model.model.graph.inputs:
        if value.shape is None or any(not isinstance(extent, int) for extent in value.shape):
            yield Finding(rule=rules.PROFILE, node=name_of(value), detail="an input of free shape")


def linear(node: ir.Node) -> bool:
    """Whether a node quantizes or dequantizes."""
    return is_op(node, QUANTIZE) or is_op(node, DEQUANTIZE)


def _operator(node: ir.Node, model: Model) -> Found:
    known = rules.has_operator(node.domain, node.op_type)
    if not known and node.op_identifier() not in model.model.functions:
        yield rules.OPERATOR, f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _zero_point(node: ir.Node, model: Model) -> Found:
    if not linear(node):
        return
    zeros = model.numbers(given(node, 2))
    if zeros is not None and zeros.any():
        yield rules.ZERO_POINT, f"zero point {zeros.reshape(-1)[np.flatnonzero(zeros)[0]]:g}"


def code_type(node: ir.Node, model: Model) -> str:
    """The type of the codes that a node makes or reads; "" where nothing says it."""
    if is_op(node, DEQUANTIZE):
        return model.type_of(given(node, 0)) or model.type_of(given(node, 2)) or _made(node, model)
    wanted = attribute_of(node, "output_dtype")
    said = DTYPE_NAMES.get(ir.DataType(wanted), "") if isinstance(wanted, int) and wanted else None
    return said or model.type_of(given(node, 2)) or "uint8"


def _made(node: ir.Node, model: Model) -> str:
    value = given(node, 0)
    maker = None if value is None else value.producer()
    return code_type(maker, model) if maker is not None and is_op(maker, QUANTIZE) else ""


def _codes(node: ir.Node, model: Model) -> Found:
    if not linear(node):
        return
    kind = code_type(node, model)
    zeros = model.numbers(given(node, 2))
    if kind == "int32":
        yield rules.INTEGER_BIAS, "codes of int32"
    elif kind and kind not in _CODES:
        yield rules.CODES, f"codes of {kind}"
    elif kind == "uint8" and (zeros is None or not zeros.any()):
        said = "uint8 with zero point 0" if given(node, 2) is not None else "uint8 by default"
        yield rules.UNSIGNED, said
    elif kind == "float4_e2m1fn":
        yield rules.FLOAT4, "codes of float4"


def _scales(node: ir.Node, model: Model) -> Found:
    if not linear(node):
        return
    value = given(node, 1)
    maker = None if value is None else value.producer()
    if model.constant(value) is None and not (maker is not None and is_op(maker, DEQUANTIZE)):
        yield rules.DYNAMIC_SCALE, "a scale that is computed"
        return
    numbers = model.numbers(value)
    if numbers is not None and not (numbers > 0).all():
        bad = numbers.reshape(-1)[np.flatnonzero(~(numbers > 0).reshape(-1))[0]]
        yield rules.SCALE, f"scale {bad:g}"


def _blocks(node: ir.Node, model: Model) -> Found:
    block, axis = attribute_of(node, "block_size"), attribute_of(node, "axis")
    codes, scales = (_shape(given(node, index), model) for index in (0, 1))
    if not isinstance(block, int) or not block or codes is None or scales is None:
        return
    at = axis if isinstance(axis, int) else 1
    if len(codes) != len(scales) or not -len(codes) <= at < len(codes):
        return
    if scales[at] and codes[at] != block * scales[at]:
        yield rules.BLOCKS, f"{scales[at]} blocks of {block} for {codes[at]}"


def _scalar(node: ir.Node, model: Model) -> Found:
    codes = model.constant(given(node, 0)) if is_op(node, DEQUANTIZE) else None
    if codes is not None and not codes.shape:
        yield rules.SCALAR, "codes without an axis"


def _shape(value: ir.Value | None, model: Model) -> tuple[int, ...] | None:
    """The extents of a value, None where they are not known."""
    tensor = model.constant(value)
    if tensor is not None:
        return tensor.shape
    shape = None if value is None else value.shape
    known = shape is not None and all(isinstance(extent, int) for extent in shape)
    return tuple(int(str(extent)) for extent in shape) if known and shape is not None else None


def real_type(value: ir.Value | None, model: Model) -> str | None:
    """The float type of a value: of what is dequantized, that of the scale."""
    maker = None if value is None else value.producer()
    if maker is not None and is_op(maker, DEQUANTIZE):
        wanted = attribute_of(maker, "output_dtype")
        if isinstance(wanted, int) and wanted:
            return DTYPE_NAMES.get(ir.DataType(wanted))
        return real_type(given(maker, 1), model) or model.type_of(given(maker, 1))
    if maker is not None and maker.op_type in ("Transpose", "Reshape", "Identity"):
        return real_type(given(maker, 0), model)
    return model.type_of(value)


def _types(node: ir.Node, model: Model) -> Found:
    if node.op_type not in _WEIGHTED or node.domain not in STANDARD:
        return
    kinds = [real_type(value, model) for value in node.inputs if value is not None]
    known = {kind for kind in kinds if kind is not None}
    if len(known) > 1:
        yield rules.TYPES, f"operands of {' and '.join(sorted(known))}"


def _attention(node: ir.Node, model: Model) -> Found:
    if is_op(node, "Attention") and real_type(given(node, 0), model) in ("float32", None):
        yield rules.ATTENTION, "Attention of float32"


def _behind(value: ir.Value) -> Iterator[ir.Node]:
    """What reads a value, through a pair of Q and DQ."""
    for user, _ in value.uses():
        if linear(user):
            yield from _behind(user.outputs[0])
        else:
            yield user


def _output(node: ir.Node, model: Model) -> Found:
    del model
    if node.op_type not in ("Conv", "ConvTranspose") or node.domain not in STANDARD:
        return
    for user, _ in node.outputs[0].uses():
        if is_op(user, QUANTIZE):
            for behind in _behind(user.outputs[0]):
                if behind.op_type in ("Relu", "Clip", "Add"):
                    yield rules.CONV_OUTPUT, f"Q/DQ before {behind.op_type}"


def _concat(node: ir.Node, model: Model) -> Found:
    if not is_op(node, "Concat"):
        return
    scales = []
    for value in node.inputs:
        maker = None if value is None else value.producer()
        if maker is None or not is_op(maker, DEQUANTIZE):
            return
        scales.append(model.numbers(given(maker, 1)))
    known = [s for s in scales if s is not None]
    if known and any(not np.array_equal(s, known[0]) for s in known):
        yield rules.CONCAT, f"{len(known)} inputs with scales of their own"


def _residual(node: ir.Node, model: Model) -> Found:
    if not is_op(node, "Add") or len(node.inputs) != 2:
        return
    if any(model.constant(value) is not None for value in node.inputs):
        return
    made = [None if value is None else value.producer() for value in node.inputs]
    dequantized = [maker is not None and is_op(maker, DEQUANTIZE) for maker in made]
    weighted = [maker is not None and maker.op_type in ("Conv", "ConvTranspose") for maker in made]
    quantized = [
        w and _fed_by_codes(m) for m, w in zip(made, weighted, strict=True) if m is not None
    ]
    if any(quantized) and not any(dequantized):
        yield rules.RESIDUAL, "neither operand is quantized"


def _fed_by_codes(node: ir.Node) -> bool:
    value = given(node, 0)
    maker = None if value is None else value.producer()
    return maker is not None and is_op(maker, DEQUANTIZE)


Check = Callable[[ir.Node, Model], Found]
CHECKS: tuple[Check, ...] = (
    _operator, _zero_point, _codes, _scalar, _scales, _blocks, _types, _attention, _output, _concat, _residual,
)  # fmt: skip
