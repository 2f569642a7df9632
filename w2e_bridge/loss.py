"""Loss is data: what became of every tensor and value of a conversion, and what the user accepts."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from w2e_bridge.errors import LossError


class Grade(enum.IntEnum):
    """How faithfully parameters were carried, best first.

    EXACT: codes stay codes and decode to bit-equal float32; of a float tensor: equal values. Where a target
        has no negative scales, a zero may lose its sign: the row's reason says so.
    ROUNDING: codes kept; a scale, offset or float value rounded to the target's type.
    REQUANTIZED: new codes, made from decoded values.
    FLOAT: stored as float although the source was quantized.
    """

    EXACT = 0
    ROUNDING = 1
    REQUANTIZED = 2
    FLOAT = 3

    @property
    def label(self) -> str:
        """The word used on the command line and in reports."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorLoss:
    """A row of the report: what became of one tensor or value.

    Attributes:
        name: as in the source.
        source_encoding: how the source stored it.
        encoding: how the target stores it.
        grade: see `Grade`.
        max_error_steps: largest error in steps of the code; 0 where exact.
        max_abs_error: largest error of a decoded value.
        reason: why it is not exact, or how exactness came about; "" where there is nothing to say.
    """

    name: str
    source_encoding: str
    encoding: str
    grade: Grade
    max_error_steps: float = 0.0
    max_abs_error: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A tensor, key or behaviour of the source that has no place in the target."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The worst that the user accepts.

    Attributes:
        fidelity: the worst grade among EXACT, ROUNDING, REQUANTIZED.
        allow_float: whether float storage of a quantized source is acceptable too.
    """

    fidelity: Grade = Grade.EXACT
    allow_float: bool = False

    def accepts(self, grade: Grade) -> bool:
        """Whether a tensor of this grade may be written."""
        return self.allow_float if grade is Grade.FLOAT else grade <= self.fidelity

    def check(self, rows: list[TensorLoss], source: str) -> None:
        """Raise `LossError` naming the tensors beyond the budget and the cheapest flags that let them through."""
        beyond = [row for row in rows if not self.accepts(row.grade)]
        if not beyond:
            return
        names = ", ".join(f"{row.name} ({row.grade.label}: {row.reason})" for row in beyond[:3])
        more = f" and {len(beyond) - 3} more" if len(beyond) > 3 else ""
        raise LossError(
            f"{source}: {len(beyond)} of {len(rows)} tensors would be worse than "
            f"--fidelity {self.fidelity.label}: {names}{more}; {_flags(beyond)} would let them through"
        )


def _flags(beyond: list[TensorLoss]) -> str:
    codes = [row.grade for row in beyond if row.grade is not Grade.FLOAT]
    flags = [f"--fidelity {max(codes).label}"] if codes else []
    if any(row.grade is Grade.FLOAT for row in beyond):
        flags.append("--allow-float")
    return " ".join(flags)
