"""What the integer and the hybrid LSTM have in common: operands by what they are, loops, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.kernels.function import Functional, Step
from w2e_bridge.kernels.lstm_cell import CELL, FORGET, INPUT, SIGMOIDS, Layout, Places
from w2e_onnx.lowering.litert.accumulator import shifted
from w2e_onnx.lowering.litert.call import Call, Slot
from w2e_onnx.lowering.litert.rules import NotHere


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One direction of an LSTM: the operands of a call by what they are.

    Attributes:
        call: the call.
        layout: where they stand.
        backward: whether the last slice comes first.
    """

    call: Call
    layout: Layout
    backward: bool = False

    def at(self, place: int) -> Slot | None:
        """An operand, None where it is left out."""
        return None if place < 0 else self.call.optional(place)

    def needed(self, place: int) -> Slot:
        """An operand that must be there."""
        slot = self.at(place)
        if slot is None or slot.value is None:
            raise NotHere(f"operand {place} is missing")
        return slot

    @property
    def gates(self) -> tuple[int, ...]:
        """The gates that are computed, sigmoids first."""
        coupled = self.at(self.layout.weights[INPUT]) is None
        return (*((FORGET, SIGMOIDS[-1]) if coupled else SIGMOIDS), CELL)

    def each(self, places: Places) -> list[Slot]:
        """An operand for each gate that is computed."""
        return [self.needed(places[gate]) for gate in self.gates]

    @property
    def normalized(self) -> bool:
        """Whether gates are normalized."""
        return self.at(self.layout.norm[CELL]) is not None

    @property
    def units(self) -> int:
        """How many numbers the cell's state has."""
        shape = self.needed(self.layout.bias[CELL]).shape
        if shape is None or len(shape) != 1 or not isinstance(shape[0], int):
            raise NotHere("a bias of unknown shape")
        return shape[0]


def value_of(slot: Slot) -> ir.Value:
    """The formal input of an operand that is there."""
    assert slot.value is not None
    return slot.value


def joined(call: Call, values: Sequence[ir.Value], axis: int = 0) -> ir.Value:
    """Several values behind each other."""
    return values[0] if len(values) == 1 else call.add("Concat", values, {"axis": axis})


def matrix(call: Call, slots: Sequence[Slot]) -> ir.Value:
    """Signed weights of all gates as uint8 with zero point 128, (inputs, gates)."""
    codes = joined(call, [value_of(slot) for slot in slots])
    return call.add("Transpose", [shifted(call, codes)], {"perm": (1, 0)})


def weights_of(slots: Sequence[Slot]) -> NDArray[np.int64]:
    """The codes of constant weights of all gates, (gates, inputs).

    Raises:
        NotHere: they are no constants, or not symmetric with one scale each.
    """
    for slot in slots:
        quantized = slot.quantized
        if slot.tensor is None or quantized is None or quantized.zero_point.any():
            raise NotHere("weights that are no symmetric constants")
        if slot.type != "int8" or quantized.axis is not None:
            raise NotHere(f"weights of {slot.type}, or with several scales")
    return np.concatenate([slot.array().astype(np.int64) for slot in slots])


def scale_of(slot: Slot) -> float:
    """The one scale of an operand."""
    if slot.quantized is None or slot.quantized.axis is not None:
        raise NotHere("an operand without a scale of its own")
    return float(slot.quantized.scale)


def zero_of(slot: Slot) -> int:
    """The zero point of an operand, in its own codes."""
    if slot.quantized is None or slot.quantized.axis is not None:
        raise NotHere("an operand without a zero point of its own")
    return int(slot.quantized.zero_point)


def spread(numbers: Sequence[float] | NDArray[np.generic], units: int) -> NDArray[np.float64]:
    """A number for each gate as one for each of its units."""
    return np.repeat(np.asarray(numbers, np.float64), units)


def table(call: Call, entries: NDArray[np.int16], dtype: str = "float64") -> ir.Value:
    """A smooth table as its steps, which are smaller in the file; a load puts it together."""
    steps = np.diff(entries.astype(np.int64), prepend=int(entries[0]))
    assert np.abs(steps).max(initial=0) < 128
    small = call.cast(call.literal(steps.astype(np.int8), "steps"), "int32")
    axis = call.literal(np.int64(0), "axis")
    start = call.literal(np.int32(entries[0]), "start")
    return call.cast(call.add("Add", [call.add("CumSum", [small, axis]), start]), dtype)


FEW = 16
"""Steps that are written one after another: a Scan costs some 4 microseconds for each (ONNX Runtime 1.32)."""


class Shared(Functional):
    """A call's body as one that canonical nodes are appended to.

    Attributes:
        call: the call.
        steps: how long its sequence is, 0 where that is not known.
    """

    __slots__ = ("call", "steps")

    def __init__(self, call: Call, steps: int = 0) -> None:
        self.call, self.steps, self._count = call, steps, 0

    @property
    def nodes(self) -> list[ir.Node]:
        """The call's."""
        return self.call.nodes

    @nodes.setter
    def nodes(self, nodes: list[ir.Node]) -> None:
        self.call.nodes = nodes

    def fresh(self, name: str) -> str:
        """A name that nothing in the call's body has."""
        return self.call.fresh(name)

    def over(
        self, step: Step, begin: Sequence[ir.Value], sequence: ir.Value, *, backward: bool = False
    ) -> tuple[tuple[ir.Value, ...], ir.Value]:
        """A loop, or a few steps one after another."""
        if 0 < self.steps <= FEW:
            return self.unrolled(step, begin, sequence, self.steps, backward=backward)
        return super().over(step, begin, sequence, backward=backward)
