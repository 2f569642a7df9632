"""Functions of one or two 8-bit codes, known for all of them, in as few nodes as can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.numerics.elementwise import Affine, Codes
from w2e_onnx.lowering.litert import fit
from w2e_onnx.lowering.litert.call import MICROSOFT, Call, Slot
from w2e_onnx.lowering.litert.lookup import look_up
from w2e_onnx.lowering.litert.moving import travelling
from w2e_onnx.lowering.litert.rules import NotHere

EIGHT = ("int8", "uint8")

RANK = 6
"""The highest rank that XNNPACK takes."""

Kernel = Callable[[Codes, Codes], Codes]


def affine(slot: Slot) -> Affine:
    """The one scale of an operand or output.

    Raises:
        NotHere: it has several, or none.
    """
    quantized = slot.quantized
    if quantized is None or quantized.scale.size != 1:
        raise NotHere("a value without one scale")
    scale, zero = np.float32(quantized.scale.item()), int(quantized.zero_point.item())
    return Affine(type=quantized.type, scale=scale, zero=zero)


def types(call: Call, *allowed: str) -> str:
    """The one type of all operands and outputs.

    Raises:
        NotHere: they have several, or one that isn't allowed.
    """
    found = {slot.type if slot.quantized is not None else "" for slot in call.slots()}
    if len(found) != 1 or not found <= set(allowed):
        raise NotHere(f"types {', '.join(sorted(found))}")
    return found.pop()


def same(call: Call) -> None:
    """Refuse operands or outputs of different scales, which kernels that only look at codes mix up.

    Raises:
        NotHere: there are some.
    """
    found = [affine(slot) for slot in call.slots() if slot.quantized is not None]
    if any(not x.same(found[0]) or x.type != found[0].type for x in found):
        raise NotHere("scales that differ")


def low_ranks(call: Call) -> bool:
    """Whether XNNPACK takes the ranks of all operands, as far as they are known."""
    return all(slot.shape is None or len(slot.shape) <= RANK for slot in call.slots())


def zero_of(call: Call, slot: Slot) -> ir.Value:
    """The zero point of an 8-bit operand's codes from 0 on."""
    assert slot.zero_point is not None
    if slot.carried != "int8":
        return slot.zero_point
    found = affine(slot)
    return call.constant("zero", np.asarray(found.zero - found.low, np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operand:
    """An 8-bit operand.

    Attributes:
        slot: it.
        affine: its scale.
        codes: that it can have, from 0 on, lowest first.
        places: of a constant, each element's place among them.
    """

    slot: Slot
    affine: Affine
    codes: NDArray[np.int64]
    places: NDArray[np.int64] | None = None

    @property
    def zero(self) -> int:
        """The zero point of codes from 0 on."""
        return self.affine.zero - self.affine.low


def operand(call: Call, index: int) -> Operand:
    """An operand with the codes that it can have."""
    slot = call.operand(index)
    found = affine(slot)
    if slot.tensor is None:
        return Operand(slot=slot, affine=found, codes=np.arange(256))
    codes, places = np.unique(slot.array().astype(np.int64) - found.low, return_inverse=True)
    return Operand(slot=slot, affine=found, codes=codes, places=places.reshape(slot.array().shape))


def tabled(kernel: Kernel, a: Operand, b: Operand, out: Affine) -> Codes:
    """A kernel's results for all pairs, from 0 on: (codes of a, codes of b)."""
    x, y = a.codes + a.affine.low, b.codes + b.affine.low
    return kernel(x[:, None], y[None, :]) - out.low


Single = tuple[Operand, Codes]
"""The one operand that a result depends on, and the codes that come of its codes."""


def single(call: Call, a: Operand, b: Operand, table: Codes) -> Single | None:
    """A function of two codes of which one is known and the other has the result's shape."""
    shape = call.outputs[0].shape
    if shape is None:
        return None
    if b.codes.size == 1 and shape == a.slot.shape:
        return a, table[:, 0]
    if a.codes.size == 1 and shape == b.slot.shape:
        return b, table[0]
    return None


def unary(call: Call, x: Operand, table: Codes) -> ir.Value:
    """A function of one code.

    Args:
        call: whose body it is.
        x: the operand.
        table: codes from 0 on, one for each that the operand can have.
    """
    made = straight(call, x, table)
    return look_up_code(call, x, table) if made is None else made


def straight(call: Call, x: Operand, table: Codes) -> ir.Value | None:
    """A function of one code that is a line, broken in zero or at its ends: one node or two."""
    if table.size < 256 or call.outputs[0].carried != "uint8":
        # A constant's codes are few: ONNX Runtime computes what is said of it alone once.
        return None
    low, high = int(table.min()), int(table.max())
    if np.array_equal(np.clip(np.arange(256), low, high), table):
        return clip(call, travelling(call, x.slot), low, high)
    return None if call.reference else _slopes(call, x, table)


def look_up_code(call: Call, x: Operand, table: Codes) -> ir.Value:
    """A function of one code out of a table."""
    full = np.zeros(256, np.int64)
    full[x.codes] = table
    return look(call, full, call.cast(travelling(call, x.slot), "int32"), x.slot)


def look(call: Call, table: Codes, index: ir.Value, like: Slot) -> ir.Value:
    """Codes from 0 on out of a table, as they travel."""
    output = call.outputs[0]
    carried, low = output.carried, int(np.iinfo(output.type).min) + output.shift
    held = call.constant("table", (table + low).astype(carried))
    return look_up(call, held, index, like)


def _slopes(call: Call, x: Operand, table: Codes) -> ir.Value | None:
    out = affine(call.outputs[0])
    slopes = fit.rectifier(table, x.zero, out.zero - out.low)
    if slopes is None:
        return None
    inputs = [
        travelling(call, x.slot),
        call.constant("scale", np.asarray(slopes.scale)),
        zero_of(call, x.slot),
        call.literal(np.float32(1), "one"),
        call.outputs[0].zero_point,
    ]
    alpha = {"alpha": float(slopes.alpha)}
    made = call.add("QLinearLeakyRelu", inputs, alpha, domain=MICROSOFT)
    return clip(call, made, int(table.min()), int(table.max())) if slopes.bounded else made


def clip(call: Call, codes: ir.Value, low: int, high: int) -> ir.Value:
    """Codes (uint8) between two ends."""
    if (low, high) == (0, 255):
        return codes
    ends = [
        call.constant(name, np.asarray(end, np.uint8))
        for name, end in (("low", low), ("high", high))
    ]
    return call.add("Clip", [codes, *ends])


def look_up_pair(call: Call, a: Operand, b: Operand, table: Codes) -> ir.Value:
    """A function of two codes, out of a table (codes of a, codes of b)."""
    if b.places is not None:
        # Only the columns that there are.
        offset = call.constant("offset", (b.places * 256).astype(np.int32))
    else:
        wide = call.cast(travelling(call, b.slot), "int32")
        offset = call.add("Mul", [wide, call.literal(np.int32(256), "columns")])
    full = np.zeros((b.codes.size, 256), np.int64)
    full[:, a.codes] = table.T
    index = call.add("Add", [call.cast(travelling(call, a.slot), "int32"), offset])
    return look(call, full.reshape(-1), index, call.outputs[0])
