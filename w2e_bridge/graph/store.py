"""Plain tensors to initializers: inside the model file, or the large ones in a data file beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.formats.output import Buffer
from w2e_bridge.graph.data import DataFile
from w2e_bridge.graph.rewriting import first_of
from w2e_bridge.graph.weights import DTYPES, weights_of
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import Tensor

INLINE = 64 << 20
"""Bytes of weights up to which a model is one file."""

LARGE = 1 << 16
"""Bytes from which an array of a larger model goes to the data file."""


def store(graph: ir.Graph, tensors: Mapping[str, Tensor], name: str) -> DataFile:
    """Give every stub its numbers; a type that is computed with but not stored in gets a Cast.

    Args:
        graph: the main graph, from which the subgraphs are reached.
        tensors: all of them plain.
        name: of the data file.

    Returns:
        The data file, empty where everything is in the model file.
    """
    data = DataFile(graph, name)
    graphs = [graph, *graph.subgraphs()]
    stubs = [(value, tensors[n]) for g in graphs for n, value in list(weights_of(g))]
    split = sum(tensor.nbytes for _, tensor in stubs) > INLINE
    for value, tensor in stubs:
        if split and tensor.nbytes >= LARGE and value.graph is graph and _whole_bytes(tensor):
            _cast(_outside(graph, value, tensor, data), tensor)
        else:
            value.const_value = _inside(tensor)
            value.type = ir.TensorType(value.const_value.dtype)
            _cast(value, tensor)
    return data


def _whole_bytes(tensor: Tensor) -> bool:
    return _stored(tensor).bitwidth >= 8


def _stored(tensor: Tensor) -> ir.DataType:
    return ir.DataType.BOOL if tensor.dtype == "bool" else DTYPES[str(tensor.encoding.codes)]


def _inside(tensor: Tensor) -> ir.TensorProtocol:
    kind = _stored(tensor)
    codes = tensor.storage.parts(0, tensor.rows).codes
    shaped = np.broadcast_to(codes, (tensor.rows, tensor.columns)).reshape(tensor.shape)
    return ir.Tensor(shaped.astype(kind.numpy()), dtype=kind, name=tensor.name)


def _outside(graph: ir.Graph, value: ir.Value, tensor: Tensor, data: DataFile) -> ir.Value:
    kind = numpy_type(PLAIN[str(tensor.encoding.codes)])

    def pack(parts: Parts) -> Sequence[Buffer]:
        return [np.ascontiguousarray(parts.codes, kind)]

    uses = list(value.uses())
    graph.initializers.pop(tensor.name)
    region = data.region(tensor.name, _stored(tensor), tensor.shape, rows=tensor.rows)
    data.fill(tensor, [region], pack)
    for user, index in uses:
        user.replace_input_with(index, region.value)
    return region.value


def _cast(value: ir.Value, tensor: Tensor) -> None:
    wanted, graph = DTYPES[tensor.dtype], value.graph
    if value.dtype == wanted or not isinstance(graph, ir.Graph):
        return
    uses = list(value.uses())
    node = ir.node("Cast", [value], {"to": int(wanted)})
    node.outputs[0].name = f"{value.name}.cast"
    node.outputs[0].type, node.outputs[0].shape = ir.TensorType(wanted), value.shape
    inside = [user for user, _ in uses if user.graph is graph]
    graph.insert_before(first_of(graph, inside) if inside else graph.node(0), node)
    for user, index in uses:
        user.replace_input_with(index, node.outputs[0])
