"""Initializers without data: a graph says a weight's name, type and shape; `Model.tensors` owns it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from w2e_bridge.ir.tensor import Tensor

DTYPES: dict[str, ir.DataType] = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
    "float64": ir.DataType.DOUBLE,
    "int8": ir.DataType.INT8,
    "uint8": ir.DataType.UINT8,
    "int16": ir.DataType.INT16,
    "uint16": ir.DataType.UINT16,
    "int32": ir.DataType.INT32,
    "uint32": ir.DataType.UINT32,
    "int64": ir.DataType.INT64,
    "uint64": ir.DataType.UINT64,
    "bool": ir.DataType.BOOL,
    "int4": ir.DataType.INT4,
    "uint4": ir.DataType.UINT4,
    "int2": ir.DataType.INT2,
    "uint2": ir.DataType.UINT2,
    "float8_e4m3fn": ir.DataType.FLOAT8E4M3FN,
    "float8_e4m3fnuz": ir.DataType.FLOAT8E4M3FNUZ,
    "float8_e5m2": ir.DataType.FLOAT8E5M2,
    "float8_e5m2fnuz": ir.DataType.FLOAT8E5M2FNUZ,
    "float8_e8m0fnu": ir.DataType.FLOAT8E8M0,
    "float4_e2m1fn": ir.DataType.FLOAT4E2M1,
}
"""Element type names of the model to ONNX's."""

DTYPE_NAMES = {value: name for name, value in DTYPES.items()}
"""The inverse of `DTYPES`."""


class WeightStub(ir.LazyTensor):
    """Name, type and shape of a weight that lives elsewhere. Asking it for numbers is a defect."""

    def __init__(self, name: str, dtype: ir.DataType, shape: Sequence[int]) -> None:
        super().__init__(self._refuse, dtype=dtype, shape=ir.Shape(shape, frozen=True), name=name)

    def _refuse(self) -> ir.TensorProtocol:
        raise NotImplementedError(
            f"'{self.name}' is a weight: its data is Model.tensors['{self.name}']"
        )


def weight(graph: ir.Graph, tensor: Tensor) -> ir.Value:
    """The graph's initializer for a tensor, made on first use."""
    if tensor.name in graph.initializers:
        return graph.initializers[tensor.name]
    dtype = DTYPES[tensor.dtype]
    value = ir.Value(
        name=tensor.name,
        type=ir.TensorType(dtype),
        shape=ir.Shape(tensor.shape),
        const_value=WeightStub(tensor.name, dtype, tensor.shape),
    )
    graph.register_initializer(value)
    return value


def weights_of(graph: ir.Graph) -> Iterator[tuple[str, ir.Value]]:
    """(name, value) of the initializers that stand for tensors of the model."""
    for name, value in graph.initializers.items():
        if isinstance(value.const_value, WeightStub):
            yield name, value
