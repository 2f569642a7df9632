"""A TensorFlow Lite file to the canonical model. Weights stay in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.spec import OptionValue
from w2e_bridge.graph.functions import DOMAIN
from w2e_bridge.graph.functions import VERSION as FUNCTIONS_VERSION
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.graph.serialize import in_order, settle
from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.kernels.state import metadata_of
from w2e_tflite.container import Container, open_file
from w2e_tflite.lifting import Lifted, Refusal, Subgraph
from w2e_tflite.metadata import SIGNATURES, Signature, said, signatures_text
from w2e_tflite.needed import drop_unread
from w2e_tflite.operators import lift_graph
from w2e_tflite.record import Record
from w2e_tflite.sound import check
from w2e_tflite.sparsity import Pattern

IR_VERSION = 10
_SHOWN = 6


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """Read a TensorFlow Lite file.

    The first subgraph is the model; further ones that have a signature are its `components`, by the
    signature's name.

    Args:
        path: the file.
        options: none.

    Raises:
        FormatError: damaged, cut, hostile or no TensorFlow Lite file.
        UnsupportedError: operators that nobody knows, or that can't be carried.
    """
    del options
    container = open_file(path)
    parts: dict[str, Model] = {}
    patterns: dict[str, Pattern] = {}
    reached: set[int] = set()
    signatures = _signatures(container)
    for index in networks(container):
        name = signatures[index][0].text("signature_key") if index else ""
        lifted = Lifted(container=container)
        parts[name] = _model(lifted, index, signatures.get(index, []))
        reached |= lifted.reached
        patterns |= lifted.patterns
    main = parts.pop("")
    metadata, remarks = said(container, patterns)
    return replace(
        main,
        components=parts,
        metadata={**metadata, **main.metadata},
        remarks=(*main.remarks, *remarks, *_unread(container, reached)),
    )


def networks(container: Container) -> list[int]:
    """The subgraphs that are networks of their own: the first, and those that a signature names."""
    return sorted({0, *_signatures(container)})


def _signatures(container: Container) -> dict[int, list[Record]]:
    """The signatures of each subgraph."""
    found: dict[int, list[Record]] = {}
    for record in container.model.records("signature_defs"):
        index, key = record.integer("subgraph_index"), record.text("signature_key")
        container.subgraph(index, f"signature '{key}'")
        if index and not key:
            raise container.error(record, "a signature without a name")
        found.setdefault(index, []).append(record)
    return found


def _model(lifted: Lifted, index: int, signatures: list[Record]) -> Model:
    source = lifted.container.source
    finished = lift_graph(lifted, index)
    if lifted.refused:
        raise UnsupportedError(_refusal(str(source.path), lifted.refused))
    drop_unread(lifted)
    graph = _ir_model(lifted, finished)
    _drop_unused(graph, lifted)
    settle(graph, lifted.tensors)
    check(graph, lifted)
    metadata = metadata_of(lifted.states)
    if signatures:
        rows = [_signature(record, finished) for record in signatures]
        metadata[SIGNATURES] = signatures_text(rows)
    return Model(
        tensors=in_order(graph, lifted.tensors),
        graph=graph,
        activations=lifted.values,
        numerics="litert",
        metadata=metadata,
        origin=Origin(format="tflite", path=str(source.path), nbytes=source.size),
        remarks=tuple(lifted.remarks.values()),
    )


def _ir_model(lifted: Lifted, finished: Subgraph) -> ir.Model:
    functions = list(lifted.functions.values())
    if functions:
        finished.graph.opset_imports[DOMAIN] = FUNCTIONS_VERSION
    return ir.Model(finished.graph, ir_version=IR_VERSION, functions=functions)


def _drop_unused(model: ir.Model, lifted: Lifted) -> None:
    """Constants that operations said another way."""
    used = set()
    for graph in model.graphs():
        for name, value in list(graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del graph.initializers[name]
            else:
                used.add(name)
    for name in [name for name in lifted.tensors if name not in used]:
        del lifted.tensors[name]


def _signature(record: Record, finished: Subgraph) -> Signature:
    sides = []
    given = finished.record.integers("inputs")
    inputs = {index: name_of(finished.known[index]) for index in given if index in finished.known}
    outputs = {index: name_of(value) for index, value in finished.public}
    for side, names in (("inputs", inputs), ("outputs", outputs)):
        pairs = [(r.text("name"), r.integer("tensor_index")) for r in record.records(side)]
        sides.append({name: names[index] for name, index in pairs if index in names})
    return Signature(key=record.text("signature_key"), inputs=sides[0], outputs=sides[1])


def _refusal(path: str, refused: Sequence[Refusal]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for item in refused:
        groups.setdefault((item.kind, item.reason), []).append(item.tensor)
    shown = [_group(*key, tensors) for key, tensors in list(groups.items())[:_SHOWN]]
    more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    return f"{path}: can't be converted: {'; '.join(shown)}{more}"


def _group(kind: str, reason: str, tensors: list[str]) -> str:
    custom = kind.startswith("custom:")
    name = f"custom operator {kind.removeprefix('custom:')}" if custom else kind.upper()
    if kind == "input":
        return f"input '{tensors[0]}': {reason}"
    times = f" ×{len(tensors)}" if len(tensors) > 1 else ""
    told = [f"makes '{tensors[0]}'"] if tensors[0] else []
    told += [reason] if reason else []
    return f"{name}{times} ({': '.join(told)})" if told else f"{name}{times}"


def _unread(container: Container, reached: set[int]) -> list[Remark]:
    """What of a file has no place in the model."""
    found = [
        Remark(
            name=record.text("name") or f"subgraph {index}", reason="nothing calls this subgraph"
        )
        for index, record in enumerate(container.subgraphs)
        if index not in reached
    ]
    tensors = [t for graph in container.subgraphs for t in graph.records("tensors")]
    ranges = [
        q for t in tensors if (q := t.record("quantization")) and q.values.get("min") is not None
    ]
    if ranges:
        reason = f"of {len(ranges)} tensors, which only TensorFlow reads"
        found.append(Remark(name="quantization.min, quantization.max", reason=reason))
    return found
