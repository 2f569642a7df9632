"""What the equality of integers depends on: the versions whose roundings were measured, and the processor."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from w2e_bridge.ir.model import Model
from w2e_onnx.lowering.litert.call import MICROSOFT
from w2e_onnx.lowering.litert.emit import Emitter

DEFAULT = (
    "LiteRT 2.3 on x86: XNNPACK's kernels for ARM round sums of weights with one scale otherwise"
)
REFERENCE = "LiteRT 2.3; its reference kernels are the same on every processor"
RUNTIME = "ONNX Runtime 1.32's own kernels on its CPU provider: {}"
ANY = "any x86 processor: int8 weights are multiplied as uint8, exact without VNNI too"
VNNI = "a processor with VNNI: on others sums of two products of int8 weights saturate"
LIBRARY = "LiteRT with the C library glibc 2.27 to 2.40, whose functions fill the tables of {}"
FLOATS = "within a step of the codes only: {} ({}) is computed in float32"

MEASURED = ("QLinearConv", "QGemm", "QLinearMatMul", "QLinearSigmoid")
"""Operators of ONNX Runtime whose rounding is relied on."""

TABLES = {"tanh": "TANH", "elu": "ELU", "gelu": "GELU", "exp": "EXP", "log": "LOG"}
"""Kinds whose tables LiteRT makes by a function of the C library (`numerics.libm`)."""

_PRODUCTS = frozenset({"ConvInteger", "MatMulInteger", *MEASURED})


def conditions(emitter: Emitter, model: Model) -> tuple[str, ...]:
    """What has to hold for outputs that equal LiteRT's.

    Args:
        emitter: that wrote the graph.
        model: what was written.
    """
    if all(quantization.scale is None for quantization in model.activations.values()):
        return ()
    return tuple(_said(emitter, model))


def _said(emitter: Emitter, model: Model) -> Iterator[str]:
    yield REFERENCE if emitter.reference else DEFAULT
    nodes = [node for function in emitter.functions.values() for node in function]
    used = {node.op_type for node in nodes if node.domain == MICROSOFT}
    relied = [kind for kind in MEASURED if kind in used]
    if relied:
        yield RUNTIME.format(", ".join(relied))
    if _multiplies_int8(nodes, model):
        yield VNNI if emitter.signed else ANY
    called = {name.rpartition("_")[0] for name in emitter.functions}
    tables = [label for kind, label in TABLES.items() if kind in called]
    if tables:
        yield LIBRARY.format(", ".join(tables))
    for kind, reason in emitter.fallbacks.items():
        yield FLOATS.format(kind.removeprefix("onnx:").upper(), reason)


def _multiplies_int8(nodes: list[ir.Node], model: Model) -> bool:
    codes = {str(tensor.encoding.codes) for tensor in model.tensors.values()}
    return "int8" in codes and any(node.op_type in _PRODUCTS for node in nodes)
