"""Products of floats with weights of 8 bits in kernels with a state: what is rounded, and how.

Such a kernel rounds a sequence or a state, row by row, each time it multiplies it with weights. The body
rounds alike and multiplies whole numbers. What stands behind the sums is computed in float64: the kernel's
float32 functions and ONNX Runtime's differ by some units of the last place, and the nearer a state is to
the kernel's, the seldomer a part of it is rounded the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.function import Functional
from w2e_bridge.kernels.hybrid import ASYMMETRIC
from w2e_bridge.kernels.lstm import Multiply, Products
from w2e_bridge.kernels.lstm_cell import OPERATORS
from w2e_bridge.kernels.state import states_of
from w2e_onnx.lowering.litert.call import SHIFT, Call, Slot
from w2e_onnx.lowering.litert.hybrid import TINY, real_numbers
from w2e_onnx.lowering.litert.lstm_parts import Shared, scale_of
from w2e_onnx.lowering.litert.rules import NotHere


class Wide(Shared):
    """A body whose real numbers are of 64 bits."""

    def real(self, number: float) -> ir.Value:
        """A float64 number."""
        return self.literal(np.float64(number))


def operands_of(
    call: Call, body: Functional, *, wide: Collection[int] = (), real: Collection[int] = ()
) -> list[ir.Value | None]:
    """Operands as nodes read them: matrices of codes as they are, vectors of codes as real numbers.

    Args:
        call: whose they are.
        body: to append to.
        wide: places of what is computed with as float64.
        real: places of matrices that are real numbers.
    """
    return [
        None if slot is None else _operand(call, body, slot, index in wide, index in real)
        for index, slot in enumerate(call.operands)
    ]


def _operand(
    call: Call,
    body: Functional,
    slot: Slot,
    wide: bool,
    real: bool,
) -> ir.Value:
    assert slot.value is not None
    value = slot.value
    if slot.quantized is not None:
        constant = slot.tensor is not None and slot.type == "int8"
        one = slot.quantized.axis is None and not slot.quantized.zero_point.any()
        if not constant or not one or slot.shape is None:
            raise NotHere("weights that are no symmetric constants of 8 bits with one scale")
        if len(slot.shape) != 1 and not real:
            return value
        value = real_numbers(call, slot)
    return widened(body, value) if wide else value


def widened(body: Functional, value: ir.Value) -> ir.Value:
    """A value as float64."""
    return body.add("Cast", [value], {"to": int(ir.DataType.DOUBLE)})


def kept(body: Functional, value: ir.Value) -> ir.Value:
    """A value as float32."""
    return body.add("Cast", [value], {"to": int(ir.DataType.FLOAT)})


def products_of(call: Call) -> Products:
    """How the kernel multiplies."""
    places = [place for place, _ in states_of(call.operation.kind, call.operation.attributes)]
    shapes = [call.operand(place).shape for place in places]
    weights = {
        slot.value: slot
        for slot in call.operands
        if slot is not None and slot.quantized is not None and slot.value is not None
    }
    free = call.operation.kind in OPERATORS and not call.operation.number("proj_clip")
    rows = Rows(
        call=call,
        weights=weights,
        asymmetric=bool(call.operation.integer(ASYMMETRIC)),
        short=free and all(s is not None and len(s) == 2 and s[0] == 1 for s in shapes),
    )
    return Products(before=rows.before, inside=rows.inside, widened=widened, kept=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """How rows are multiplied.

    Attributes:
        call: whose body it is.
        weights: slots of the weights by the values that stand for them.
        asymmetric: whether numbers are rounded with a zero point.
        short: whether states have a single row, and ends that are never each other's opposite.
    """

    call: Call
    weights: Mapping[ir.Value, Slot]
    asymmetric: bool
    short: bool

    def before(self, body: Functional, values: Sequence[ir.Value]) -> Multiply:
        """Of sequences: every row is rounded by itself."""
        return self._rows(body, values, _asymmetric if self.asymmetric else _symmetric)

    def inside(self, body: Functional, values: Sequence[ir.Value]) -> Multiply:
        """Of a state."""
        return (self._row if self.short and self.asymmetric else self.before)(body, values)

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
            return body.add("Mul", [sums, body.add("Mul", [scale, scales])])

        return multiply

    def _row(self, body: Functional, values: Sequence[ir.Value]) -> Multiply:
        """A row is rounded as DynamicQuantizeLinear does it."""
        codes = body.add("Cast", [body.joined(values)], {"to": int(ir.DataType.UINT8)})
        middle = body.literal(np.uint8(SHIFT))
        turned = body.add("Transpose", [body.add("BitwiseXor", [codes, middle])], {"perm": (1, 0)})
        scales = self._scales(body, values)

        def multiply(value: ir.Value) -> ir.Value:
            numbers, scale, zero = body.add_many("DynamicQuantizeLinear", [value], None, 3)
            sums = body.add("MatMulInteger", [numbers, turned, zero, middle])
            real = kept(body, sums)
            return body.add("Mul", [real, body.add("Mul", [scale, scales])])

        return multiply


Way = Callable[[Functional, ir.Value], tuple[ir.Value, ir.Value]]
"""Whole numbers, and the scale of each row."""


def _asymmetric(body: Functional, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Rounded to 255 steps from the least to the largest number, zero among them.

    Where both ends are ties there are 256 steps, and the kernel cuts one end off: the lower one where the
    ends are each other's opposite (values that a clip or a function holds), which is what is done here.
    """
    axes = body.literal(np.asarray([-1], np.int64))
    low = body.add("Min", [body.add("ReduceMin", [value, axes]), _single(body, 0.0)])
    high = body.add("Max", [body.add("ReduceMax", [value, axes]), body.literal(TINY)])
    scale = body.add("Div", [body.add("Sub", [high, low]), _single(body, 255.0)])
    steps = _steps(body, value, body.add("Reciprocal", [scale]))
    least = body.add("Sub", [body.add("ReduceMax", [steps, axes]), _single(body, 255.0)])
    return body.add("Max", [steps, least]), scale


def _symmetric(body: Functional, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Rounded to 127 steps on either side of zero."""
    axes = body.literal(np.asarray([-1], np.int64))
    most = body.add("ReduceMax", [body.add("Abs", [value]), axes])
    most = body.add("Max", [most, body.literal(TINY)])
    inverse = body.add("Div", [_single(body, 127.0), most])
    return _steps(body, value, inverse), body.add("Div", [most, _single(body, 127.0)])


def _steps(body: Functional, value: ir.Value, inverse: ir.Value) -> ir.Value:
    """To whole numbers, halves away from zero as the kernel does it: a half is added in float32."""
    scaled = body.add("Mul", [value, inverse])
    whole = body.add("Floor", [body.add("Add", [body.add("Abs", [scaled]), _single(body, 0.5)])])
    return body.add("Mul", [whole, body.add("Sign", [scaled])])


def _single(body: Functional, number: float) -> ir.Value:
    return body.literal(np.float32(number))
