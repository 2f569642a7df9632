"""UNIDIRECTIONAL_SEQUENCE_LSTM of int8 codes with an int16 cell: what is known of one, and its products.

tensorflow/lite/kernels/lstm_eval.cc, `LstmStepInteger8x8_16`. Both kernel sets have this one kernel.

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

from w2e_bridge.kernels.lstm_cell import ONE_WAY
from w2e_bridge.numerics import lstm as numbers
from w2e_bridge.numerics.fixed_point import quantize_multiplier
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert import lstm_parts as parts
from w2e_onnx.lowering.litert.call import SHIFT, Call
from w2e_onnx.lowering.litert.lstm_parts import Direction, scale_of, zero_of
from w2e_onnx.lowering.litert.rules import NotHere

NUDGE = 1.0 + 2.0**-50
"""Takes a half below 2**31 away from zero, and nothing else over one."""

HIGHEST, LOWEST = 2**15 - 1, -(2**15)


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
        seen = any(self.direction.at(place) for place in layout.peephole)
        whole = len(self.direction.gates) == 4 and not self.direction.normalized
        return whole and not seen and self.hidden.short


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
    multiplier, shift = quantize_multiplier(np.float64(numbers.hidden_scale(float(scales[4]))))
    limit = numbers.clip_code(call.operation.number("cell_clip"), scale_of(state), "int16")
    return Cell(
        direction=direction,
        gate_scales=tuple(
            float(scales[gate]) if direction.normalized else float(numbers.GATE_SCALE)
            for gate in direction.gates
        ),
        exponent=exponent,
        clip=limit,
        hidden=Hidden(multiplier=int(multiplier), shift=int(shift), zero=int(zeros[4])),
        hidden_scale=float(scales[4]),
    )


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
