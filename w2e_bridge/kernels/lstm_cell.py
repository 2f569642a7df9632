"""Operands of TensorFlow Lite's LSTM operators by what they are.

Sources: tensorflow/lite/kernels/lstm_shared.h, bidirectional_sequence_lstm.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.operation import Constant, Operand, Operation

INPUT, FORGET, CELL, OUTPUT = range(4)
"""Gates in TensorFlow Lite's order."""

SIGMOIDS = (INPUT, FORGET, OUTPUT)
"""Gates that are a sigmoid: they stand before the fourth in what is computed at once."""

Places = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the operands of one direction stand; -1 for what an operator has no place for.

    Attributes:
        input: the sequence.
        weights, recurrent, peephole, bias, norm, auxiliary_weights: one operand for each gate.
        projection, projection_bias, hidden, state: single ones.
        auxiliary: a second sequence.
    """

    input: int = 0
    weights: Places = (1, 2, 3, 4)
    recurrent: Places = (5, 6, 7, 8)
    peephole: Places = (9, 10, -1, 11)
    bias: Places = (12, 13, 14, 15)
    projection: int = 16
    projection_bias: int = 17
    hidden: int = 18
    state: int = 19
    norm: Places = (20, 21, 22, 23)
    auxiliary: int = -1
    auxiliary_weights: Places = (-1, -1, -1, -1)


ONE_WAY = Layout()
FORWARD = Layout(
    hidden=35, state=36, norm=(-1,) * 4, auxiliary=39, auxiliary_weights=(40, 41, 42, 43)
)
BACKWARD = Layout(
    weights=(18, 19, 20, 21),
    recurrent=(22, 23, 24, 25),
    peephole=(26, 27, -1, 28),
    bias=(29, 30, 31, 32),
    projection=33,
    projection_bias=34,
    hidden=37,
    state=38,
    norm=(-1,) * 4,
    auxiliary=39,
    auxiliary_weights=(44, 45, 46, 47),
)

Operands = Sequence[ir.Value | None]


def needed(operands: Operands, place: int) -> ir.Value:
    """An operand that must be there."""
    value = operands[place] if 0 <= place < len(operands) else None
    if value is None:
        raise UnsupportedError(f"operand {place} is missing")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the attributes of an operator say of one direction.

    Attributes:
        activation: of the cell gate and the cell: "TANH", ….
        cell_clip, proj_clip: 0 for none.
        backward: whether the last slice comes first.
    """

    activation: str = "TANH"
    cell_clip: float = 0.0
    proj_clip: float = 0.0
    backward: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One direction.

    Attributes:
        operands: of the operation, or what stands in their place.
        layout: where they stand.
        settings: of the direction.
        units: numbers in the cell's state, None where that is not known.
        diagonal: whether recurrent weights are those of diagonal matrices.
    """

    operands: Operands
    layout: Layout
    settings: Settings
    units: int | None = None
    diagonal: bool = False

    def at(self, place: int) -> ir.Value | None:
        """An operand, None where it is left out."""
        return self.operands[place] if 0 <= place < len(self.operands) else None

    def needed(self, place: int) -> ir.Value:
        """An operand that must be there."""
        return needed(self.operands, place)

    @property
    def coupled(self) -> bool:
        """Whether the input gate is what the forget gate leaves."""
        return self.at(self.layout.weights[INPUT]) is None

    @property
    def gates(self) -> tuple[int, ...]:
        """The gates that are computed, sigmoids first."""
        return (FORGET, OUTPUT, CELL) if self.coupled else (*SIGMOIDS, CELL)

    def each(self, places: Places) -> list[ir.Value]:
        """An operand for each gate that is computed."""
        return [self.needed(places[gate]) for gate in self.gates]

    @property
    def separate(self) -> bool:
        """Whether gates differ in more than their numbers."""
        return self.at(self.layout.norm[CELL]) is not None or any(
            self.at(place) is not None for place in self.layout.peephole
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator of this family.

    Attributes:
        name: of its function.
        operands: that it has at most.
        sequence: whether it is given a sequence; else one step of it.
        directions: layouts of its directions.
        time_major: what the attribute of that name is where it is not said.
    """

    name: str
    operands: int
    sequence: bool = True
    directions: tuple[Layout, ...] = (ONE_WAY,)
    time_major: bool = False


OPERATORS: Mapping[str, Operator] = {
    "unidirectional_sequence_lstm": Operator(name="UnidirectionalSequenceLSTM", operands=24),
    "lstm": Operator(name="LSTM", operands=24, sequence=False, time_major=True),
    "bidirectional_sequence_lstm": Operator(
        name="BidirectionalSequenceLSTM",
        operands=48,
        directions=(FORWARD, BACKWARD),
        time_major=True,
    ),
}
"""Kinds by name."""


def cells(operation: Operation, operands: Operands) -> list[Cell]:
    """The directions of an operation."""
    settings = Settings(
        activation=operation.text("fused_activation_function"),
        cell_clip=operation.number("cell_clip"),
        proj_clip=operation.number("proj_clip"),
    )
    return [
        Cell(
            operands=operands,
            layout=layout,
            settings=replace(settings, backward=index > 0),
            units=_extent(operation.input(layout.bias[CELL])),
            diagonal=_rank(operation.input(layout.recurrent[CELL])) == 1,
        )
        for index, layout in enumerate(OPERATORS[operation.kind].directions)
    ]


def time_first(operation: Operation) -> bool:
    """Whether a sequence is (time, batch, …)."""
    return bool(operation.integer("time_major", OPERATORS[operation.kind].time_major))


def lone(operation: Operation) -> bool:
    """Whether there is one sequence only, as far as is known."""
    x = operation.input(0)
    shape = x.shape if isinstance(x, ir.Value) else None
    batch = 1 if time_first(operation) else 0
    return shape is not None and len(shape) == 3 and shape[batch] == 1


def steps_of(operation: Operation) -> int:
    """How long a sequence is, 0 where that is not known."""
    x = operation.input(0)
    shape = x.shape if isinstance(x, ir.Value) else None
    extent = None if shape is None or len(shape) != 3 else shape[0 if time_first(operation) else 1]
    return extent if isinstance(extent, int) else 0


def _rank(operand: Operand) -> int | None:
    if isinstance(operand, Constant):
        return operand.array.ndim
    return None if operand is None or operand.shape is None else len(operand.shape)


def _extent(operand: Operand) -> int | None:
    """The one extent of a vector."""
    if isinstance(operand, Constant):
        return operand.array.shape[0] if operand.array.ndim == 1 else None
    shape = None if operand is None else operand.shape
    extent = None if shape is None or len(shape) != 1 else shape[0]
    return extent if isinstance(extent, int) else None
