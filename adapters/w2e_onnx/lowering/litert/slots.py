"""Operands and outputs of an operation as the slots of a call."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.planes import padded
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import decode
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.operation import Constant, Operand
from w2e_bridge.kernels.scope import Scope
from w2e_onnx.lowering.litert.call import Quantized, Slot

CARRIED = {"int8": "uint8"}
"""Types of a value's codes that travel as another."""


def slot_of(operand: Operand, scope: Scope, index: str) -> Slot | None:
    """The slot of an operand; its formal inputs are named after `index`."""
    if operand is None:
        return None
    formal = ir.Value(name=f"x{index}")
    tensor = scope.tensor(operand)
    if tensor is not None:
        return _constant(tensor, formal, index)
    # Small constants of a graph (axes, strides) are kept in it.
    numbers = operand.array if isinstance(operand, Constant) else scope.array(operand)
    if numbers is not None:
        dtype = str(numbers.dtype)
        return Slot(type=dtype, carried=dtype, shape=numbers.shape, value=formal, numbers=numbers)
    assert isinstance(operand, ir.Value)
    return _value(operand, scope, index, formal)


def output_of(value: ir.Value, scope: Scope, index: str) -> Slot:
    """The slot of an output."""
    return _value(value, scope, index, None)


def _value(value: ir.Value, scope: Scope, index: str, formal: ir.Value | None) -> Slot:
    parameters = scope.quantization(value)
    shape = _shape(value)
    if parameters is None or parameters.scale is None:
        dtype = DTYPE_NAMES.get(value.dtype or ir.DataType.FLOAT, "float32")
        return Slot(type=dtype, carried=dtype, shape=shape, value=formal, dynamic=parameters)
    quantized = quantized_of(parameters)
    return Slot(
        type=quantized.type,
        carried=CARRIED.get(quantized.type, quantized.type),
        shape=shape,
        value=formal,
        scale=ir.Value(name=f"s{index}"),
        zero_point=ir.Value(name=f"z{index}"),
        quantized=quantized,
    )


def quantized_of(parameters: ActivationQuantization) -> Quantized:
    """The numbers of a static quantization."""
    assert parameters.scale is not None
    scale = np.asarray(parameters.scale, np.float32)
    zero = parameters.zero_point
    points = np.zeros(scale.shape, np.int64) if zero is None else np.asarray(zero, np.int64)
    return Quantized(
        type=str(parameters.codes), scale=scale, zero_point=points, axis=parameters.axis
    )


def _constant(tensor: Tensor, formal: ir.Value, index: str) -> Slot:
    encoding = tensor.encoding
    if encoding.plain:
        stored = tensor.dtype
        return Slot(type=stored, carried=stored, shape=tensor.shape, value=formal, tensor=tensor)
    quantized = quantized_constant(tensor)
    return Slot(
        type=quantized.type,
        carried=quantized.type,
        shape=tensor.shape,
        value=formal,
        scale=ir.Value(name=f"s{index}"),
        zero_point=ir.Value(name=f"z{index}"),
        quantized=quantized,
        tensor=tensor,
    )


def quantized_constant(tensor: Tensor) -> Quantized:
    """The numbers of a tensor's scales and zero points: one, one for each index of an axis, or of blocks.

    Raises:
        UnsupportedError: the encoding is of another kind (blocks of several rows, second levels, offsets
            that aren't zero points).
    """
    encoding = tensor.encoding
    blocks = in_blocks(encoding, tensor.shape)
    axis = len(tensor.shape) - 1 if blocks else axis_of(encoding, tensor.shape)
    parts = tensor.storage.parts(0, tensor.rows)
    assert parts.scale is not None
    assert encoding.scale is not None
    scale = decode(encoding.scale, parts.scale)
    zero: NDArray[np.int64] = np.zeros(scale.shape, np.int64)
    if parts.offset is not None:
        zero = np.broadcast_to(parts.offset.codes, scale.shape).astype(np.int64)
    elif encoding.offset is not None and encoding.offset.constant is not None:
        zero = np.full(scale.shape, encoding.offset.constant, np.int64)
    if blocks:
        shape = (*tensor.shape[:-1], scale.shape[-1])
        return Quantized(
            type=str(encoding.codes),
            scale=scale.astype(numpy_type(encoding.scale)).reshape(shape),
            zero_point=zero.reshape(shape),
            axis=axis,
        )
    return Quantized(
        type=str(encoding.codes),
        scale=np.asarray(_along(scale, tensor, axis), np.float32),
        zero_point=np.asarray(_along(zero, tensor, axis), np.int64),
        axis=axis,
    )


def in_blocks(encoding: Encoding, shape: tuple[int, ...]) -> bool:
    """Whether each row has scales of its own, of blocks that follow one another."""
    extents = padded(encoding.block, len(shape) or 1)
    if not shape or any(extent != 1 for extent in extents[:-1]):
        return False
    plain = encoding.scale in (PLAIN["float16"], PLAIN["float32"], PLAIN["bfloat16"])
    return plain and 1 < extents[-1] < shape[-1]


def axis_of(encoding: Encoding, shape: tuple[int, ...]) -> int | None:
    """The axis along which an encoding has its scales, None for one scale."""
    extents = padded(encoding.block, len(shape) or 1)
    many = [a for a, e in enumerate(extents) if e and shape and e < shape[a]]
    if not many:
        single = [a for a, e in enumerate(extents) if e == 1]
        wide = [a for a, e in enumerate(extents) if e != 1]
        return single[0] if len(single) == 1 and wide else None
    if len(many) > 1 or extents[many[0]] != 1:
        raise UnsupportedError("scales in blocks")
    return many[0]


def _along(grid: NDArray[np.generic], tensor: Tensor, axis: int | None) -> NDArray[np.generic]:
    """One number, or one for each index of an axis, of a grid (rows or 1, blocks or columns)."""
    if axis is None:
        return grid.reshape(-1)[:1].reshape(())
    shape = tensor.shape
    full = np.broadcast_to(grid, (tensor.rows, grid.shape[-1]))
    full = full.reshape((*shape[:-1], grid.shape[-1]))
    index = tuple(slice(None) if a == axis else 0 for a in range(len(shape)))
    return full[index]


def _shape(value: ir.Value) -> tuple[int | str | None, ...] | None:
    if value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)
