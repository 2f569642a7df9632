"""`numerics.gemmlowp` in the body of a function: 32-bit fixed point, as int64.

For a few numbers in a row of many (sums and their reciprocals): products of 62 bits have no float64.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.numerics.gemmlowp import (
    ALPHA_D,
    ALPHA_F,
    ALPHA_I,
    ALPHA_N,
    FIRST_GUESS,
    FOURTH_ROOT_HALF,
    LOG_2,
    SQRT_HALF,
)
from w2e_onnx.lowering.litert.call import Call

BITS = 31
LIFT = 1 << 62
"""Makes products positive, whose quotients Div would otherwise round towards 0."""


class Fixed:
    """Appends operations on fixed-point numbers to a body."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.numbers: dict[int, ir.Value] = {}

    def number(self, value: int) -> ir.Value:
        """A constant."""
        if value not in self.numbers:
            self.numbers[value] = self.call.literal(np.int64(value), "number")
        return self.numbers[value]

    def add(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        """The sum."""
        return self.call.add("Add", [a, self._value(b)])

    def subtract(self, a: ir.Value | int, b: ir.Value | int) -> ir.Value:
        """The difference."""
        return self.call.add("Sub", [self._value(a), self._value(b)])

    def product(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        """The plain product of whole numbers."""
        return self.call.add("Mul", [a, self._value(b)])

    def quotient(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        """The plain quotient of whole numbers above 0, cut off."""
        return self.call.add("Div", [a, self._value(b)])

    def times(self, a: ir.Value, b: ir.Value | int) -> ir.Value:
        """`numerics.gemmlowp.times`."""
        lifted = self.add(self.product(a, b), LIFT + (1 << (BITS - 1)))
        return self.subtract(self.quotient(lifted, 1 << BITS), LIFT >> BITS)

    def divided(self, a: ir.Value, exponent: int) -> ir.Value:
        """Divided by a power of two, halves away from zero."""
        size = self.add(self.call.add("Abs", [a]), 1 << (exponent - 1))
        return self.product(self.quotient(size, 1 << exponent), self.call.add("Sign", [a]))

    def raised(self, a: ir.Value, exponent: int) -> ir.Value:
        """Multiplied by a power of two, saturated."""
        ends = [self.number(-(1 << BITS)), self.number((1 << BITS) - 1)]
        return self.call.add("Clip", [self.product(a, 1 << exponent), *ends])

    def select(
        self, table: np.ndarray[tuple[int, ...], np.dtype[np.int64]], at: ir.Value
    ) -> ir.Value:
        """An entry of a fixed table."""
        return self.call.add("Gather", [self.call.literal(table, "entries"), at])

    def bit_length(self, a: ir.Value) -> ir.Value:
        """Bits of whole numbers from 0 to 2**32 - 1, whose last axis has length 1."""
        powers = self.call.literal(np.int64(1) << np.arange(32, dtype=np.int64), "powers")
        reached = self.call.cast(self.call.add("GreaterOrEqual", [a, powers]), "int64")
        last = self.call.literal(np.asarray([-1], np.int64), "last")
        return self.call.add("ReduceSum", [reached, last], {"keepdims": 1})

    def reciprocal_of_one_plus(self, a: ir.Value) -> ir.Value:
        """`numerics.gemmlowp.reciprocal_of_one_plus`."""
        total = self.add(a, (1 << BITS) - 1)
        half = self.quotient(self.add(total, 1), 2)
        start, slope = FIRST_GUESS
        x = self.add(self.times(half, slope), start)
        for _ in range(3):
            rest = self.subtract(1 << (BITS - 2), self.times(half, x))
            x = self.add(x, self.raised(self.times(x, rest), 2))
        return self.raised(x, 1)

    def log_of_sum(self, a: ir.Value, integer_bits: int, out_bits: int) -> ir.Value:
        """`numerics.gemmlowp.log_of_sum`."""
        unit, all_bits = BITS - (out_bits + 1), np.arange(33, dtype=np.int64)
        quarter, powers = 1 << (unit - 2), np.int64(1) << all_bits
        bits = self.bit_length(a)
        power_a = self.select(((integer_bits - 32 + all_bits) << unit) + quarter, bits)
        raised_a = self.product(a, self.select(powers[np.maximum(31 - all_bits, 0)], bits))
        scaled_a = self.raised(self.times(raised_a, SQRT_HALF), 1)
        low_bits = self.bit_length(self.times(a, SQRT_HALF))
        power_b = self.select(((integer_bits - 31 + all_bits) << unit) - quarter, low_bits)
        raised_b = self.product(a, self.select(powers[np.maximum(31 - all_bits, 0)], low_bits))
        scaled_b = self.call.add("Min", [raised_b, self.number((1 << BITS) - 1)])
        r = self.call.add("Min", [scaled_a, scaled_b])
        power = self.call.add("Max", [power_a, power_b])
        p = self.quotient(self.add(r, FOURTH_ROOT_HALF + 1), 2)
        q = self.product(self.subtract(r, FOURTH_ROOT_HALF), 2)
        square = self.times(q, q)
        cubic = self.times(self.times(q, square), ALPHA_N)
        numerator = self.add(self.times(q, r), cubic)
        factor = self.add(self.add(q, ALPHA_I), self.times(square, ALPHA_D))
        denominator = self.add(self.times(p, factor), self.times(q, ALPHA_F))
        inverse = self.reciprocal_of_one_plus(denominator)
        small = self.divided(numerator, out_bits + 1)
        result = self.add(self.times(power, LOG_2), self.times(small, inverse))
        return self.raised(result, 1)

    def _value(self, a: ir.Value | int) -> ir.Value:
        return self.number(a) if isinstance(a, int) else a
