"""Tokenizers written plainly from the definition of their algorithms: the judge of the library's JSON.

llama.cpp does the same with queues (`src/llama-vocab.cpp`, `src/unicode.cpp`); each step here looks at
everything again and takes the best.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

MARK = "\N{LOWER ONE EIGHTH BLOCK}"


def merge_best(symbols: list[str], rank: Callable[[str, str], float | None]) -> list[str]:
    """Merge the neighbours of the lowest rank, the leftmost among equals, until none has one."""
    while True:
        ranks = [rank(left, right) for left, right in pairwise(symbols)]
        best = min((value for value in ranks if value is not None), default=None)
        if best is None:
            return symbols
        place = ranks.index(best)
        symbols[place : place + 2] = [symbols[place] + symbols[place + 1]]


def spm_ids(
    text: str, tokens: Sequence[str], scores: Sequence[float], *, prefix: bool
) -> list[int]:
    """Merging by score; what is no token becomes its bytes."""
    ids = {token: index for index, token in enumerate(tokens)}
    if not text:
        return []
    symbols = list((" " + text if prefix else text).replace(" ", MARK))

    def rank(left: str, right: str) -> float | None:
        index = ids.get(left + right)
        return None if index is None else -scores[index]

    merged = merge_best(symbols, rank)
    found: list[int] = []
    for symbol in merged:
        if symbol in ids:
            found.append(ids[symbol])
        else:
            found += [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]
    return found


def byte_alphabet() -> dict[int, str]:
    """GPT-2's printable character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {
        byte: chr(256 + index) for index, byte in enumerate(others)
    }


def bpe_ids(words: Sequence[str], tokens: Sequence[str], merges: Sequence[str]) -> list[int]:
    """Merging by rank, word by word, on bytes."""
    ids = {token: index for index, token in enumerate(tokens)}
    ranks = {merge: float(index) for index, merge in enumerate(merges)}
    alphabet = byte_alphabet()
    found: list[int] = []
    for word in words:
        symbols = [alphabet[byte] for byte in word.encode()]
        merged = merge_best(symbols, lambda left, right: ranks.get(f"{left} {right}"))
        found += [ids[symbol] for symbol in merged]
    return found


def wordpiece_ids(words: Sequence[str], tokens: Sequence[str], unknown: int) -> list[int]:
    """The longest token that fits, word by word; a word that does not work out is unknown."""
    ids = {token: index for index, token in enumerate(tokens)}
    found: list[int] = []
    for word in words:
        rest, pieces = MARK + word, list[int]()
        while rest:
            length = next((n for n in range(len(rest), 0, -1) if rest[:n] in ids), 0)
            if not length:
                pieces = [unknown]
                break
            pieces.append(ids[rest[:length]])
            rest = rest[length:]
        found += pieces
    return found


def bert_words(text: str) -> list[str]:
    """Lower case without accents; punctuation and Chinese characters stand alone."""
    words = [""]
    for char in unicodedata.normalize("NFD", text):
        category = unicodedata.category(char)
        if char.isspace() and char not in "\x1c\x1d\x1e\x1f":
            words.append("")
        elif category[0] == "M" or category[0] == "C" or char == "\ufffd":
            continue
        elif category[0] == "P" or (char.isascii() and category[0] == "S") or _is_chinese(char):
            words += [char.lower(), ""]
        else:
            words[-1] += char.lower()
    return [word for word in words if word]


def _is_chinese(char: str) -> bool:
    return 0x4E00 <= ord(char) <= 0x9FFF or 0x3400 <= ord(char) <= 0x4DBF


def unigram_ids(
    text: str, scores: Mapping[str, float], ids: Mapping[str, int], unk: int
) -> list[int]:
    """The likeliest way to put a text together; neighbouring unknown characters are one token."""
    words = text.split(" ")
    folded = "".join(MARK + word for word in words if word)
    penalty = min(scores.values()) - 10.0
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    for end in range(1, len(folded) + 1):
        ways = [
            (best[start][0] + scores[folded[start:end]], [*best[start][1], ids[folded[start:end]]])
            for start in range(end)
            if folded[start:end] in scores
        ]
        if folded[end - 1] not in scores:
            ways.append((best[end - 1][0] + penalty, [*best[end - 1][1], unk]))
        best.append(max(ways, key=lambda way: way[0]))
    path = best[-1][1]
    return [
        token for place, token in enumerate(path) if not (place and token == unk == path[place - 1])
    ]


_CODES = {"N": "\xd1", "L": "\xd2", "P": "\xd3", "M": "\xd4", "S": "\xd5"}
_ASCII = {"N": "0-9", "L": "A-Za-z", "P": r"!-#%-*,-/:-;?-@\[-\]_\{\}", "M": "", "S": r"$+<=>^`|~"}


def split(text: str, expressions: Sequence[str]) -> list[str]:
    """Cut a text by expressions, one after the other, as `unicode_regex_split` does.

    Where an expression speaks of Unicode categories, every character beyond ASCII is written as a code
    for its category first, in the text and in the expression.
    """
    pieces = [text]
    for expression in expressions:
        collapse = re.search(r"\\p\{", expression) is not None
        pattern = re.compile(_collapsed_pattern(expression) if collapse else expression, re.ASCII)
        view = _collapsed if collapse else _spaces_apart
        pieces = [part for piece in pieces for part in _cut(piece, view(piece), pattern)]
    return pieces


def _cut(piece: str, seen: str, pattern: re.Pattern[str]) -> list[str]:
    ends = sorted(
        {place for match in pattern.finditer(seen) for place in match.span()} | {len(piece)}
    )
    starts = [0, *ends]
    return [piece[start:end] for start, end in zip(starts, ends, strict=False) if start < end]


def _spaces_apart(text: str) -> str:
    return "".join("\x0b" if not char.isascii() and char.isspace() else char for char in text)


def _collapsed(text: str) -> str:
    def code(char: str) -> str:
        if char.isascii():
            return char
        return "\x0b" if char.isspace() else _CODES.get(unicodedata.category(char)[0], "\xd0")

    return "".join(map(code, text))


def _collapsed_pattern(expression: str) -> str:
    parts = re.split(r"(\\.|\[|\])", expression)
    inside, found, skip = False, "", ""
    for part in parts:
        if part == r"\p":
            skip = part
        elif skip:
            category, rest = re.match(r"\{(\w)\w?\}(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
            letters = _CODES[category] + _ASCII[category]
            found += (letters if inside else f"[{letters}]") + rest
            skip = ""
        else:
            inside = (inside or part == "[") and part != "]"
            found += part
    return found
