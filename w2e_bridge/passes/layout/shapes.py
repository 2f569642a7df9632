"""Types and shapes of values that a graph doesn't say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.protos import main_graphs
from w2e_bridge.graph.serialize import graph_bytes
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.passes.layout.site import SMALL

if TYPE_CHECKING:
    import onnx


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
    proto = _light(model, tensors)
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


def _light(model: ir.Model, tensors: Mapping[str, Tensor]) -> onnx.ModelProto:
    """The graph without weights, but with the small integers that are shapes, axes and indices."""
    import onnx

    proto = onnx.load_from_string(graph_bytes(model))
    for graph in main_graphs(proto):
        for held in graph.initializer:
            tensor = tensors.get(held.name)
            outside = held.data_location == onnx.TensorProto.EXTERNAL
            if outside and tensor is not None and _integers(tensor):
                codes = tensor.storage.parts(0, tensor.rows).codes.reshape(tensor.shape)
                array = np.asarray(codes).astype(tensor.dtype)
                held.CopyFrom(onnx.numpy_helper.from_array(array, held.name))
    return proto


def _integers(tensor: Tensor) -> bool:
    plain = not tensor.encoding.quantized and tensor.dtype in ("int32", "int64")
    return plain and tensor.elements <= SMALL
