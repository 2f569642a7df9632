"""What a conversion did, in the few lines that people read."""

from __future__ import annotations

from pathlib import Path

from w2e_bridge.cli.render import graded, listed, short, size, some, table
from w2e_bridge.fidelity.report import Report
from w2e_bridge.loss import Grade, TensorLoss

_MOST = 5


def conversion(report: Report, seconds: float, *, every: bool) -> list[str]:
    """The summary of a conversion; `every` names all tensors and all that was not carried."""
    most = 10**9 if every else _MOST
    place = Path(report.out, report.files[0].name) if report.files else report.out
    lossy = [row for row in (*report.tensors, *report.values) if row.grade is not Grade.EXACT]
    rows = (*report.tensors, *report.values) if every else lossy
    return [
        f"{report.source} → {place}  ({report.target}, profile {report.profile})",
        "",
        *_totals(report),
        "",
        *listed("tensors" if every else "not exact", [_row(row) for row in rows], most),
        *listed("not carried", [short(f"{i.name}: {i.reason}", 110) for i in report.ignored], most),
        *listed("hints", [f"{key}: {effect}" for key, effect in report.hints], most),
        *listed("holds under", [short(text, 110) for text in report.conditions], most),
        *([report.summary] if report.summary else []),
        _sizes(report, seconds),
    ]


def _totals(report: Report) -> list[str]:
    if not report.totals:
        return ["  no tensors"]
    head = ("from", "to", "tensors", "before", "after", "grade")
    body = [
        (
            short(total.source_encoding, 36),
            short(total.encoding, 48),
            str(total.tensors),
            size(total.before),
            size(total.after),
            total.grade.label,
        )
        for total in report.totals
    ]
    lines = table([head, *body], right=(2, 3, 4))
    grades = [total.grade for total in report.totals]
    return [lines[0], *(graded(line, g) for line, g in zip(lines[1:], grades, strict=True))]


def _row(row: TensorLoss) -> str:
    error = f", off by {row.max_error_steps:.3g} steps" if row.max_error_steps else ""
    reason = f": {row.reason}" if row.reason else ""
    return short(
        f"{row.name}: {row.source_encoding} → {row.encoding}, {row.grade.label}{error}{reason}", 140
    )


def _sizes(report: Report, seconds: float) -> str:
    sizes = f"{size(report.source_bytes)} → {size(sum(file.nbytes for file in report.files))}"
    if not report.audit:
        return f"{sizes}; dry run, nothing written"
    checked = {"sample": "a sample read back", "full": "all read back"}.get(
        report.audit, "not read back"
    )
    return f"{sizes}, {some(len(report.files), 'file')} in {seconds:.1f} s; {checked}"
