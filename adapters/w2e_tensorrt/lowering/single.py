"""One type of floats: networks of half or double precision as float32, which the builder narrows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.weights import WeightStub
from w2e_bridge.ir.tensor import Tensor

NARROW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
OTHER = (*NARROW, ir.DataType.DOUBLE)
FLOAT = ir.DataType.FLOAT


def single(model: ir.Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute with float32 wherever a graph computes with floats.

    before: values and constants of float16, bfloat16, float32 and float64.
    after:  of float32; the attributes that name a type too.
    why: networks without Q/DQ are weakly typed in TensorRT 10: flags choose the precision, not the graph.

    Args:
        model: edited.
        tensors: by name, in float32 as far as they are floats.

    Returns:
        The tensors, which the graph computes with as they are.
    """
    for graph in model.graphs():
        for value in [*graph.inputs, *graph.initializers.values()]:
            _value(value)
        for node in graph:
            for name, attribute in list(node.attributes.items()):
                _attribute(node, name, attribute)
            for value in node.outputs:
                _value(value)
    return {
        name: replace(t, dtype="float32") if t.dtype in FLOATS else t for name, t in tensors.items()
    }


FLOATS = frozenset({"float16", "bfloat16", "float64"})


def narrow(model: ir.Model) -> frozenset[str]:
    """The types of less than 32 bits that a graph computes with."""
    found = set()
    for graph in model.graphs():
        values = [*graph.inputs, *graph.initializers.values()]
        values += [value for node in graph for value in node.outputs]
        found |= {value.dtype for value in values if value.dtype in NARROW}
    return frozenset("fp16" if kind is ir.DataType.FLOAT16 else "bf16" for kind in found)


def _value(value: ir.Value) -> None:
    if value.dtype not in OTHER:
        return
    value.type = ir.TensorType(FLOAT)
    data = value.const_value
    if isinstance(data, WeightStub):
        value.const_value = WeightStub(data.name or "", FLOAT, data.shape.numpy())
    elif data is not None:
        value.const_value = _tensor(data)


def _tensor(data: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(data.numpy().astype(np.float32), dtype=FLOAT, name=data.name)


def _attribute(node: ir.Node, name: str, attribute: ir.Attr) -> None:
    if attribute.is_ref():
        return
    if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in OTHER:
        node.attributes[name] = ir.AttrTensor(name, _tensor(attribute.as_tensor()))
    typed = name in ("to", "dtype") and attribute.type == ir.AttributeType.INT
    if typed and attribute.as_int() in [int(kind) for kind in OTHER]:
        node.attributes[name] = ir.AttrInt64(name, int(FLOAT))
