"""Types and shapes of values that a graph doesn't say."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import Where
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.graph.serialize import graph_bytes, graph_of
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.passes.layout.site import SMALL


def infer_shapes(model: ir.Model, tensors: Mapping[str, Tensor]) -> None:
    """Fill in what the inference of the `onnx` package finds; what is known stays.

    Args:
        model: a graph with stubs; types and shapes of its values are changed.
        tensors: their data; small integers among it decide shapes.
    """
    import onnx

    if not any(
        _open(value) for graph in model.graphs() for node in graph for value in node.outputs
    ):
        return
    proto = onnx.load_from_string(_light(model, tensors))
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    except onnx.shape_inference.InferenceError:  # of a node: what it would give stays unknown
        return
    found = ir.serde.deserialize_model(inferred)
    for mine, other in zip(model.graphs(), found.graphs(), strict=True):
        known = {value.name: value for node in other for value in node.outputs}
        for node in mine:
            for value in node.outputs:
                if value.name in known:
                    _merge(value, known[value.name])


def _open(value: ir.Value) -> bool:
    return value.type is None or value.shape is None or any(_free(dim) for dim in value.shape)


def _free(dim: int | ir.SymbolicDim) -> bool:
    return not isinstance(dim, int) and dim.value is None


def _merge(value: ir.Value, found: ir.Value) -> None:
    if value.type is None:
        value.type = found.type
    if found.shape is None:
        return
    if value.shape is None or len(value.shape) != len(found.shape):
        value.shape = value.shape or found.shape
        return
    pairs = zip(value.shape, found.shape, strict=True)
    value.shape = ir.Shape([b if _free(a) else a for a, b in pairs])


def _light(model: ir.Model, tensors: Mapping[str, Tensor]) -> bytes:
    """The graph without weights, but with the small integers that are shapes, axes and indices."""
    copy = graph_of(graph_bytes(model), Where(path="graph"))
    for graph in copy.graphs():
        for value in graph.initializers.values():
            tensor = tensors.get(name_of(value))
            if tensor is None or not is_weight(value) or not _integers(tensor):
                continue
            codes = tensor.storage.parts(0, tensor.rows).codes.reshape(tensor.shape)
            kind = DTYPES[tensor.dtype]
            value.const_value = ir.Tensor(
                np.asarray(codes).astype(kind.numpy()), dtype=kind, name=tensor.name
            )
    return graph_bytes(copy)


def _integers(tensor: Tensor) -> bool:
    plain = not tensor.encoding.quantized and tensor.dtype in ("int32", "int64")
    return plain and tensor.elements <= SMALL
