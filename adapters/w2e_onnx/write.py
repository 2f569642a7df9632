"""The canonical model to an ONNX file that ONNX Runtime's CPU provider runs as it stands."""

from __future__ import annotations

import json
from collections.abc import Iterable

import onnx_ir as ir

from w2e_bridge.formats.output import Output, OutputFile, small_file
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.decision import Decisions
from w2e_onnx import genai
from w2e_onnx.lowering.attention import fuse_attention, pack_queries
from w2e_onnx.lowering.data import DataFile
from w2e_onnx.lowering.functions import DOMAIN, MICROSOFT, VERSION, function
from w2e_onnx.lowering.normalization import fuse_normalization
from w2e_onnx.lowering.rewriting import drop_unused
from w2e_onnx.lowering.weights import Weights, emit
from w2e_onnx.profiles import ORT_CPU

ACCURACY = {"int8": 4, "float": 0}
"""`--activations` to `accuracy_level` of MatMulNBits."""

IR_VERSION = 10
MANIFEST = "w2e.manifest"
"""Key of the model-level metadata that says where each tensor of the source is."""


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx`, its data file and what a language model needs beside it.

    Args:
        model: with a graph.
        decisions: how each tensor is held.
        request: options `activations`: "int8" or "float".
    """
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
    files = [
        small_file(
            "{stem}.onnx", ir.serde.serialize_model(work).SerializeToString(deterministic=True)
        ),
        OutputFile(
            name="{stem}.onnx.data", nbytes=data.size, head=tuple(data.head), jobs=tuple(data.jobs)
        ),
        *genai.settings(model, request.stem),
    ]
    companions, ignored = genai.companions(model)
    return Output(
        files=tuple(file for file in files if file.nbytes),
        companions=companions,
        ignored=ignored,
        summary=_summary(decisions, mode),
    )


def _finish(work: ir.Model, weights: Weights) -> None:
    """Functions, versions and the manifest of what is where."""
    work.functions.clear()
    for name in sorted(weights.functions):
        made = function(name)
        work.functions[made.identifier()] = made
    graph = work.graph
    domains = {node.domain for node in graph}
    graph.opset_imports.clear()
    graph.opset_imports[""] = ORT_CPU.opset
    if MICROSOFT in domains or weights.functions:
        graph.opset_imports[MICROSOFT] = 1
    if weights.functions:
        graph.opset_imports[DOMAIN] = VERSION
    work.ir_version = IR_VERSION
    work.producer_name = "w2e-bridge"
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
