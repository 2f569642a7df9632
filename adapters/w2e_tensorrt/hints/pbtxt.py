"""Protocol buffers as text, without a schema: enough for the configurations of inference servers.

Grammar: protobuf.dev/reference/protobuf/textformat-spec: `name: value`, `name { … }`, `name: [ …, … ]`, strings in
either quotes, which stand side by side as one, `#` comments. Extensions and `Any` are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from w2e_bridge.errors import FormatError
from w2e_tensorrt.ranges import Line

DEEPEST = 32
MOST_TOKENS = 1 << 20


class Message(dict[str, list[object]]):
    """Field to all of its values, in order: text, a number, a word (`Word`) or a message.

    Attributes:
        lines: field to the line where it stands first.
    """

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class Word(str):
    """A value without quotes: a name of an enumeration, "true"."""

    __slots__ = ()


_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f\v]+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[fF]?(?![A-Za-z_]))
      | (?P<name>-?[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>[{}\[\]<>:,;])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CLOSES = {"{": "}", "<": ">"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A piece of the text.

    Attributes:
        kind: "string", "number", "name", "sign" or "end".
        text: as it stands in the file.
        line: its number.
    """

    kind: str
    text: str
    line: int


def parsed(path: Path, text: str) -> Message:
    """The message that a text is.

    Raises:
        FormatError: not of this grammar; says the line.
    """
    return _Parser(path=path, tokens=list(_tokens(path, text))).message("", 0)


def _tokens(path: Path, text: str) -> Iterator[Token]:
    position, line = 0, 1
    for count in range(MOST_TOKENS):
        found = _TOKEN.match(text, position) if position < len(text) else None
        if found is None:
            if position < len(text):
                raise Line(path=path, number=line).error(
                    f"no text of a message: {text[position]!r}"
                )
            yield Token(kind="end", text="the end of the file", line=line)
            return
        kind = str(found.lastgroup)
        if kind != "space":
            yield Token(kind=kind, text=found[0], line=line)
        line += found[0].count("\n")
        position = found.end()
        del count
    raise Line(path=path, number=line).error("too long for a configuration")


@dataclass(slots=True, kw_only=True)
class _Parser:
    path: Path
    tokens: list[Token]
    place: int = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.place]

    def take(self) -> Token:
        token = self.next
        self.place += token.kind != "end"
        return token

    def accepts(self, signs: str) -> bool:
        found = self.next.kind == "sign" and self.next.text in signs
        self.place += found
        return found

    def error(self, expected: str) -> FormatError:
        found = self.next
        return Line(path=self.path, number=found.line).error(
            f"expected {expected}, found {found.text[:40]!r}"
        )

    def message(self, closing: str, depth: int) -> Message:
        """Fields up to a bracket, or to the end."""
        if depth > DEEPEST:
            raise self.error(f"no more than {DEEPEST} levels")
        fields = Message()
        while True:
            if closing and self.accepts(closing):
                return fields
            if not closing and self.next.kind == "end":
                return fields
            if self.next.kind != "name":
                raise self.error("a field" + (f" or '{closing}'" if closing else ""))
            name, line = self.next.text, self.take().line
            fields.lines.setdefault(name, line)
            values = fields.setdefault(name, [])
            colon = self.accepts(":")
            values += self.values(colon=colon, depth=depth)
            self.accepts(",;")

    def values(self, *, colon: bool, depth: int) -> list[object]:
        """The value of a field, or the values of a list."""
        if not self.accepts("["):
            return [self.value(colon=colon, depth=depth)]
        found: list[object] = []
        while not self.accepts("]"):
            found.append(self.value(colon=True, depth=depth))
            if not self.accepts(",") and self.next.text != "]":
                raise self.error("',' or ']'")
        return found

    def value(self, *, colon: bool, depth: int) -> object:
        """One value; only a message needs no colon."""
        token = self.next
        if token.kind == "sign" and token.text in _CLOSES:
            self.take()
            return self.message(_CLOSES[token.text], depth + 1)
        if not colon or token.kind in ("sign", "end"):
            raise self.error("a value" if colon else "':' or a message")
        self.take()
        if token.kind == "string":
            parts = [_unescaped(token.text)]
            while self.next.kind == "string":
                parts.append(_unescaped(self.take().text))
            return "".join(parts)
        return _number(token.text) if token.kind == "number" else Word(token.text)


def _number(text: str) -> int | float:
    plain = text.lower()
    if "x" in plain:
        return int(plain, 16) if len(plain) < 40 else float("inf")
    plain = plain.removesuffix("f")
    return int(plain) if re.fullmatch(r"[-+]?\d{1,40}", plain) else float(plain)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(_character, text[1:-1])


def _character(found: re.Match[str]) -> str:
    octal, digits, letter = found.groups()
    if octal or digits:
        return chr(int(octal, 8) & 0xFF if octal else int(digits, 16))
    return _ESCAPES.get(letter, letter)
