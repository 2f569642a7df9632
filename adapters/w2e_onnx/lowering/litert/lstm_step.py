"""One step of an integer LSTM: `LstmStepInteger8x8_16` behind the products (tensorflow/lite/kernels/lstm_eval.cc)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.kernels.lstm_cell import CELL, OUTPUT
from w2e_bridge.numerics import lstm as numbers
from w2e_bridge.numerics.fixed_point import quantize_multiplier
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert import lstm_parts as parts
from w2e_onnx.lowering.litert.call import SHIFT, Call
from w2e_onnx.lowering.litert.lstm_integer import (
    HIGHEST,
    LOWEST,
    NUDGE,
    Cell,
    bound,
    product,
    rescaled,
    saturated,
)
from w2e_onnx.lowering.litert.lstm_norm import normalized
from w2e_onnx.lowering.litert.lstm_parts import scale_of, zero_of
from w2e_onnx.lowering.litert.rules import NotHere

SIZE = 2**16
"""Entries of a table."""


@dataclass(slots=True, kw_only=True, eq=False)
class Step:
    """What does not change from step to step, made before the loop.

    Attributes:
        call: whose body it is.
        cell: what is known.
        gates: the sigmoid of every code, lowest first, then the hyperbolic tangent of every code.
        activation: the cell's hyperbolic tangent, from code 0 up, then of the negative codes.
        recurrent: weights of the hidden state.
        projection: weights, or None.
    """

    call: Call
    cell: Cell
    gates: ir.Value
    activation: ir.Value
    recurrent: ir.Value
    projection: ir.Value | None

    def run(
        self, states: tuple[ir.Value, ...], part: ir.Value
    ) -> tuple[tuple[ir.Value, ...], ir.Value]:
        """The next hidden state, as it travels, and the cell's next state; the former is the result."""
        hidden, state = states
        gates = saturated(self.call, self.call.add("Add", [self._recurrent(hidden), part]))
        if self.cell.plain:
            after, output = self._plain(gates, state)
        else:
            after, output = self._separate(gates, state)
        activated = self.call.add("Gather", [self.activation, self.call.cast(after, "int32")])
        following = self._hidden(self.call.add("Mul", [output, activated]))
        return (following, after), following

    def _recurrent(self, hidden: ir.Value) -> ir.Value:
        """What the hidden state gives to all gates."""
        direction = self.cell.direction
        layout = direction.layout
        before, weights = direction.needed(layout.hidden), direction.each(layout.recurrent)
        most = bound(parts.weights_of(weights), zero_of(before))
        scales = [
            numbers.product_scale(scale_of(w), scale_of(before), gate)
            for w, gate in zip(weights, self.cell.gate_scales, strict=True)
        ]
        sums = product(self.call, hidden, self.recurrent, before.zero_point)
        return rescaled(self.call, sums, scales, most, direction.units)

    def _plain(self, gates: ir.Value, state: ir.Value) -> tuple[ir.Value, ir.Value]:
        """All gates in one look-up, whose factors leave only the roundings to do."""
        call, units = self.call, self.cell.direction.units
        starts = parts.spread([SIZE // 2] * 3 + [SIZE // 2 + SIZE], units).astype(np.int32)
        index = call.add("Add", [call.cast(gates, "int32"), call.constant("starts", starts)])
        found = call.add("Gather", [self.gates, index])
        split = {"axis": -1, "num_outputs": 4}
        taken, forget, output, candidate = call.add_many("Split", [found], split, count=4)
        kept = call.add("Round", [call.add("Mul", [forget, state])])
        new = call.add("Round", [call.add("Mul", [taken, candidate])])
        return self._limited(kept, new), output

    def _separate(self, gates: ir.Value, state: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Gates one by one: some see the cell, or one is what another leaves."""
        call, cell = self.call, self.cell
        kinds = cell.direction.gates
        split = {"axis": -1, "num_outputs": len(kinds)}
        values = call.add_many("Split", [gates], split, count=len(kinds))
        named = dict(zip(kinds, values, strict=True))
        before = (*kinds[:-2], CELL)  # the output gate sees the cell's next state
        seeing = [self._seeing(gate, named[gate], state) for gate in before]
        *first, last = self._normalized(before, seeing)
        *inner, forget = (self._looked_up(gate, 0) for gate in first)
        candidate = self._looked_up(last, SIZE)
        one = call.literal(np.float64(HIGHEST), "one")
        taken = inner[0] if inner else call.add("Sub", [one, forget])
        kept = self._divided(call.add("Mul", [forget, state]), 15)
        new = self._divided(call.add("Mul", [taken, candidate]), 30 + cell.exponent)
        after = self._limited(kept, new)
        (output,) = self._normalized((OUTPUT,), [self._seeing(OUTPUT, named[OUTPUT], after)])
        return after, self._looked_up(output, 0)

    def _normalized(self, kinds: Sequence[int], gates: list[ir.Value]) -> Sequence[ir.Value]:
        """Gates as their activation reads them."""
        call, direction = self.call, self.cell.direction
        if not direction.normalized:
            return gates
        layout, count = direction.layout, len(kinds)
        norm, bias = (
            [direction.needed(places[kind]) for kind in kinds]
            for places in (layout.norm, layout.bias)
        )
        value = normalized(call, parts.joined(call, gates, -1), norm, bias, direction.units)
        value = saturated(call, value)
        split = {"axis": -1, "num_outputs": count}
        return (value,) if count == 1 else call.add_many("Split", [value], split, count=count)

    def _looked_up(self, gate: ir.Value, start: int) -> ir.Value:
        first = self.call.literal(np.int32(start + SIZE // 2), "start")
        index = self.call.add("Add", [self.call.cast(gate, "int32"), first])
        return self.call.add("Gather", [self.gates, index])

    def _seeing(self, gate: int, value: ir.Value, state: ir.Value) -> ir.Value:
        """A gate that also sees the cell, through weights of 16 bits."""
        call, cell = self.call, self.cell
        peephole = cell.direction.at(cell.direction.layout.peephole[gate])
        if peephole is None or gate == CELL:
            return value
        units, hidden = cell.direction.units, cell.direction.needed(cell.direction.layout.hidden)
        same = hidden.shape is not None and hidden.shape[-1] == units
        if peephole.type != "int16" or peephole.shape != (units,) or not same:
            # The kernel takes the projection's width for the cell's and mixes up rows.
            raise NotHere("peephole weights of another type or size than the hidden state")
        scale = cell.gate_scales[cell.direction.gates.index(gate)]
        real = numbers.product_scale(2.0**cell.exponent, scale_of(peephole), scale)
        multiplier, shift = quantize_multiplier(np.float64(real))
        seen = call.add("Mul", [state, call.cast(parts.value_of(peephole), "float64")])
        seen = fixed_point.multiply(call, seen, multiplier, shift)
        return saturated(call, call.add("Add", [value, seen]))

    def _divided(self, value: ir.Value, exponent: int) -> ir.Value:
        """`RoundingDivideByPOT`."""
        factor = self.call.constant("divisor", np.asarray(np.ldexp(NUDGE, -exponent), np.float64))
        return self.call.add("Round", [self.call.add("Mul", [value, factor])])

    def _limited(self, kept: ir.Value, new: ir.Value) -> ir.Value:
        """The cell's next state."""
        limit = self.cell.clip
        total = self.call.add("Add", [kept, new])
        return saturated(self.call, total, -limit if limit else LOWEST, limit or HIGHEST)

    def _hidden(self, value: ir.Value) -> ir.Value:
        """The hidden state of a product of two gates."""
        call, hidden = self.call, self.cell.hidden
        if self.cell.plain:
            value = self._divided(call.add("Round", [value]), -hidden.shift)
        else:
            multiplier, shift = (np.asarray(n, np.int32) for n in (hidden.multiplier, hidden.shift))
            value = fixed_point.multiply(call, value, multiplier, shift)
        if self.projection is None:
            return self._codes(value, hidden.zero)
        # The kernel takes the zero point off where it should add it, and corrects for it in the sums.
        return self._projected(self._codes(value, -hidden.zero), self.projection)

    def _codes(self, value: ir.Value, zero: int, limit: int = 0) -> ir.Value:
        """Codes of 8 bits, as they travel, of what is above the zero point."""
        moved = self.call.constant("zero", np.asarray(zero + SHIFT, np.float64))
        value = self.call.add("Add", [value, moved])
        low, high = (-limit, limit) if limit else (-SHIFT, SHIFT - 1)
        return self.call.cast(saturated(self.call, value, low + SHIFT, high + SHIFT), "uint8")

    def _projected(self, value: ir.Value, weights: ir.Value) -> ir.Value:
        call, direction = self.call, self.cell.direction
        layout, zero = direction.layout, SHIFT - self.cell.hidden.zero
        slot, after = direction.needed(layout.projection), direction.needed(layout.hidden)
        bias = direction.at(layout.projection_bias)
        if not 0 <= zero <= 255:
            raise NotHere("a hidden state without room for its zero point")
        most = bound(parts.weights_of([slot]), -self.cell.hidden.zero)
        sums = product(
            call, value, weights, call.constant("hidden_zero", np.asarray(zero, np.uint8))
        )
        if bias is not None:
            sums = call.add("Add", [sums, parts.value_of(bias)])
            most += int(np.abs(bias.array().astype(np.int64)).max(initial=0))
        scale = numbers.product_scale(scale_of(slot), self.cell.hidden_scale, scale_of(after))
        limit = numbers.clip_code(call.operation.number("proj_clip"), scale_of(after), "int8")
        return self._codes(rescaled(call, sums, [scale], most, 1), zero_of(after), limit)


def step_of(call: Call, cell: Cell) -> Step:
    """Append the tables and weights of a step."""
    direction, layout = cell.direction, cell.direction.layout
    projection = direction.at(layout.projection)
    one = np.ldexp(NUDGE, -15) if cell.plain else 1.0
    candidate = np.ldexp(1.0, -(15 + cell.exponent)) if cell.plain else 1.0
    to_hidden = np.ldexp(np.float64(cell.hidden.multiplier), 15 - 31) if cell.plain else 1.0

    def scaled(entries: NDArray[np.int16], factor: float) -> ir.Value:
        number = call.constant("unit", np.asarray(factor, np.float64))
        return call.add("Mul", [parts.table(call, entries), number])

    gates = [
        scaled(numbers.sigmoid_table(), one),
        scaled(numbers.tanh_table(numbers.GATE_BITS), candidate),
    ]
    activation = scaled(numbers.tanh_table(15 + cell.exponent), to_hidden)
    halves = call.add_many("Split", [activation], {"axis": 0, "num_outputs": 2}, count=2)
    return Step(
        call=call,
        cell=cell,
        gates=parts.joined(call, gates),
        activation=parts.joined(call, halves[::-1]),
        recurrent=parts.matrix(call, direction.each(layout.recurrent)),
        projection=None if projection is None else parts.matrix(call, [projection]),
    )
