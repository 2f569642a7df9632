"""JSON files, written piece by piece: a vocabulary's text is never in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from w2e_bridge.tokenizers.layout import Json

_BATCH = 8192  # entries
_Entry = TypeVar("_Entry")


def write_compact(path: Path, value: Json) -> None:
    """Write without spaces; the bytes depend on the value alone."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(_pieces(value))
        file.write("\n")


def text(value: Json) -> str:
    """A small file as a whole, with lines for people."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _pieces(value: object) -> Iterator[str]:
    if isinstance(value, dict) and len(value) < _BATCH:
        comma = "{"
        for key, entry in value.items():
            yield f"{comma}{_compact(key)}:"
            yield from _pieces(entry)
            comma = ","
        yield "}" if value else "{}"
    elif isinstance(value, dict):
        yield from _batches("{", (_compact(dict(part)) for part in _parts(value.items())), "}")
    elif isinstance(value, list):
        yield from _batches("[", (_compact(part) for part in _parts(value)), "]")
    else:
        yield _compact(value)


def _batches(opening: str, batches: Iterable[str], closing: str) -> Iterator[str]:
    comma = opening
    for batch in batches:
        yield comma + batch[1:-1]
        comma = ","
    yield closing if comma == "," else opening + closing


def _parts(values: Iterable[_Entry]) -> Iterator[list[_Entry]]:
    iterator = iter(values)
    while part := list(islice(iterator, _BATCH)):
        yield part
