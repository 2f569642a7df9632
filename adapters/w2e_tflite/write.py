"""The canonical model to a TensorFlow Lite file."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.output import Output, OutputFile
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.activation import ActivationMode
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.state import PREFIX, constants, read_states
from w2e_bridge.loss import Grade, Ignored, TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_bridge.passes.components import components
from w2e_tflite import metadata
from w2e_tflite.builder import build
from w2e_tflite.metadata import Signature, bytes_of
from w2e_tflite.names import Names
from w2e_tflite.profiles import TFLITE
from w2e_tflite.record import Record, make
from w2e_tflite.schema import VERSION
from w2e_tflite.sparse_out import pattern_for, read_sparse
from w2e_tflite.sparsity import pattern_of
from w2e_tflite.store import Source, Store
from w2e_tflite.subgraphs import Placed, write_graph
from w2e_tflite.tail import moved

DEFAULT_SIGNATURE = "serving_default"
DESCRIPTION = "w2e-bridge"


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.tflite`.

    Args:
        model: in channels-last normal form.
        decisions: how each tensor is held.
        request: nothing of it matters but the name of the file.

    Raises:
        UnsupportedError: operators or quantization that the format does not have.
    """
    store = Store()
    further = [d for d in components(model, TFLITE, request) if d.model.graph is not None]
    networks = (model, *(part.model for part in further))
    signatures = _part(store, "", model, decisions)
    for part in further:
        signatures += _part(store, part.name, part.model, part.decisions)
    root = make(
        "Model",
        {
            "version": VERSION,
            "operator_codes": tuple(store.code_records()),
            "subgraphs": tuple(store.subgraphs),
            "description": str(model.metadata.get(metadata.DESCRIPTION, DESCRIPTION)),
            "metadata": _metadata(store, model) or None,
            "signature_defs": tuple(signatures) or None,
            "buffers": tuple(store.buffers),
        },
    )
    return Output(
        files=(_file(store, root, model),),
        parts=tuple(part.part for part in further),
        constants=tuple(row for one in networks for row in constants(one)),
        values=tuple(row for one in networks for row in _values(one)),
        ignored=_ignored(model),
        summary=_summary(model),
    )


def _part(store: Store, key: str, model: Model, decisions: Decisions) -> list[Record]:
    """Write one graph of the model; its signatures."""
    if model.graph is None:
        raise UnsupportedError("a model without a graph can't become TensorFlow Lite")
    graph = model.graph.graph
    inputs, outputs = ([name_of(v) for v in side] for side in (graph.inputs, graph.outputs))
    states = read_states(model.metadata, inputs, outputs)
    placed = write_graph(store, _source(model, decisions), graph, states)
    said = metadata.signatures_of(model.metadata.get(metadata.SIGNATURES))
    fitting = [s for s in said if set(s.inputs.values()) <= placed.inputs.keys()]
    if not fitting and (key or not _from_tflite(model)):
        fitting = [_default(key or DEFAULT_SIGNATURE, placed)]
    return [_signature(signature, placed) for signature in fitting]


def _source(model: Model, decisions: Decisions) -> Source:
    names = Names()
    assert model.graph is not None
    for graph in model.graph.graphs():
        made = [output for node in graph for output in node.outputs]
        names.taken.update(name_of(v) for v in (*graph.inputs, *graph.initializers.values(), *made))
    tensors = {
        name: decisions[name].tensor if name in decisions else tensor
        for name, tensor in model.tensors.items()
    }
    patterns = {}
    for key, text in model.metadata.items():
        if key.startswith(metadata.SPARSITY) and (pattern := pattern_of(str(text))) is not None:
            patterns[key.removeprefix(metadata.SPARSITY)] = pattern
    for name in read_sparse(model.graph.graph):
        if name in tensors and (pattern := pattern_for(tensors[name])) is not None:
            patterns.setdefault(name, pattern)
    return Source(tensors=tensors, values=model.activations, patterns=patterns, names=names)


def _from_tflite(model: Model) -> bool:
    return any(key.startswith("tflite.") for key in model.metadata)


def _default(key: str, placed: Placed) -> Signature:
    """A signature for a model that has none: public names are those of its values."""
    inputs, outputs = ({name: name for name in side} for side in (placed.inputs, placed.outputs))
    return Signature(key=key, inputs=inputs, outputs=outputs)


def _signature(signature: Signature, placed: Placed) -> Record:
    return make(
        "SignatureDef",
        {
            "inputs": _named(signature.inputs, placed.inputs),
            "outputs": _named(signature.outputs, placed.outputs),
            "signature_key": signature.key,
            "subgraph_index": placed.number,
        },
    )


def _named(names: Mapping[str, str], places: Mapping[str, int]) -> tuple[Record, ...]:
    return tuple(
        make("TensorMap", {"name": public, "tensor_index": places[name]})
        for public, name in names.items()
        if name in places
    )


def _metadata(store: Store, model: Model) -> tuple[Record, ...]:
    """Metadata buffers."""
    return tuple(
        make(
            "Metadata",
            {
                "name": key.removeprefix(metadata.BUFFER).partition("#")[0],
                "buffer": store.data(bytes_of(str(text))),
            },
        )
        for key, text in sorted(model.metadata.items())  # whatever format they came through
        if key.startswith(metadata.BUFFER)
    )


def _file(store: Store, root: Record, model: Model) -> OutputFile:
    built = build(root)
    head = [*built.head, *((built.places[id(later)], data) for later, data in store.small)]
    nbytes = built.nbytes
    if metadata.TAIL in model.metadata:
        tail = moved(bytes_of(str(model.metadata[metadata.TAIL])), nbytes)
        head.append((nbytes, tail))
        nbytes += len(tail)
    jobs = tuple(store.jobs(built.places))
    return OutputFile(name="{stem}.tflite", nbytes=nbytes, head=tuple(head), jobs=jobs)


def _values(model: Model) -> tuple[TensorLoss, ...]:
    return tuple(
        TensorLoss(
            name=name,
            source_encoding=str(q.codes),
            encoding=str(q.codes),
            grade=Grade.EXACT,
        )
        for name, q in model.activations.items()
        if q.mode is ActivationMode.STATIC
    )


def _ignored(model: Model) -> tuple[Ignored, ...]:
    known = ("tflite.", PREFIX)
    return tuple(
        Ignored(name=key, reason="TensorFlow Lite has no place for it")
        for key in model.metadata
        if not key.startswith(known)
    )


def _summary(model: Model) -> str:
    stored = {str(t.encoding.codes) for t in model.tensors.values() if t.encoding.quantized}
    computed = {str(q.codes) for q in model.activations.values() if q.mode is ActivationMode.STATIC}
    kept = f"{', '.join(sorted(stored))} codes kept; " if stored else ""
    return f"{kept}{', '.join(sorted(computed)) or 'float32'} activations"
