"""The constants of a graph of calls as initializers: codes as the source has them, inside the model file."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.rewriting import first_of
from w2e_bridge.graph.weights import DTYPES, weights_of
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import Tensor


def codes_of(tensor: Tensor, name: str) -> ir.TensorProtocol:
    """The codes of a tensor in their own type and the tensor's shape."""
    encoding = PLAIN[str(tensor.encoding.codes)]
    parts = tensor.storage.parts(0, tensor.rows)
    codes = np.ascontiguousarray(parts.codes).reshape(tensor.shape)
    dtype = DTYPES[str(tensor.encoding.codes)]
    if dtype.bitwidth < 8:
        import ml_dtypes

        codes = codes.astype(getattr(ml_dtypes, str(tensor.encoding.codes)))
    elif codes.dtype != numpy_type(encoding):
        codes = codes.astype(bool if str(tensor.dtype) == "bool" else numpy_type(encoding))
    if tensor.dtype == "bool":
        dtype, codes = ir.DataType.BOOL, codes.astype(bool)
    return ir.tensor(codes, dtype=dtype, name=name)


def store(graph: ir.Graph, tensors: dict[str, Tensor]) -> None:
    """Give every weight of a graph its codes.

    A tensor that is computed with in another type than it is stored in gets a Cast.
    """
    for name, value in list(weights_of(graph)):
        tensor = tensors[name]
        data = codes_of(tensor, name)
        value.const_value = data
        value.type = ir.TensorType(data.dtype)
        value.shape = ir.Shape(tensor.shape)
        wanted = DTYPES[tensor.dtype]
        if tensor.encoding.plain and data.dtype != wanted and tensor.dtype != "bool":
            _cast(graph, value, wanted)


def _cast(graph: ir.Graph, value: ir.Value, wanted: ir.DataType) -> None:
    users = list(value.uses())
    node = ir.node("Cast", [value], {"to": int(wanted)})
    made = node.outputs[0]
    made.name = f"{value.name}.cast"
    made.type, made.shape = ir.TensorType(wanted), value.shape
    inside = [user for user, _ in users if user.graph is graph]
    graph.insert_before(first_of(graph, inside) if inside else graph.node(0), node)
    for user, index in users:
        user.replace_input_with(index, made)
