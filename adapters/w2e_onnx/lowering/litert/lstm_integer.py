"""UNIDIRECTIONAL_SEQUENCE_LSTM of int8 codes with an int16 cell: tensorflow/lite/kernels/lstm_eval.cc,
`LstmStepInteger8x8_16`. Both kernel sets have this one kernel.

What the sequence gives to the gates is computed at once for all steps; a step is one product, one look-up
for all gates, and one for the cell. All numbers are whole, as float64, times a power of two.

- A product with a fixed-point multiplier is exact: effective scales are float32, so a multiplier has at
  most 24 bits before its zeros, and accumulators have fewer than 30.
- A half is taken away from zero by a factor a little above 1, then rounded to even.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.kernels.lstm_cell import CELL, FORGET, INPUT, ONE_WAY, OUTPUT
from w2e_bridge.numerics import lstm as numbers
from w2e_bridge.numerics.fixed_point import quantize_multiplier
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert import lstm_parts as parts
from w2e_onnx.lowering.litert.call import SHIFT, Call, Slot
from w2e_onnx.lowering.litert.lstm_parts import Direction, scale_of, value_of, zero_of
from w2e_onnx.lowering.litert.rules import NotHere

NUDGE = 1.0 + 2.0**-50
"""Takes a half below 2**31 away from zero, and nothing else over one."""

HIGHEST, LOWEST = 2**15 - 1, -(2**15)
ONE = np.float64(2.0**-15 * NUDGE)
"""What codes of a sigmoid are multiplied by, so that a product with them needs only be rounded."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hidden:
    """From a product of two gates to the hidden state: `MultiplyByQuantizedMultiplier`, two roundings.

    Attributes:
        multiplier, shift: as `quantize_multiplier` has them.
        zero: zero point.
    """

    multiplier: int
    shift: int
    zero: int

    @property
    def short(self) -> bool:
        """Whether a float64 product that is up to 2**-49 of it too large gives every code all the same."""
        m, e = self.multiplier, -self.shift
        if not 2 <= e <= 31:
            return False
        steps = np.arange(1, 2 * 256, dtype=object)
        # From here on, in units of 2**-31, the first rounding reaches (step - 1/2) * 2**e.
        borders = (2 * steps - 1) * (1 << (e + 30)) - (1 << 30)
        rest = borders % m
        near = np.minimum(rest, m - rest) <= 1 << 12
        return not near[borders <= m << 30].any()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cell:
    """What is known of an operation.

    Attributes:
        direction: operands.
        gate_scales: of what the activation of each gate that is computed reads.
        exponent: of the cell's scale.
        clip: the cell's largest code.
        hidden: how the hidden state is made.
        hidden_scale: of it, before a projection.
    """

    direction: Direction
    gate_scales: tuple[float, ...]
    exponent: int
    clip: int
    hidden: Hidden
    hidden_scale: float

    @property
    def plain(self) -> bool:
        """Whether all gates are there, and see nothing but the two products."""
        layout = self.direction.layout
        seen = [self.direction.at(place) for place in layout.peephole]
        return len(self.direction.gates) == 4 and not any(seen) and self.hidden.short


def rule(call: Call) -> Sequence[ir.Value]:
    """The rule."""
    cell = known(call)
    direction, layout = cell.direction, cell.direction.layout
    time_major = bool(call.operation.integer("time_major"))
    x = value_of(direction.needed(layout.input))
    sequence = x if time_major else parts.turned(call, x)
    slices = _from_input(call, cell, sequence)
    before = call.cast(value_of(direction.needed(layout.state)), "float64")
    step = Step.of(call, cell)
    hidden, state, part = (parts.formal(call, name) for name in ("hidden", "cell", "part"))
    with parts.loop(call) as nodes:
        following, after = step.run(hidden, state, part)
    states = {
        hidden: (value_of(direction.needed(layout.hidden)), following),
        state: (before, after),
    }
    last, kept, every = parts.scan(call, nodes, states, {part: slices}, [following])
    return [every if time_major else parts.turned(call, every), last, call.cast(kept, "int16")]


def known(call: Call) -> Cell:
    """What is known of an operation.

    Raises:
        NotHere: it is none that the kernel, or this rule, has.
    """
    direction = Direction(call=call, layout=ONE_WAY)
    attributes = call.operation.attributes
    scales, zeros = (attributes.get(f"intermediate_{n}") for n in ("scales", "zero_points"))
    if not isinstance(scales, tuple) or not isinstance(zeros, tuple) or len(scales) < 5:
        raise NotHere("no scales of intermediates")
    state = direction.needed(direction.layout.state)
    exponent = numbers.power_of_two(scale_of(state))
    if exponent is None or not 0 <= 15 + exponent <= numbers.MOST_BITS or zero_of(state):
        raise NotHere("a cell whose scale is no power of two that the kernel knows")
    if state.type != "int16" or direction.needed(direction.layout.input).type != "int8":
        raise NotHere("codes of other types than int8 and int16")
    if direction.normalized:
        raise NotHere("layer normalization in integers")
    multiplier, shift = quantize_multiplier(np.float64(numbers.hidden_scale(float(scales[4]))))
    limit = numbers.clip_code(call.operation.number("cell_clip"), scale_of(state), "int16")
    return Cell(
        direction=direction,
        gate_scales=(float(numbers.GATE_SCALE),) * len(direction.gates),
        exponent=exponent,
        clip=limit,
        hidden=Hidden(multiplier=int(multiplier), shift=int(shift), zero=int(zeros[4])),
        hidden_scale=float(scales[4]),
    )


def _from_input(call: Call, cell: Cell, sequence: ir.Value) -> ir.Value:
    """What the sequence gives to all gates of all steps, (time, batch, gates)."""
    direction, layout = cell.direction, cell.direction.layout
    x, weights = direction.needed(layout.input), direction.each(layout.weights)
    bias = direction.each(layout.bias)
    most = bound(parts.weights_of(weights), zero_of(x))
    most += max(int(np.abs(slot.array().astype(np.int64)).max(initial=0)) for slot in bias)
    sums = product(call, sequence, parts.matrix(call, weights), x.zero_point)
    sums = call.add("Add", [sums, parts.joined(call, [value_of(slot) for slot in bias])])
    scales = [
        numbers.product_scale(scale_of(w), scale_of(x), gate)
        for w, gate in zip(weights, cell.gate_scales, strict=True)
    ]
    return saturated(call, rescaled(call, sums, scales, most, direction.units))


def bound(weights: NDArray[np.int64], zero: int) -> int:
    """No accumulator of an int8 operand is larger."""
    return int(np.abs(weights).sum(1).max(initial=0)) * max(127 - zero, 128 + zero)


def product(call: Call, x: ir.Value, weights: ir.Value, zero: ir.Value | None) -> ir.Value:
    """The accumulators, int32, of codes and weights with zero point 128."""
    middle = call.literal(np.uint8(SHIFT), "middle")
    return call.add("MatMulInteger", [x, weights, zero, middle])


def rescaled(
    call: Call, sums: ir.Value, scales: Sequence[np.float32], most: int, units: int
) -> ir.Value:
    """`MultiplyByQuantizedMultiplier` of accumulators up to `most`, each gate by its own scale."""
    multiplier, shift = quantize_multiplier(np.asarray(scales, np.float64))
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    factor = parts.spread(np.ldexp(multiplier.astype(np.float64), left - 31), units)
    high = call.add("Mul", [call.cast(sums, "float64"), call.constant("factor", factor)])
    if _may_tie(multiplier, left, most):  # halves go up
        high = call.add("Floor", [call.add("Add", [high, fixed_point.half(call)])])
    else:
        high = call.add("Round", [high])
    divisor = parts.spread(np.ldexp(NUDGE, -right), units)
    return call.add("Round", [call.add("Mul", [high, call.constant("divisor", divisor)])])


def _may_tie(multiplier: NDArray[np.int32], left: NDArray[np.int32], most: int) -> bool:
    """Whether a product can lie half-way between two whole numbers."""
    return any(
        m and most >= 1 << max(30 - numbers.trailing_zeros(int(m)) - int(s), 0)
        for m, s in zip(multiplier, left, strict=True)
    )


def saturated(call: Call, value: ir.Value, low: int = LOWEST, high: int = HIGHEST) -> ir.Value:
    """Held between two codes."""
    ends = [call.constant("end", np.asarray(end, np.float64)) for end in (low, high)]
    return call.add("Clip", [value, *ends])


@dataclass(slots=True, kw_only=True, eq=False)
class Step:
    """One step. What does not change from step to step is made before the loop.

    Attributes:
        call: whose body it is.
        cell: what is known.
        sigmoid, tanh: tables of the gates' activations, from the lowest code up.
        activation: table of the cell's activation, from code 0 up, then the negative ones.
        recurrent: weights of the hidden state.
        projection: weights, or None.
    """

    call: Call
    cell: Cell
    sigmoid: ir.Value
    tanh: ir.Value
    activation: ir.Value
    recurrent: ir.Value
    projection: ir.Value | None

    @classmethod
    def of(cls, call: Call, cell: Cell) -> Step:
        """Append the tables and weights."""
        direction, layout, hidden = cell.direction, cell.direction.layout, cell.hidden
        projection = direction.at(layout.projection)

        def scaled(entries: NDArray[np.int16], factor: float, *, roll: bool = False) -> ir.Value:
            made = parts.table(call, entries, roll=roll)
            return call.add("Mul", [made, call.constant("unit", np.asarray(factor, np.float64))])

        to_hidden = np.ldexp(np.float64(hidden.multiplier), 15 - 31) if cell.plain else 1.0
        cell_table = numbers.tanh_table(15 + cell.exponent)
        return cls(
            call=call,
            cell=cell,
            sigmoid=scaled(numbers.sigmoid_table(), ONE if cell.plain else 1.0),
            tanh=scaled(
                numbers.tanh_table(numbers.GATE_BITS),
                2.0 ** -(15 + cell.exponent) if cell.plain else 1.0,
            ),
            activation=scaled(cell_table, to_hidden, roll=True),
            recurrent=parts.matrix(call, direction.each(layout.recurrent)),
            projection=None if projection is None else parts.matrix(call, [projection]),
        )

    def run(
        self, hidden: ir.Value, state: ir.Value, part: ir.Value
    ) -> tuple[ir.Value, ir.Value]:
        """The next hidden state, as it travels, and the cell's next state."""
        gates = saturated(self.call, self.call.add("Add", [self._recurrent(hidden), part]))
        if self.cell.plain:
            after, output = self._plain(gates, state)
        else:
            after, output = self._separate(gates, state)
        return self._hidden(output, after), after

    def _recurrent(self, hidden: ir.Value) -> ir.Value:
        """What the hidden state gives to all gates."""
        direction = self.cell.direction
        before, weights = direction.needed(18), direction.each(direction.layout.recurrent)
        most = bound(parts.weights_of(weights), zero_of(before))
        scales = [
            numbers.product_scale(scale_of(w), scale_of(before), gate)
            for w, gate in zip(weights, self.cell.gate_scales, strict=True)
        ]
        sums = product(self.call, hidden, self.recurrent, before.zero_point)
        return rescaled(self.call, sums, scales, most, direction.units)

    def _plain(self, gates: ir.Value, state: ir.Value) -> tuple[ir.Value, ir.Value]:
        """All gates in one look-up; its factors leave only the roundings to do."""
        call, units = self.call, self.cell.direction.units
        start = parts.spread([SIZE // 2] * 3 + [SIZE + SIZE // 2], units).astype(np.int32)
        index = call.add("Add", [call.cast(gates, "int32"), call.constant("start", start)])
        both = self._both()
        found = call.add("Gather", [both, index])
        split = {"axis": -1, "num_outputs": 4}
        taken, forget, output, candidate = call.add_many("Split", [found], split, count=4)
        kept = call.add("Round", [call.add("Mul", [forget, state])])
        new = call.add("Round", [call.add("Mul", [taken, candidate])])
        return self._limited(call.add("Add", [kept, new])), output

    def _limited(self, state: ir.Value) -> ir.Value:
        limit = self.cell.clip
        return saturated(self.call, state, -limit if limit else LOWEST, limit or HIGHEST)
