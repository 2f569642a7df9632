"""A model of integer kernels to one ONNX file: calls that compute LiteRT's integers, codes as they were."""

from __future__ import annotations

import json

import onnx_ir as ir

from w2e_bridge.formats.output import Output, small_file
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.state import constants
from w2e_bridge.loss import Grade, TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_onnx.conditions import conditions
from w2e_onnx.lowering.litert.bodies import emit
from w2e_onnx.lowering.litert.emit import OPSETS, Emitter
from w2e_onnx.lowering.litert.store import store

IR_VERSION, IR_VERSION_INT2 = 10, 13
OPSET_INT2 = 25
"""The first with 2-bit integers."""


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx`.

    Args:
        model: canonical, in channels-last normal form.
        decisions: how each tensor is held.
        request: options `match` and `processor`.
    """
    assert model.graph is not None
    work = model.graph.clone()
    reference = request.options.get("match") == "litert-reference"
    tensors = {
        name: decisions[name].tensor if name in decisions else t
        for name, t in model.tensors.items()
    }
    narrow = any(str(tensor.encoding.codes) == "int2" for tensor in tensors.values())
    opsets = OPSETS | ({"": OPSET_INT2} if narrow else {})
    signed = request.options.get("processor") == "vnni"
    emitter = emit(work, model, reference=reference, signed=signed, opsets=opsets)
    drop_unused(work.graph)
    store(work.graph, tensors)
    finish(work, emitter)
    describe(work, model)
    work.ir_version = IR_VERSION_INT2 if narrow else IR_VERSION
    data = ir.serde.serialize_model(work).SerializeToString(deterministic=True)
    return Output(
        files=(small_file("{stem}.onnx", data),),
        constants=tuple(constants(model)),
        values=values(model),
        conditions=conditions(emitter, model),
        summary=_summary(model, reference=reference),
    )


def finish(work: ir.Model, emitter: Emitter) -> None:
    """The functions that are called, and the versions of the domains."""
    for function in emitter.functions.values():
        work.functions[function.identifier()] = function
    called = {node.op_identifier() for graph in work.graphs() for node in graph}
    for identifier in [i for i in work.functions if i not in called]:
        del work.functions[identifier]
    domains = {node.domain for graph in work.graphs() for node in graph}
    domains |= {node.domain for function in work.functions.values() for node in function}
    imports = {domain: emitter.opsets.get(domain, 1) for domain in sorted(domains | {""})}
    work.graph.opset_imports.clear()
    work.graph.opset_imports.update(imports)


def describe(work: ir.Model, model: Model) -> None:
    """Metadata of the source, under its own keys."""
    work.producer_name = "w2e-bridge"
    for key, value in model.metadata.items():
        work.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)


def values(model: Model) -> tuple[TensorLoss, ...]:
    """A row for every quantized value: its codes stay what they were."""
    return tuple(
        TensorLoss(
            name=name,
            source_encoding=str(quantization.codes),
            encoding=str(quantization.codes),
            grade=Grade.EXACT,
        )
        for name, quantization in model.activations.items()
        if quantization.scale is not None
    )


def _summary(model: Model, *, reference: bool) -> str:
    kernels = "reference" if reference else "default"
    integer = any(q.scale is not None for q in model.activations.values())
    kept = "codes kept; " if any(t.encoding.quantized for t in model.tensors.values()) else ""
    return (
        f"{kept}integers of LiteRT's {kernels} kernels" if integer else f"{kept}float32 activations"
    )
