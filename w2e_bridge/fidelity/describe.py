"""A model as plain data: what `inspect` shows. Reads shapes and headers, never weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

from w2e_bridge.fidelity.report import plain
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import Tensor

Document = dict[str, Any]


def describe(model: Model) -> Document:
    """Everything that is known without reading a weight, in terms of JSON."""
    tensors = list(model.tensors.values())
    return {
        "path": model.origin.path if model.origin else "",
        "format": model.origin.format if model.origin else "",
        "kind": model.kind,
        "bytes": model.origin.nbytes if model.origin else model.nbytes,
        "architecture": plain(model.architecture),
        "graph": _graph(model),
        "tokenizer": _tokenizer(model),
        "numerics": model.numerics,
        "weights": _sums(tensors),
        "encodings": _encodings(tensors),
        "tensors": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "dtype": tensor.dtype,
                "encoding": tensor.label,
                "meaning": str(tensor.encoding),
                "bytes": tensor.nbytes,
            }
            for tensor in tensors
        ],
        "activations": _activations(model),
        "metadata": plain(model.metadata),
        "hints": plain(model.hints.values),
        "remarks": plain(model.remarks),
        "components": {name: describe(part) for name, part in model.components.items()},
    }


def _sums(tensors: list[Tensor]) -> Document:
    elements, nbytes = sum(t.elements for t in tensors), sum(t.nbytes for t in tensors)
    return {
        "tensors": len(tensors),
        "elements": elements,
        "bytes": nbytes,
        "bits_per_weight": 8 * nbytes / elements if elements else 0.0,
    }


def _encodings(tensors: list[Tensor]) -> list[Document]:
    groups: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.label, []).append(tensor)
    rows = [{"encoding": label, **_sums(group)} for label, group in groups.items()]
    return sorted(rows, key=lambda row: (-row["bytes"], row["encoding"]))


def _tokenizer(model: Model) -> Document | None:
    if model.tokenizer is None:
        return None
    notes = [{"name": name, "reason": reason} for name, reason in model.tokenizer.notes]
    return {"missing": model.tokenizer.missing, "notes": notes}


def _activations(model: Model) -> list[Document]:
    return [
        {
            "name": name,
            "codes": str(found.codes),
            "mode": found.mode.value,
            "granularity": found.granularity.value,
            "scale": _numbers(found.scale),
            "zero_point": _numbers(found.zero_point),
            "axis": found.axis,
        }
        for name, found in model.activations.items()
    ]


def _numbers(array: AnyArray | None) -> object:
    """One number, or a list of them, None where nothing is said."""
    return None if array is None else array.tolist()


def _graph(model: Model) -> Document | None:
    if model.graph is None:
        return None
    graph = model.graph.graph
    nodes = list(graph.all_nodes())
    return {
        "opsets": dict(model.graph.opset_imports),
        "nodes": len(nodes),
        "operators": dict(sorted(Counter(node.op_type for node in nodes).items())),
        "inputs": [_value(value) for value in graph.inputs],
        "outputs": [_value(value) for value in graph.outputs],
    }


def _value(value: Any) -> Document:
    shape = (
        None if value.shape is None else [d if isinstance(d, int) else str(d) for d in value.shape]
    )
    dtype = None if value.dtype is None else value.dtype.name.lower()
    return {"name": value.name, "dtype": dtype, "shape": shape}
