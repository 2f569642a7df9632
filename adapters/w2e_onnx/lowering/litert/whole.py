"""Fixed-point arithmetic of whole numbers as float64 in as few nodes as give the very integers.

`fixed_point` is exact whatever the numbers are. Here they are known: where a shorter form gives the
same for every code that an operand can have, or on both sides of every step of a result, it is
taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.fixed_point import multiply, quantize_multiplier
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert.call import Call, Slot

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]

AROUND = np.arange(-3, 4)[:, None]
"""Where a step is looked for, from where a division puts it."""


def term(
    call: Call, x: Slot, centred: Whole, real: float, left: int, *, once: bool = False
) -> ir.Value:
    """Codes minus zero point, times 2**left, times a real number of at most one: whole, as float64.

    Args:
        call: whose body it is.
        x: the operand.
        centred: all its codes minus its zero point, below 2**17.
        real: the multiplier.
        left: bits by which numbers are raised first.
        once: multiply in one step, rounding once, where the kernel does.
    """
    number, shift = quantize_multiplier(np.float64(real))
    value = call.centred(x, "float64")
    raised = left + int(shift) if once else left
    first = np.ldexp(np.float64(number), raised - 31)
    high = np.floor(centred * first + 0.5)
    made = call.add("Mul", [value, call.constant("multiplier", np.asarray(first))])
    if once or shift == 0:
        return _rounded(call, made, centred * first, high)
    second = np.ldexp(1.0, int(shift)) * fixed_point.NUDGE
    if np.array_equal(np.rint(np.rint(centred * first) * second), np.rint(high * second)):
        made = call.add("Round", [made])
    else:
        made = _rounded(call, made, centred * first, high)
    return call.add(
        "Round", [call.add("Mul", [made, call.constant("divisor", np.asarray(second))])]
    )


def _rounded(call: Call, value: ir.Value, numbers: Reals, wanted: Reals) -> ir.Value:
    """Halves up: no node where all is whole, one where halves to even come to the same."""
    if np.array_equal(numbers, wanted):
        return value
    if np.array_equal(np.rint(numbers), wanted):
        return call.add("Round", [value])
    return call.add("Floor", [call.add("Add", [value, fixed_point.half(call)])])


def product(
    call: Call, factors: Sequence[ir.Value], real: float, bound: int, out: Slot
) -> ir.Value:
    """Whole numbers times a real one, to codes of an output without its zero point.

    Args:
        call: whose body it is.
        factors: of whole numbers, as float64: one, or two of which the last may be a constant.
        real: the multiplier.
        bound: no product is larger, either way.
        out: the output.
    """
    number, shift = quantize_multiplier(np.float64(real))
    factor = np.ldexp(np.float64(number), max(int(shift), 0) - 31)
    divisor = np.ldexp(1.0, int(shift)) * fixed_point.NUDGE
    slope = float(np.ldexp(np.float64(number), int(shift) - 31))
    for round_ in (np.rint, _half_up):

        def quick(x: Whole, round_: Callable[[Reals], Reals] = round_) -> Reals:
            once = round_(x.astype(np.float64) * factor)
            return once if shift >= 0 else np.rint(once * divisor)

        if not agree(lambda x: multiply(x, number, shift), quick, slope, bound, out):
            continue
        # The last factor is multiplied first: if it is a constant, that happens at load.
        made = call.add("Mul", [factors[-1], call.constant("factor", np.asarray(factor))])
        for other in factors[:-1]:
            made = call.add("Mul", [other, made])
        if round_ is _half_up:
            made = call.add("Floor", [call.add("Add", [made, fixed_point.half(call)])])
        else:
            made = call.add("Round", [made])
        if shift >= 0:
            return made
        made = call.add("Mul", [made, call.constant("last", np.asarray(divisor))])
        return call.add("Round", [made])
    total = factors[0] if len(factors) == 1 else call.add("Mul", factors)
    return fixed_point.multiply(call, total, number, shift, bound=bound)


def _half_up(x: Reals) -> Reals:
    return np.floor(x + 0.5)


def finish(call: Call, x: ir.Value, out: Slot, low: int, high: int) -> ir.Value:
    """Codes of whole numbers, between two ends (in the output's own codes)."""
    assert out.quantized is not None
    if out.shift or out.quantized.zero_point.any():
        return fixed_point.codes(call, x, out, low, high)
    ends = [
        call.constant(name, np.asarray(end, np.float64))
        for name, end in (("low", low), ("high", high))
    ]
    return call.cast(call.add("Clip", [x, *ends]), out.carried)


def agree(
    exact: Callable[[Whole], Whole],
    quick: Callable[[Whole], Reals],
    slope: float,
    bound: int,
    out: Slot,
) -> bool:
    """Whether two functions that never fall give the same code of an output for every whole number.

    They do if every code begins at the same number, which is looked for near where the slope has
    it.
    """
    assert out.quantized is not None
    info, zero = np.iinfo(out.type), int(out.quantized.zero_point)
    codes = np.arange(info.min - zero + 1, info.max - zero + 1, dtype=np.float64)
    if slope <= 0:
        return False
    begin = np.ceil((codes - 0.5) / slope)
    reached = np.abs(begin) <= bound + 4
    near = begin[reached].astype(np.int64) + AROUND  # (places, codes)
    got, wanted = (f(near) >= codes[reached] for f in (quick, exact))
    framed = not wanted[0].any() and bool(wanted[-1].all())
    return framed and np.array_equal(got, wanted)
