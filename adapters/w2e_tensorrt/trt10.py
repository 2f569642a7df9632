"""The canonical model to what TensorRT 10 builds an int8 engine from: floats, and the ranges of values beside them.

Release 10 is the last with implicit quantization, and the one of JetPack 6: the network is of floats and weakly
typed, a calibration cache tells the ranges of its activations, and the builder makes the codes of weights itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.output import Output, OutputFile, small_file
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.data import network_files
from w2e_bridge.graph.qdq import QUANTIZED_OPS
from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.graph.store import store
from w2e_bridge.graph.weights import weights_of
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.model import Model
from w2e_bridge.loss import Ignored
from w2e_bridge.negotiation.decision import Decisions
from w2e_tensorrt import calibration_cache, dynamic_ranges
from w2e_tensorrt.lowering.covering import Covering
from w2e_tensorrt.lowering.finishing import companion, describe, finish, inline, opset_for
from w2e_tensorrt.lowering.interface import held_in_source
from w2e_tensorrt.lowering.precisions import RESERVED, SEPARATORS, precisions, spec
from w2e_tensorrt.lowering.ranges import rectify
from w2e_tensorrt.lowering.single import narrow, single
from w2e_tensorrt.lowering.states import ANEW, OPTION, settle
from w2e_tensorrt.settings import Settings, settings

HEADER = "TRT-100300-EntropyCalibration2"
"""The cache's first line: 10.3.0 is the release of JetPack 6.1 and 6.2, and trtexec reads caches as those of the
entropy calibrator 2 (NVIDIA/TensorRT samples/common/sampleEngines.cpp, RndInt8Calibrator); TensorRT refuses those
of another algorithm."""

CACHE, RANGES, LAYERS = "calib.cache", "dynamic_ranges.txt", "layer_precisions.txt"
VERSION = ">=10,<11"

SIX = 6.0
"""Where Relu6 ends. ONNX Runtime's quantize_static leaves such a Clip out too; floats know no end of a range."""

PREFER = "prefer"
"""Unless a hint says otherwise, layers without an implementation of their precision get another one; "obey" makes
no engine then."""

CONSTRAINTS, PRECISIONS, OUTPUTS = "precision_constraints", "layer_precisions", "layer_output_types"
"""Hints that only this release has an ear for."""

TYPES, FEWER = "precisions", frozenset({"fp16", "bf16", "best"})
KNOWN = frozenset({"fp32", "int8"})
"""A hint of what may be computed with beside float32, and which of it is taken as said: int8 depends on the ranges."""


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx` and its data file, the cache and what else tells of quantization, and build settings.

    Args:
        model: with a graph, channels first.
        decisions: how each tensor is held.
        request: the stem.
    """
    assert model.graph is not None
    work = model.graph.clone()
    inline(work)
    drop_unused(work.graph)
    _refuse_codes(work)
    states = settle(work, model, str(request.options.get(OPTION) or ANEW))
    codes = any(decision.source.quantized for decision in decisions.values())
    rectify(work, model.activations, ceiling=SIX if codes else math.inf)
    used = {name for graph in work.graphs() for name, _ in weights_of(graph)}
    kinds = narrow(work)
    tensors = single(work, {name: decisions[name].tensor for name in used if name in decisions})
    covering = Covering(values=model.activations, tensors=tensors)
    covering.run(work)
    data = store(work.graph, tensors, f"{request.stem}.onnx.data")
    for node in (node for graph in work.graphs() for node in graph):
        node.name = (node.name or "").translate(RESERVED)
    finish(work, opset_for(work, tensors))
    describe(work, replace(model, metadata=states.metadata))
    told = Quantizing(
        stem=request.stem,
        covering=covering,
        layers=_spec(_layers(work, covering, decisions, kinds), model.hints.values.get(PRECISIONS)),
        narrow=kinds | (FEWER & _named(model.hints.values.get(TYPES))),
        constraints=str(model.hints.values.get(CONSTRAINTS) or ""),
        outputs=_spec({}, model.hints.values.get(OUTPUTS)),
        unheard=tuple(sorted(_named(model.hints.values.get(TYPES)) - FEWER - KNOWN)),
    )
    io = states.described(held_in_source(work.graph, model.activations))
    build = told.added(settings(model, work.graph, io, VERSION, stem=request.stem))
    return Output(
        files=(
            *network_files(work, data),
            *told.files(),
            *(small_file(told.place(name), text) for name, text in build.files()),
        ),
        values=tuple(covering.losses),
        ignored=(*covering.ignored, *told.ignored(), *states.ignored),
        conditions=(*states.conditions, *told.conditions()),
        hints=build.effects,
        summary=told.summary,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantizing:
    """What is told of quantization beside the network.

    Attributes:
        stem: of the files.
        covering: ranges of values.
        layers: value of `--layerPrecisions`, or nothing.
        narrow: types of fewer bits that the source's graph computes with, or that are asked for.
        constraints: value of `--precisionConstraints`, where a hint says it.
        outputs: value of `--layerOutputTypes`, or nothing.
        unheard: types of fewer bits that are asked for and that this release takes otherwise, or not at all.
    """

    stem: str
    covering: Covering
    layers: str
    narrow: frozenset[str]
    constraints: str
    outputs: str
    unheard: tuple[str, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """What the builder may compute with beside float32."""
        return (*(["int8"] if self.covering.scales else []), *sorted(self.narrow))

    @property
    def summary(self) -> str:
        """One sentence for the report."""
        known, derived = len(self.covering.scales), len(self.covering.derived)
        if not known:
            return "float weights, floats between: no range of an activation is known"
        more = f", {derived} more follow from them" if derived else ""
        return f"float weights; symmetric int8 ranges of {known - derived} activations{more}"

    def place(self, name: str) -> str:
        """What a file is called: beside a model of another name than a folder's, under its stem."""
        return companion(self.stem, name)

    def files(self) -> Iterator[OutputFile]:
        """The files of which there is something to say."""
        scales = self.covering.scales
        if scales:
            yield small_file(self.place(CACHE), calibration_cache.written(HEADER, scales))
            yield small_file(self.place(RANGES), dynamic_ranges.written(scales))
        if self.layers:
            yield small_file(self.place(LAYERS), f"{self.layers}\n".encode())

    def ignored(self) -> Iterator[Ignored]:
        """What the files can't say."""
        scales = self.covering.scales
        if not scales:
            reason = "left out: no range of an activation is known before run time"
            yield Ignored(name=CACHE, reason=reason)
        colons = sum(":" in name for name in scales)
        if colons:
            reason = f"a reader that ends names at their first colon can't find {colons} of them"
            yield Ignored(name=RANGES, reason=reason)

    def conditions(self) -> tuple[str, ...]:
        """What the engine's numbers depend on."""
        if not self.covering.scales:
            return ()
        return (
            "TensorRT 10 makes the codes of weights itself, and computes in floats where it is faster",
        )

    def added(self, build: Settings) -> Settings:
        """Build settings with what this release wants besides."""
        document: dict[str, object] = {"quantization": "implicit", TYPES: list(self.types)}
        said = dict.fromkeys((f"--{kind}" for kind in self.types), "")
        if self.covering.scales:
            cache = self.place(CACHE)
            document |= {"calibration": cache, "dynamic_ranges": self.place(RANGES)}
            said["--calib"] = cache
        constraints = self.constraints or (PREFER if self.layers or self.outputs else "")
        for key, flag, value in (
            (CONSTRAINTS, "--precisionConstraints", constraints),
            (PRECISIONS, "--layerPrecisions", self.layers),
            (OUTPUTS, "--layerOutputTypes", self.outputs),
        ):
            if value:
                document[key] = self.place(LAYERS) if key == PRECISIONS else value
                said[flag] = value
        others = [line for line in build.arguments if line.partition("=")[0] not in said]
        mine = [f"{flag}={value}" if value else flag for flag, value in said.items()]
        return replace(
            build,
            document={**build.document, **document},
            arguments=(*others, *mine),
            effects=(
                *((k, "applied" if k in document else e) for k, e in build.effects),
                *((f"{TYPES}[{kind}]", "unsupported") for kind in self.unheard),
            ),
        )


def _refuse_codes(work: ir.Model) -> None:
    """A network with Q/DQ is one of explicit quantization, for which TensorRT reads no cache.

    Raises:
        UnsupportedError: it has such nodes, which no property of the model could hold.
    """
    found = {
        node.op_type
        for graph in work.graphs()
        for node in graph
        if node.op_type in QUANTIZED_OPS or node.op_type.startswith("QLinear")
    }
    if found:
        raise UnsupportedError(
            f"implicit quantization has no place for {', '.join(sorted(found))}, which stay in the graph"
        )


def _layers(
    work: ir.Model, covering: Covering, decisions: Decisions, kinds: frozenset[str]
) -> Mapping[str, str]:
    """Precisions of layers as the source computes, where it says so: of a float network it is for TensorRT to choose."""
    quantized = {
        name
        for name, decision in decisions.items()
        if decision.source.quantized and isinstance(decision.source.codes, Integer)
    }
    plain = min(kinds, default="fp32")
    return precisions(work, covering.scales, quantized, plain) if quantized else {}


def _named(hint: object) -> frozenset[str]:
    """The types that a hint names."""
    named = hint if isinstance(hint, list | tuple) else str(hint or "").split(",")
    return frozenset(map(str, named)) - {""}


def _spec(found: Mapping[str, str], hint: object) -> str:
    """The value of a flag: what is found, then a hint, which wins; it is such a value, or names layers and types."""
    if isinstance(
        hint, Mapping
    ):  # layers are called as nodes are in the file; a star stands for more
        hint = spec({str(name).translate(SEPARATORS): kind for name, kind in hint.items()})
    asked = str(hint or "")
    return ",".join(text for text in (spec(found), asked) if text)
