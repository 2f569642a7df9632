"""Checks an ONNX model for ONNX Runtime's CPU provider, and for runtimes in general."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import onnx_ir as ir

from w2e_bridge.formats.lint import Finding, Rule, Severity
from w2e_bridge.graph.inspecting import STANDARD, attribute_of, given, is_op, is_weight, name_of
from w2e_bridge.graph.serialize import Opened, open_model
from w2e_bridge.ir.tensor import Tensor

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
MICROSOFT = "com.microsoft"
NEWEST_OPSET, PORTABLE_OPSET, OLDEST_OPSET = 25, 21, 13
"""Of the standard domain: what ONNX Runtime 1.32 knows; what most runtimes know; the first with per-axis
quantization."""

OPSET = Rule(
    name="opset",
    severity=ERROR,
    reason=f"ONNX Runtime 1.32 knows operator sets up to {NEWEST_OPSET}.",
    mend="Export with an older operator set.",
)
SCALAR = Rule(
    name="scalar-parameters",
    severity=ERROR,
    reason="QLinear operators want scales and zero points of rank 0: others fail when the optimizer runs.",
    mend="Reshape them to no axes.",
)
SIGNED = Rule(
    name="signed-activations",
    severity=WARNING,
    reason="On x86, int8 activations are fused in part only and run 5 to 12 times slower than uint8.",
    mend="Shift the codes: uint8 with zero point + 128 has the same values.",
)
SATURATION = Rule(
    name="saturation",
    severity=NOTE,
    reason="Processors without VNNI add two products of uint8 and int8 in 16 bits, which can saturate.",
    mend="Store weights as uint8 with zero point 128, or run with session.x64quantprecision=1.",
)
DOMAIN = Rule(
    name="domain",
    severity=ERROR,
    reason="Only operators of the standard are in every runtime.",
    mend="Convert with --to onnx --profile portable.",
)
FUNCTION = Rule(
    name="function",
    severity=WARNING,
    reason="Not every runtime inlines model-local functions.",
    mend="Convert with --to onnx --profile portable, or inline them.",
)
NEWER = Rule(
    name="newer-opset",
    severity=WARNING,
    reason=f"Many runtimes know operator sets up to {PORTABLE_OPSET} only.",
    mend="Export with an older operator set.",
)
OLDER = Rule(
    name="older-opset",
    severity=NOTE,
    reason=f"Quantization along an axis is in operator sets from {OLDEST_OPSET} on.",
    mend="Export with a newer operator set.",
)
WIDE = Rule(
    name="wide-codes",
    severity=WARNING,
    reason="Codes of 16 or 4 bits are recent (operator set 21); few runtimes have kernels for them.",
    mend="Quantize to 8 bits.",
)

Check = Callable[[ir.Node, Opened], Iterator[tuple[Rule, str]]]


def ort(path: Path) -> Sequence[Finding]:
    """Findings for ONNX Runtime's CPU provider."""
    opened = open_model(path)
    version = opened.model.opset_imports.get("", 0)
    whole = [_whole(OPSET, opened, f"operator set {version}")] if version > NEWEST_OPSET else []
    return [*whole, *_found(opened, (_scalar, _signed, _saturation))]


def portable(path: Path) -> Sequence[Finding]:
    """Findings for runtimes in general."""
    opened = open_model(path)
    version = opened.model.opset_imports.get("", 0)
    whole = [_whole(NEWER, opened, f"operator set {version}")] if version > PORTABLE_OPSET else []
    whole += [_whole(OLDER, opened, f"operator set {version}")] if version < OLDEST_OPSET else []
    return [*whole, *_found(opened, (_domain, _wide))]


def _whole(rule: Rule, opened: Opened, detail: str) -> Finding:
    return Finding(rule=rule, node=opened.model.graph.name or "graph", detail=detail)


def _found(opened: Opened, checks: Sequence[Check]) -> Iterator[Finding]:
    bodies = [*opened.model.graphs(), *opened.model.functions.values()]
    for node in (node for body in bodies for node in body):
        for check in checks:
            for rule, detail in check(node, opened):
                yield Finding(rule=rule, node=node.name or name_of(node.outputs[0]), detail=detail)


def _tensor(value: ir.Value | None, opened: Opened) -> Tensor | None:
    if value is None or not is_weight(value):
        return None
    return opened.tensors.get(name_of(value))


def _scalar(node: ir.Node, opened: Opened) -> Iterator[tuple[Rule, str]]:
    if node.domain != MICROSOFT or not node.op_type.startswith("QLinear"):
        return
    for value in node.inputs:
        tensor = _tensor(value, opened)
        if tensor is not None and tensor.shape == (1,):
            yield SCALAR, f"'{tensor.name}' has shape [1]"


def _signed(node: ir.Node, opened: Opened) -> Iterator[tuple[Rule, str]]:
    reads_values = is_op(node, "QuantizeLinear") and _tensor(given(node, 0), opened) is None
    zero = _tensor(given(node, 2), opened)
    if reads_values and zero is not None and zero.dtype == "int8":
        yield SIGNED, "codes of int8"


def _saturation(node: ir.Node, opened: Opened) -> Iterator[tuple[Rule, str]]:
    place = {"QLinearConv": 3, "ConvInteger": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "QGemm": 3}
    if node.op_type not in place:
        return
    weights = _tensor(given(node, place[node.op_type]), opened)
    if weights is not None and weights.dtype == "int8":
        yield SATURATION, f"{node.op_type} with weights of int8"


def _domain(node: ir.Node, opened: Opened) -> Iterator[tuple[Rule, str]]:
    if node.domain in STANDARD:
        return
    if node.op_identifier() in opened.model.functions:
        yield FUNCTION, f"{node.domain}::{node.op_type}"
    else:
        yield DOMAIN, f"{node.domain}::{node.op_type}"


def _wide(node: ir.Node, opened: Opened) -> Iterator[tuple[Rule, str]]:
    if not is_op(node, "DequantizeLinear") and not is_op(node, "QuantizeLinear"):
        return
    said = attribute_of(node, "block_size")
    kinds = {t.dtype for v in (given(node, 0), given(node, 2)) if (t := _tensor(v, opened))}
    narrow = sorted(kinds & {"int16", "uint16", "int4", "uint4", "int2", "uint2"})
    if narrow or (isinstance(said, int) and said):
        yield WIDE, f"codes of {', '.join(narrow)}" if narrow else f"blocks of {said}"
