"""Reads back what was just written and holds it to the report, before anybody can use it.

The target's reader shares no code with its writer, so a slip in either shows here.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping

from w2e_bridge.errors import DefectError
from w2e_bridge.fidelity.metrics import Difference, same_bits, values
from w2e_bridge.formats.output import Held
from w2e_bridge.ir.tensor import CHUNK_ELEMENTS, Tensor
from w2e_bridge.loss import Grade

_SAMPLE_ELEMENTS = 1 << 12
_RANDOM_SPANS = 1


class Audit:
    """Compares the decoded values of the source with those that were written, tensor by tensor.

    Where the grade is exact they must be the source's own; else those that negotiation decided on. Threads
    may check different tensors at once.
    """

    def __init__(
        self,
        source: Mapping[str, Tensor],
        decisions: Mapping[str, Held],
        lift: Callable[[], Mapping[str, Tensor]],
        *,
        full: bool,
        turned: Mapping[str, Tensor] | None = None,
    ) -> None:
        """An audit of one output.

        Args:
            source: the tensors of the source.
            decisions: what was decided on each of them.
            lift: reads the output back; called once, when the first tensor is checked.
            full: all rows rather than the first, the last and some between.
            turned: the tensors as the source has them, where the output may have these axes as well: who
                reads it back turns some matrices.
        """
        self._turned = {} if turned is None else turned
        self._source, self._decisions, self._lift, self._full = source, decisions, lift, full
        self._lock = threading.Lock()
        self._written: Mapping[str, Tensor] | None = None
        self._checked: set[str] = set()

    def check(self, name: str) -> None:
        """Check a tensor that is written, if it is one of the source's.

        Raises:
            DefectError: it differs, or is not there.
        """
        decision = self._decisions.get(name)
        if decision is None:
            return
        exact = decision.loss.grade is Grade.EXACT
        expected = self._source.get(name, decision.tensor) if exact else decision.tensor
        found = self._output().get(name)
        if found is None:
            raise _defect(decision, "is not in the output")
        problem = _difference(expected, found, full=self._full)
        other = self._turned.get(name) if exact and problem else None
        if other is not None and other.shape == expected.shape[::-1]:
            problem = _difference(other, found, full=self._full)
        if problem:
            raise _defect(decision, problem)
        self._checked.add(name)

    def finish(self) -> None:
        """Check every tensor that was not checked yet."""
        for name in self._decisions:
            if name not in self._checked:
                self.check(name)

    def _output(self) -> Mapping[str, Tensor]:
        with self._lock:
            if self._written is None:
                self._written = self._lift()
            return self._written


def _difference(expected: Tensor, found: Tensor, *, full: bool) -> str:
    """How a tensor that was written differs, "" where it does not."""
    if found.elements != expected.elements or found.columns != expected.columns:
        return f"has shape {found.shape} in the output, not {expected.shape}"
    for start, stop in expected.spans(CHUNK_ELEMENTS) if full else sample(expected):
        ours, theirs = values(expected, start, stop), values(found, start, stop)
        if same_bits(ours, theirs) == ours.size:
            continue
        gap = Difference()
        gap.add(ours, theirs)
        if gap.equal != gap.count:
            rows = f"rows {start} to {stop}: {gap.count - gap.equal} of {gap.count} values differ"
            return f"{rows}, by up to {gap.max_abs:.3g}"
    return ""


def sample(tensor: Tensor) -> Iterator[tuple[int, int]]:
    """The first and last rows, and some between that depend on the tensor's name alone."""
    step = max(1, _SAMPLE_ELEMENTS // max(1, tensor.columns))
    seed = zlib.crc32(tensor.name.encode("utf-8", "replace"))
    chance = random.Random(seed)  # noqa: S311 - no secret
    last = max(0, tensor.rows - step)
    starts = {0, last, *(chance.randint(0, last) for _ in range(_RANDOM_SPANS))}
    for start in sorted(starts):
        yield start, min(start + step, tensor.rows)


def _defect(decision: Held, what: str) -> DefectError:
    row = decision.loss
    return DefectError(
        f"internal defect, please report: '{row.name}' ({row.source_encoding} to {row.encoding}) "
        f"{what}; nothing was kept"
    )
