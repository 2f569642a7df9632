"""What no rule knows: the operation on real numbers between DequantizeLinear and QuantizeLinear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Constant, Operand, Operation
from w2e_bridge.kernels.table import build
from w2e_onnx.lowering.litert.call import Call, Slot

NODE = "onnx:"
"""How the kind of an operation begins that is one canonical node, known to no family."""


def plain(call: Call) -> Sequence[ir.Value]:
    """The canonical nodes of an operation, with its operands decoded before and its outputs rounded after.

    Raises:
        UnsupportedError: the operation has no canonical nodes.
    """
    tensors: dict[str, Tensor] = {}
    operands = tuple(
        _operand(call, slot, tensors, index) for index, slot in enumerate(call.operands)
    )
    outputs = tuple(ir.Value(name=call.fresh("real")) for _ in call.outputs)
    for made, slot in zip(outputs, call.outputs, strict=True):
        real = "float32" if slot.quantized is not None else slot.type
        made.type = ir.TensorType(DTYPES[real])
        made.shape = None if slot.shape is None else ir.Shape(slot.shape)
    operation = replace(call.operation, inputs=operands, outputs=outputs)
    builder = Builder(place=_Body(call=call), tensors=tensors, functions=call.functions)
    if operation.kind.startswith(NODE):
        _copy(operation, builder)
    else:
        build(operation, builder)
    return [encoded(call, value, slot) for value, slot in zip(outputs, call.outputs, strict=True)]


def _copy(operation: Operation, builder: Builder) -> None:
    """The node itself."""
    node = operation.nodes[0]
    inputs = [None if operand is None else builder.value(operand) for operand in operation.inputs]
    made = ir.Node(
        node.domain, node.op_type, inputs, node.attributes.values(), outputs=operation.outputs
    )
    made.name = builder.place.fresh("node")
    builder.place.append(made)


@dataclass(slots=True, kw_only=True)
class _Body:
    """The body as a place for canonical nodes: their constants are the same in every call of a kind."""

    call: Call
    made: dict[str, ir.Value] = field(default_factory=dict)

    def append(self, node: ir.Node) -> None:
        self.call.nodes.append(node)

    def constant(
        self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]
    ) -> ir.Value:
        return self.call.literal(array, name)

    def fresh(self, name: str) -> str:
        return self.call.fresh(name)


def _operand(call: Call, slot: Slot | None, tensors: dict[str, Tensor], index: int) -> Operand:
    if slot is None:
        return None
    source = call.operation.inputs[index]
    if isinstance(source, Constant):
        return source
    if slot.numbers is not None:
        return Constant(array=slot.numbers, name=f"operand_{index}")
    if slot.quantized is None:
        value = slot.value
        assert value is not None
        value.type = ir.TensorType(DTYPES[slot.type])
        value.shape = None if slot.shape is None else ir.Shape(slot.shape)
        if slot.tensor is None:
            return value
        return (
            Constant(array=slot.array(), name=f"operand_{index}")
            if slot.tensor.elements <= 64
            else value
        )
    real = decoded(call, slot)
    real.type = ir.TensorType(ir.DataType.FLOAT)
    real.shape = None if slot.shape is None else ir.Shape(slot.shape)
    return real


def decoded(call: Call, slot: Slot) -> ir.Value:
    """The real numbers of a quantized operand."""
    assert slot.value is not None
    attributes = {}
    quantized = slot.quantized
    codes = slot.value
    if quantized is not None and quantized.axis is not None:
        attributes["axis"] = quantized.axis
    if quantized is not None and quantized.blocks and slot.tensor is not None:
        attributes["block_size"] = slot.tensor.columns // quantized.scale.shape[-1]
    if slot.carried == "int64":
        codes = call.cast(codes, "int32")
    zero = slot.zero_point
    if slot.carried in ("int32", "int64", "int2"):
        zero = None
    if slot.carried == "int2":
        codes = call.cast(codes, "int8")
    return call.add("DequantizeLinear", [codes, slot.scale, zero], attributes)


def encoded(call: Call, value: ir.Value, slot: Slot) -> ir.Value:
    """The codes of real numbers, as they travel; the numbers themselves where nothing is quantized."""
    if slot.quantized is None:
        return value
    if slot.carried == "int32":
        raise UnsupportedError("codes of 32 bits from real numbers")
    return call.add("QuantizeLinear", [value, slot.scale, slot.zero_point])
