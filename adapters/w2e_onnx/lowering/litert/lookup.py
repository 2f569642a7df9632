"""Tables in the body of a function."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.lookup import STEPS, WIDTH, slopes
from w2e_onnx.lowering.litert.call import Call, Slot

FEW = 512
"""Elements up to which one Gather is quicker than GatherElements of a flat index (11 against 2 ns an
element, but two more nodes; ONNX Runtime 1.32, AVX2)."""


def elements(slot: Slot) -> int | None:
    """How many elements a value has, None where that is not known."""
    shape = slot.shape
    if shape is None or not all(isinstance(d, int) for d in shape):
        return None
    return known(shape)


def known(shape: Sequence[object]) -> int:
    """The product of the extents that are known."""
    return math.prod(extent for extent in shape if isinstance(extent, int))


def look_up(call: Call, table: ir.Value, index: ir.Value, like: Slot) -> ir.Value:
    """Entries of a table of rank 1.

    Args:
        call: whose body it is.
        table: of any type; negative indices count from its end.
        index: int32, of any shape.
        like: an operand or output with as many elements as the index.
    """
    # A free extent is the batch, and that is mostly 1.
    if like.shape is not None and known(like.shape) <= FEW:
        return call.add("Gather", [table, index])
    flat = call.add("Reshape", [index, call.literal(np.asarray([-1], np.int64), "flat")])
    found = call.add("GatherElements", [table, flat])
    return call.add("Reshape", [found, call.add("Shape", [index])])


def by_codes_8(call: Call, x: Slot, codes: NDArray[np.integer], y: Slot) -> ir.Value:
    """A code for every 8-bit code of `x`, lowest first, as they travel."""
    assert x.value is not None
    low = np.iinfo(y.type).min
    table = call.constant("table", (codes.astype(np.int64) - low).astype(np.uint8))
    return look_up(call, table, call.cast(x.value, "int32"), x)


def by_codes_16(call: Call, x: Slot, table: ir.Value) -> ir.Value:
    """A code for every 16-bit code: `table` has those of 0 to 32767, then of -32768 to -1."""
    assert x.value is not None
    return look_up(call, table, call.cast(x.value, "int32"), x)


def all_codes_16(call: Call) -> ir.Value:
    """0 to 32767, then -32768 to -1: int32. What is computed of it alone is computed at load."""
    ends = [call.literal(np.int32(n), "bound") for n in (0, 1 << 16, 1)]
    return call.cast(call.cast(call.add("Range", ends), "int16"), "int32")


def interpolated(call: Call, table: NDArray[np.int16], *, fixed: bool = False) -> ir.Value:
    """`numerics.lookup.interpolated` of a table of 513 codes; computed at load.

    Args:
        call: whose body it is.
        table: 513 codes.
        fixed: whether it is the same in every call, and then in order, lowest code first; else it
            depends on scales, and is in the order of `by_codes_16`.
    """
    half = 0 if fixed else STEPS // 2
    base, slope = np.roll(table[:-1], half)[:, None], np.roll(slopes(table), half)[:, None]
    start, step = (
        call.literal(array, name) if fixed else call.constant(name, array)
        for name, array in (("base", base), ("slope", slope))
    )
    within = call.literal(np.arange(WIDTH, dtype=np.int32), "within")
    risen = call.add("Mul", [call.cast(step, "int32"), within])
    # (risen + 64) >> 7 with a Div, which cuts off: of numbers above 0.
    lifted = call.add("Add", [risen, call.literal(np.int32((1 << 23) + 64), "lift")])
    moved = call.add("Div", [lifted, call.literal(np.int32(WIDTH), "width")])
    back = call.literal(np.int32(1 << 16), "back")
    begun = call.add("Sub", [call.cast(start, "int32"), back])
    codes = call.cast(call.add("Add", [moved, begun]), "int16")
    return call.add("Reshape", [codes, call.literal(np.asarray([-1], np.int64), "flat")])
