"""The fidelity report: what a conversion did to every tensor; a record, and `w2e-report.json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum

from w2e_bridge.loss import Grade, Ignored, TensorLoss

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """All tensors that went from one encoding to one other at one grade: a line of the summary.

    Attributes:
        source_encoding: how the source stores them. encoding: how the target does.
        grade: at what grade.
        tensors: how many.
        before: bytes in the source. after: bytes in the target, without its own overhead.
    """

    source_encoding: str
    encoding: str
    grade: Grade
    tensors: int
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A file of the output.

    Attributes:
        name: relative to the output's folder.
        nbytes: its length; of a companion in a dry run unknown, so that it is not listed there.
    """

    name: str
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a model.

    Attributes:
        source: name of the input, without its folder. target: name of the format.
        profile: name of the target's profile.
        tensors: a row for every tensor of the source. values: likewise for quantized activations.
        ignored: what has no place in the target.
        hints: (key, "applied" | "ignored" | "unsupported").
        conditions: what exactness depends on.
        summary: storage and computation, said apart.
        out: the folder of the output, and `files` in it; the first is the one that a user opens.
        totals: the tensors, added up by encoding.
        source_bytes: size of the input.
        audit: how the output was read back: "sample", "full", "none", or "" of a dry run.
        refusal: of a dry run: why the conversion would be refused, or "".
    """

    source: str
    target: str
    profile: str
    tensors: tuple[TensorLoss, ...]
    values: tuple[TensorLoss, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    hints: tuple[tuple[str, str], ...] = ()
    conditions: tuple[str, ...] = ()
    summary: str = ""
    out: str = ""
    files: tuple[Written, ...] = ()
    totals: tuple[Total, ...] = ()
    source_bytes: int = 0
    audit: str = ""
    refusal: str = ""

    @property
    def grade(self) -> Grade:
        """The worst grade of all rows."""
        return max((row.grade for row in (*self.tensors, *self.values)), default=Grade.EXACT)

    def document(self) -> dict[str, object]:
        """The content of `w2e-report.json`: of the conversion alone, nothing of when and where."""
        return {
            "schema": SCHEMA,
            "source": self.source,
            "target": self.target,
            "profile": self.profile,
            "grade": self.grade.label,
            "tensors": self.tensors,
            "values": self.values,
            "ignored": self.ignored,
            "hints": [{"key": key, "effect": effect} for key, effect in self.hints],
            "conditions": self.conditions,
            "summary": self.summary,
        }

    def run(self) -> dict[str, object]:
        """What `convert --json` says beyond the report: the files and how they came about."""
        return {
            "out": self.out,
            "files": [{"name": file.name, "bytes": file.nbytes} for file in self.files],
            "source_bytes": self.source_bytes,
            "totals": self.totals,
            "audit": self.audit,
            "refusal": self.refusal,
        }


def totals(rows: Iterable[tuple[TensorLoss, int, int]]) -> tuple[Total, ...]:
    """(row, bytes before, bytes after) added up, the most bytes first."""
    sums: dict[tuple[str, str, Grade], list[int]] = {}
    for row, before, after in rows:
        total = sums.setdefault((row.source_encoding, row.encoding, row.grade), [0, 0, 0])
        for index, more in enumerate((1, before, after)):
            total[index] += more
    lines = [
        Total(source_encoding=a, encoding=b, grade=grade, tensors=n, before=before, after=after)
        for (a, b, grade), (n, before, after) in sums.items()
    ]
    return tuple(sorted(lines, key=lambda t: (-t.before, t.source_encoding, t.encoding, t.grade)))


def to_json(value: object, indent: int | None = 1) -> str:
    """JSON text of plain data and records: deterministic, and valid whatever is in them.

    A number that is not finite is the string "inf", "-inf" or "nan"; half a surrogate pair is
    escaped.
    """
    text = json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def plain(value: object) -> object:
    """The same in terms of dict, list, str, int, float, bool and None."""
    result: object
    match value:
        case Enum():
            result = value.label if isinstance(value, Grade) else plain(value.value)
        case None | bool() | str():
            result = value
        case int():
            result = int(value)
        case float():
            result = float(value) if math.isfinite(value) else str(float(value))
        case Mapping():
            result = {str(key): plain(item) for key, item in value.items()}
        case bytes():
            result = value.hex()
        case Iterable():
            result = [plain(item) for item in value]
        case _ if is_dataclass(value):
            result = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        case _:
            item = getattr(value, "item", None)  # a number of numpy
            result = plain(item()) if callable(item) else str(value)
    return result
