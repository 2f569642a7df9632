"""The canonical model to an ONNX file that ONNX Runtime's CPU provider runs as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import onnx_ir as ir

from w2e_bridge.formats.output import Output
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.data import DataFile, network_files
from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.decision import Decisions
from w2e_bridge.passes.components import components
from w2e_onnx import genai, siblings
from w2e_onnx.lowering.attention import fuse_attention, pack_queries
from w2e_onnx.lowering.functions import MICROSOFT, function
from w2e_onnx.lowering.normalization import fuse_normalization
from w2e_onnx.lowering.weights import Weights, emit
from w2e_onnx.profiles import ORT_CPU, PORTABLE, profiles

INTEGER_NUMERICS = ("litert", "litert-reference")
"""Models of integer kernels, whose rounding is theirs."""

ACCURACY = {"int8": 4, "float": 0}
"""`--activations` to `accuracy_level` of MatMulNBits."""

IR_VERSION, NEWER_IR_VERSION = 10, 11
NEWER = {"Attention", "RotaryEmbedding", "RMSNormalization"}
"""Standard operators of opset 23; what is left of them when the runtime's own don't fit."""

MANIFEST = "w2e.manifest"
"""Key of the model-level metadata that says where each tensor of the source is."""

ELSEWHERE = ("tokenizer.", "gguf.types")
"""Metadata that is in the tokenizer's files, or says nothing outside of its own format."""


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx`, a file of its own for each further network, and what belongs to them.

    Args:
        model: with a graph.
        decisions: how each tensor is held.
        request: options `activations`: "int8" or "float"; `match`.
    """
    further = tuple(components(model, profiles()[request.profile], request))
    if not further:
        return network(model, decisions, request)
    names = siblings.file_names([part.name for part in further], request.stem)
    named = replace(model, metadata={**model.metadata, siblings.KEY: siblings.text_of(names)})
    outputs = {
        part.name: network(part.model, part.decisions, replace(request, stem=names[part.name][:-5]))
        for part in further
    }
    return siblings.joined(network(named, decisions, request), outputs, names, further)


def network(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx`, its data file and what a language model needs beside it."""
    plain = model.numerics in INTEGER_NUMERICS and request.options.get("match") == "none"
    if request.profile == PORTABLE.name or model.numerics == "ort" or plain:
        # Imported late: half of the start-up of a model that needs neither.
        from w2e_onnx.lowering import quantized

        return quantized.lower(model, decisions, request)
    if model.numerics in INTEGER_NUMERICS:
        from w2e_onnx import integer

        return integer.lower(model, decisions, request)
    return blocks(model, decisions, request)


def blocks(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan the files of a model of floats and blocks of codes, in ONNX Runtime's own operators."""
    assert model.graph is not None
    work = model.graph.clone()
    graph = work.graph
    mode = str(request.options.get("activations", "int8"))
    data = DataFile(graph, f"{request.stem}.onnx.data")
    weights = Weights(graph=graph, data=data, decisions=decisions, accuracy=ACCURACY[mode])
    # Attention first: it swallows rotations and masks, and frees the products before it for merging.
    fuse_attention(graph)
    fuse_normalization(graph)
    drop_unused(graph)
    emit(weights)
    pack_queries(graph)
    drop_unused(graph)
    _finish(work, weights)
    _describe(work, model, weights)
    files = [*network_files(work, data), *genai.settings(model, request.stem)]
    companions, ignored = genai.companions(model)
    return Output(
        files=tuple(file for file in files if file.nbytes),
        companions=companions,
        ignored=ignored,
        hints=genai.effects(model),
        summary=_summary(decisions, mode),
    )


def _finish(work: ir.Model, weights: Weights) -> None:
    """Functions, versions and the manifest of what is where."""
    graph = work.graph
    called = {node.op_identifier() for node in graph}
    for identifier in [i for i in work.functions if i not in called]:
        del work.functions[identifier]
    standard = graph.opset_imports[""]
    newer = bool(work.functions) or any(not n.domain and n.op_type in NEWER for n in graph)
    for name in sorted(weights.functions):
        made = function(name)
        work.functions[made.identifier()] = made
    domains = {node.domain for node in graph} | ({MICROSOFT} if weights.functions else set())
    versions = {"": standard if newer else ORT_CPU.opset}
    graph.opset_imports.clear()
    graph.opset_imports.update(versions | {d: 1 for d in sorted(domains) if d})
    work.ir_version = NEWER_IR_VERSION if newer else IR_VERSION


def _describe(work: ir.Model, model: Model, weights: Weights) -> None:
    """Metadata of the source, under its own keys, and where each of its tensors is."""
    work.producer_name = "w2e-bridge"
    for key in model.metadata:
        if not key.startswith(ELSEWHERE):
            value = model.metadata[key]
            work.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
    manifest = {"tensors": weights.manifest, "version": 1}
    work.metadata_props[MANIFEST] = json.dumps(manifest, sort_keys=True, separators=(",", ":"))


def _summary(decisions: Decisions, mode: str) -> str:
    widths = sorted(_widths(decisions))
    stored = f"{'-, '.join(map(str, widths))}-bit codes kept; " if widths else ""
    computed = (
        "activations rounded to 8 bits" if mode == "int8" and widths else "float32 activations"
    )
    return f"{stored}{computed}"


def _widths(decisions: Decisions) -> Iterable[int]:
    return {d.tensor.encoding.codes.bits for d in decisions.values() if d.tensor.encoding.quantized}
