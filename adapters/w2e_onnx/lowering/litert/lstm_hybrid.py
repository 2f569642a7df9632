"""LSTM of floats with weights of 8 bits: tensorflow/lite/kernels/lstm_eval.cc, `LstmStepHybrid`.

The kernel rounds the sequence, the hidden state and what is projected, row by row, each time it multiplies
one with weights. The body rounds alike and multiplies whole numbers. What stands behind the products is
computed in float64: the kernel's float32 functions and ONNX Runtime's differ by some units of the last
place, and the nearer the states are to the kernel's, the seldomer one of them is rounded the other way
(of 300 sequences of 45 steps with 36 units, 5 with float32 functions, 1 with these).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.function import Functional
from w2e_bridge.kernels.hybrid import ASYMMETRIC
from w2e_bridge.kernels.lstm import Multiply, Products, outputs_of
from w2e_bridge.kernels.lstm_cell import OPERATORS
from w2e_bridge.kernels.state import states_of
from w2e_onnx.lowering.litert.call import SHIFT, Call, Slot
from w2e_onnx.lowering.litert.hybrid import TINY, real_numbers
from w2e_onnx.lowering.litert.lstm_parts import scale_of
from w2e_onnx.lowering.litert.rules import NotHere


@dataclass(slots=True, kw_only=True)
class Shared(Functional):
    """A call's body as one that canonical nodes are appended to.

    Attributes:
        call: the call; has no nodes of its own while this one is used.
    """

    call: Call

    def fresh(self, name: str) -> str:
        """A name that nothing in the call's body has."""
        return self.call.fresh(name)

    def real(self, number: float) -> ir.Value:
        """A float64 number."""
        return self.literal(np.float64(number))

    def single(self, number: float) -> ir.Value:
        """A float32 number."""
        return self.literal(np.float32(number))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """A value in another type."""
        return self.add("Cast", [value], {"to": int(dtype)})


def rule(call: Call) -> Sequence[ir.Value]:
    """The rule of all three operators."""
    kind, attributes = call.operation.kind, call.operation.attributes
    weights: dict[ir.Value, Slot] = {}
    body = Shared(call=call, nodes=call.nodes)
    states = states_of(kind, attributes)
    narrow = {0, *(layout.auxiliary for layout in OPERATORS[kind].directions)}
    narrow |= {place for place, _ in states[::2]}
    operands: list[ir.Value | None] = []
    for index, slot in enumerate(call.operands):
        operands.append(None if slot is None else _operand(body, slot, wide=index not in narrow))
        if slot is not None and slot.quantized is not None and slot.value is not None:
            weights[slot.value] = slot
    kernel = Kernel(call=call, weights=weights, one_row=_one_row(call))
    products = Products(before=kernel.before, inside=kernel.inside, kept=_kept)
    outputs = outputs_of(body, call.operation, operands, products)
    for _, place in states[1::2]:
        outputs[place] = _kept(body, outputs[place])
    call.nodes = body.nodes
    return outputs


def _kept(body: Functional, value: ir.Value) -> ir.Value:
    return body.add("Cast", [value], {"to": int(ir.DataType.FLOAT)})


def _operand(body: Shared, slot: Slot, *, wide: bool) -> ir.Value:
    """An operand: matrices as they are, vectors as float64 numbers, what is rounded as float32."""
    assert slot.value is not None
    if slot.quantized is None:
        return body.cast(slot.value, ir.DataType.DOUBLE) if wide else slot.value
    constant = slot.tensor is not None and slot.type == "int8" and slot.quantized.axis is None
    if not constant or slot.quantized.zero_point.any() or slot.shape is None:
        raise NotHere("weights that are no symmetric constants of 8 bits with one scale")
    if len(slot.shape) != 1:
        return slot.value
    return body.cast(real_numbers(body.call, slot), ir.DataType.DOUBLE)


def _one_row(call: Call) -> bool:
    """Whether states have a single row."""
    places = [pair[0] for pair in states_of(call.operation.kind, call.operation.attributes)]
    shapes = [call.operand(place).shape for place in places]
    return all(shape is not None and len(shape) == 2 and shape[0] == 1 for shape in shapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """How the kernel multiplies.

    Attributes:
        call: whose body it is.
        weights: slots of the weights by the values that stand for them.
        one_row: whether states have a single row.
    """

    call: Call
    weights: Mapping[ir.Value, Slot]
    one_row: bool

    @property
    def asymmetric(self) -> bool:
        """Whether numbers are rounded with a zero point."""
        return bool(self.call.operation.integer(ASYMMETRIC))

    def before(self, body: Functional, values: Sequence[ir.Value]) -> Multiply:
        """Of sequences: every row is rounded by itself."""
        return self._rows(body, values, _asymmetric if self.asymmetric else _symmetric)

    def inside(self, body: Functional, values: Sequence[ir.Value]) -> Multiply:
        """Of a state."""
        return (self._row if self.one_row and self.asymmetric else self.before)(body, values)

    def _scales(self, body: Functional, values: Sequence[ir.Value]) -> ir.Value:
        slots = [self.weights[value] for value in values]
        counts = [slot.shape[0] if slot.shape else 0 for slot in slots]
        if not all(isinstance(count, int) for count in counts):
            raise NotHere("weights of unknown shape")
        numbers = [np.full(n, scale_of(s)) for n, s in zip(counts, slots, strict=True)]  # type: ignore[arg-type]
        return self.call.constant("scales", np.concatenate(numbers).astype(np.float32))

    def _rows(self, body: Functional, values: Sequence[ir.Value], rounded: Way) -> Multiply:
        to_float = {"to": int(ir.DataType.FLOAT)}
        codes = body.add("Cast", [body.joined(values)], to_float)
        turned = body.add("Transpose", [codes], {"perm": (1, 0)})
        scales = self._scales(body, values)

        def multiply(value: ir.Value) -> ir.Value:
            numbers, scale = rounded(body, value)
            sums = body.add("MatMul", [numbers, turned])
            return _scaled(body, sums, body.add("Mul", [scale, scales]))

        return multiply

    def _row(self, body: Functional, values: Sequence[ir.Value]) -> Multiply:
        """A row is rounded as DynamicQuantizeLinear does it, and ONNX Runtime makes one node of all this."""
        codes = body.add("Cast", [body.joined(values)], {"to": int(ir.DataType.UINT8)})
        middle = body.literal(np.uint8(SHIFT))
        turned = body.add("Transpose", [body.add("BitwiseXor", [codes, middle])], {"perm": (1, 0)})
        scales = self._scales(body, values)

        def multiply(value: ir.Value) -> ir.Value:
            numbers, scale, zero = body.add_many("DynamicQuantizeLinear", [value], None, 3)
            sums = body.add("MatMulInteger", [numbers, turned, zero, middle])
            return _scaled(body, sums, body.add("Mul", [scale, scales]))

        return multiply


def _scaled(body: Functional, sums: ir.Value, scale: ir.Value) -> ir.Value:
    """Products as float64, of whole numbers and of a scale that was rounded to float32."""
    wide = {"to": int(ir.DataType.DOUBLE)}
    return body.add("Mul", [body.add("Cast", [v], wide) for v in (sums, scale)])


Way = Callable[[Shared, ir.Value], tuple[ir.Value, ir.Value]]
"""Whole numbers, and the scale of each row."""


def _asymmetric(body: Shared, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Rounded to 255 steps from the least to the largest number, zero among them.

    Codes go from -128 to 127, so that one end is cut off by a step where both are ties.
    """
    axes = body.literal(np.asarray([-1], np.int64))
    low = body.add("Min", [body.add("ReduceMin", [value, axes]), body.single(0.0)])
    high = body.add("Max", [body.add("ReduceMax", [value, axes]), body.literal(TINY)])
    scale = body.add("Div", [body.add("Sub", [high, low]), body.single(255.0)])
    return _steps(body, value, body.add("Reciprocal", [scale])), scale


def _symmetric(body: Shared, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Rounded to 127 steps on either side of zero."""
    axes = body.literal(np.asarray([-1], np.int64))
    most = body.add("ReduceMax", [body.add("Abs", [value]), axes])
    most = body.add("Max", [most, body.literal(TINY)])
    inverse = body.add("Div", [body.single(127.0), most])
    return _steps(body, value, inverse), body.add("Div", [most, body.single(127.0)])


def _steps(body: Shared, value: ir.Value, inverse: ir.Value) -> ir.Value:
    return body.add("Round", [body.add("Mul", [value, inverse])])
