"""Reads back what was just written and holds it to the report, before anybody can use it.

The target's reader shares no code with its writer, so a slip in either shows here.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping

from w2e_bridge.errors import DefectError
from w2e_bridge.fidelity.metrics import Difference, same_bits, values
from w2e_bridge.ir.tensor import CHUNK_ELEMENTS, Tensor
from w2e_bridge.loss import Grade
from w2e_bridge.negotiation.decision import Decision, Decisions

_SAMPLE_ELEMENTS = 1 << 13
_RANDOM_SPANS = 2


def audit(
    source: Mapping[str, Tensor], decisions: Decisions, written: Mapping[str, Tensor], *, full: bool
) -> None:
    """Compare the decoded values of every tensor of the source with those that were written.

    Where the grade is exact they must be the source's own; else those that negotiation decided on.

    Args:
        source: the tensors of the source.
        decisions: what was decided.
        written: the tensors of the output, lifted again.
        full: all rows rather than the first, the last and some between.

    Raises:
        DefectError: they differ.
    """
    for name, decision in decisions.items():
        exact = decision.loss.grade is Grade.EXACT
        expected = source.get(name, decision.tensor) if exact else decision.tensor
        found = written.get(name)
        if found is None:
            raise _defect(decision, "is not in the output")
        if found.elements != expected.elements or found.columns != expected.columns:
            raise _defect(decision, f"has shape {found.shape} in the output, not {expected.shape}")
        _compare(decision, expected, found, full=full)


def _compare(decision: Decision, expected: Tensor, found: Tensor, *, full: bool) -> None:
    for start, stop in expected.spans(CHUNK_ELEMENTS) if full else sample(expected):
        ours, theirs = values(expected, start, stop), values(found, start, stop)
        if same_bits(ours, theirs) == ours.size:
            continue
        gap = Difference()
        gap.add(ours, theirs)
        if gap.equal != gap.count:
            rows = f"rows {start} to {stop}: {gap.count - gap.equal} of {gap.count} values differ"
            raise _defect(decision, f"{rows}, by up to {gap.max_abs:.3g}")


def sample(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """The first and last rows, and some between that depend on the tensor's name alone."""
    step = max(1, _SAMPLE_ELEMENTS // max(1, tensor.columns))
    seed = zlib.crc32(tensor.name.encode("utf-8", "replace"))
    chance = random.Random(seed)  # noqa: S311 - no secret
    last = max(0, tensor.rows - step)
    starts = {0, last, *(chance.randint(0, last) for _ in range(_RANDOM_SPANS))}
    for start in sorted(starts):
        yield start, min(start + step, tensor.rows)


def _defect(decision: Decision, what: str) -> DefectError:
    row = decision.loss
    return DefectError(
        f"internal defect, please report: '{row.name}' ({row.source_encoding} to {row.encoding}) "
        f"{what}; nothing was kept"
    )
