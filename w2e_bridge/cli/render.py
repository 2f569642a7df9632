"""Numbers, tables and lists as people read them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from w2e_bridge.cli.failures import one_line
from w2e_bridge.loss import Grade

_COLORS = {Grade.EXACT: "32", Grade.ROUNDING: "33", Grade.REQUANTIZED: "33", Grade.FLOAT: "31"}


def size(nbytes: float) -> str:
    """Bytes in binary units, three digits or so."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < 1024:
            return (
                f"{nbytes:.0f} {unit}" if unit == "B" or nbytes >= 100 else f"{nbytes:.1f} {unit}"
            )
        nbytes /= 1024
    return f"{nbytes:.1f} TiB"


def count(number: int) -> str:
    """A number of weights: 7.24 B, 3.1 M, 512."""
    for limit, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return str(number)


def some(number: int, word: str) -> str:
    """A counted noun: 1 file, 2 files."""
    return f"{number} {word}{'s' if number != 1 else ''}"


def short(text: object, width: int) -> str:
    """One printable line of at most `width` characters."""
    line = one_line(str(text))
    return line if len(line) <= width else line[: width - 1] + "…"


def table(rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of aligned columns, the first row being the head; `right` names right-aligned ones."""
    cells = [list(row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]  # fmt: skip


def listed(title: str, items: Sequence[str], most: int) -> list[str]:
    """A titled list, cut after `most`."""
    if not items:
        return []
    shown = [f"  {item}" for item in items[:most]]
    more = [f"  … and {len(items) - most} more"] if len(items) > most else []
    return [title, *shown, *more]


def graded(line: str, grade: Grade) -> str:
    """A line that ends in a grade's word, that word in colour where colours are wanted."""
    if not colored() or not line.endswith(grade.label):
        return line
    return f"{line.removesuffix(grade.label)}\x1b[{_COLORS[grade]}m{grade.label}\x1b[0m"


def colored() -> bool:
    """Whether standard output is a terminal that wants colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def show(lines: Iterable[str]) -> None:
    """Print lines on standard output, characters that it can't say replaced."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.encode(encoding, "backslashreplace").decode(encoding))
