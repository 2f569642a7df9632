"""The parts of a `tokenizer.json` that depend on a vocabulary's kind, and pieces that they share.

Field names and meanings: huggingface/tokenizers `tokenizers/src/{normalizers,pre_tokenizers,models,
decoders}`; the JSON is what that library writes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from w2e_bridge.tokenizers.vocabulary import SPACE_MARK

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Four of the parts; each is the library's own JSON, or None where the step is left out."""

    normalizer: Json | None
    pre_tokenizer: Json | None
    model: Json
    decoder: Json


def sequence(kind: str, steps: Iterable[Json]) -> Json | None:
    """Several steps as one; `kind` is the name of the list: "normalizers", "pretokenizers", "decoders"."""
    found = list(steps)
    if len(found) < 2:
        return found[0] if found else None
    return {"type": "Sequence", kind: found}


def replace(pattern: str, content: str) -> Json:
    """A step that writes one string for another."""
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def substitute(regex: str, content: str) -> Json:
    """A step that writes a string for every match of an expression."""
    return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def split(regex: str, behavior: str = "Isolated") -> Json:
    """A step that cuts text at the matches of an expression; the matches stay, as pieces of their own."""
    pattern = {"Regex": regex}
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


def mark_spaces(*, prefix: bool) -> Json | None:
    """Spaces become marks, and every text that starts afresh gets one in front."""
    prepend: list[Json] = [{"type": "Prepend", "prepend": SPACE_MARK}] if prefix else []
    return sequence("normalizers", [*prepend, replace(" ", SPACE_MARK)])


def unmark_spaces(*, prefix: bool) -> Json:
    """Marks become spaces, byte tokens bytes, and the space in front goes away again."""
    steps: list[Json] = [replace(SPACE_MARK, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def bpe_model(
    tokens: Sequence[str],
    merges: Callable[[], Iterable[tuple[str, str]]],
    *,
    unk: str | None = None,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> Json:
    """A model that merges pairs by rank."""
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": byte_fallback,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": {text: index for index, text in enumerate(tokens)},
        "merges": _spell(merges),
    }


_EATEN = ("#", "#version")
"""How a line must not start: the first one, and any other."""


def _spell(merges: Callable[[], Iterable[tuple[str, str]]]) -> list[object]:
    """Merges as lines, or as pairs (tokenizers 0.20 and later) where a line would be ambiguous.

    Lines take half the time to read. A part may hold a space; the library drops lines that start like a
    file's version, and onnxruntime-extensions carriage returns, and it never ends over a first line
    with a "#".
    """
    lines: list[object] = []
    doubtful = False
    for left, right in merges():
        line = f"{left} {right}"
        doubtful |= line.count(" ") > 1 or "\r" in line or line.startswith(_EATEN[bool(lines)])
        lines.append(line)
    return [list(pair) for pair in merges()] if doubtful else lines
