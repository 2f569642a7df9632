"""Text and JSON that nobody vouches for, and the model that holds what such a file says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.formats.source import Source
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import MetadataValue, Model, Origin, Remark
from w2e_bridge.ir.records import Hints

MOST_BYTES = 1 << 24
"""No file of hints is larger; the inspector's listing of a large engine has a few MiB."""

MOST_ROWS = 1 << 17
"""Rows of a list in a document, layers of an engine among them."""

DEEPEST = 32
"""Levels of a document."""

KIND = "hints"
"""Of a model that holds nothing to run."""


def text_of(path: Path) -> str:
    """A whole text file, its size checked first.

    Raises:
        FormatError: too large, or no text.
    """
    if path.exists() and not path.is_file():  # a pipe would block, a folder has no bytes
        raise FormatError(Where(path=path), "no file")
    source = Source(path)
    if source.size > MOST_BYTES:
        raise source.error(None, f"{source.size} bytes are too many for a file of hints")
    data = source.take(0, source.size, "text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise source.error(error.start, "no text (UTF-8 expected)") from error
    if "\0" in text:
        raise source.error(data.index(b"\0"), "no text: a zero byte")
    return text


def parsed(path: Path, text: str) -> dict[str, object]:
    """A JSON object.

    Raises:
        FormatError: no JSON, no object, or one of too many levels.
    """
    try:
        document = json.loads(text, parse_constant=_refused)
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno}: no JSON: {error.msg}"
        raise FormatError(Where(path=path), problem, "probably a cut file") from error
    except RecursionError as error:
        raise FormatError(Where(path=path), "JSON of too many levels") from error
    except ValueError as error:
        raise FormatError(Where(path=path), f"no JSON: {error}") from error
    if not isinstance(document, dict):
        raise FormatError(Where(path=path), "expected a JSON object")
    if not _shallow(document):
        raise FormatError(Where(path=path), f"JSON of more than {DEEPEST} levels")
    return document


def _refused(word: str) -> object:
    raise ValueError(f"'{word}' is no number")


def _shallow(document: object) -> bool:
    level = [document]
    for _ in range(DEEPEST):
        level = [item for value in level for item in _inside(value)]
        if not level:
            return True
    return False


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A JSON file whose fields are read by type.

    Attributes:
        path: for messages.
        values: of the object.
        place: of the object in the file, for messages: "Layers[3]".
    """

    path: Path
    values: Mapping[str, object]
    place: str = ""

    def error(self, key: str, problem: str) -> FormatError:
        """An error at a field."""
        where = f"{self.place}.{key}" if self.place and key else self.place or key
        return FormatError(Where(path=self.path, tensor=where or None), problem)

    def text(self, key: str, default: str | None = None) -> str:
        """A field that is text."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, f"expected text, found {_kind(value)}")
        return value

    def mapping(self, key: str) -> Document:
        """A field that is an object; empty where it is absent."""
        value = self.values.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.error(key, f"expected an object, found {_kind(value)}")
        return Document(path=self.path, values=value, place=f"{self.place}.{key}".lstrip("."))

    def rows(self, key: str) -> list[object]:
        """A field that is a list; empty where it is absent."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(key, f"expected a list, found {_kind(value)}")
        if len(value) > MOST_ROWS:
            raise self.error(key, f"{len(value)} rows are more than any engine has")
        return value

    def objects(self, key: str) -> list[Document]:
        """A field that is a list of objects."""
        found = []
        for number, row in enumerate(self.rows(key)):
            place = f"{self.place}.{key}[{number}]".lstrip(".")
            if not isinstance(row, dict):
                raise FormatError(
                    Where(path=self.path, tensor=place), f"expected an object, found {_kind(row)}"
                )
            found.append(Document(path=self.path, values=row, place=place))
        return found

    def names(self, key: str) -> list[str]:
        """A field that is a list of texts."""
        rows = self.rows(key)
        for row in rows:
            if not isinstance(row, str):
                raise self.error(key, f"expected a list of names, found {_kind(row)} in it")
        return [str(row) for row in rows]


def _kind(value: object) -> str:
    words = {dict: "an object", list: "a list", str: "text", bool: "a truth value"}
    return "nothing" if value is None else words.get(type(value), f"the number {str(value)[:30]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a file says.

    Attributes:
        form: name of the format.
        hints: key to value.
        activations: quantization of values.
        metadata: what else is worth showing.
        remarks: what can't be carried.
    """

    form: str
    hints: Mapping[str, object] = field(default_factory=dict)
    activations: Mapping[str, ActivationQuantization] = field(default_factory=dict)
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()


def model_of(path: Path, said: Said) -> Model:
    """A model that holds nothing but hints."""
    return Model(
        tensors={},
        hints=Hints(values=said.hints),
        activations=said.activations,
        metadata=said.metadata,
        remarks=said.remarks,
        kind=KIND,
        origin=Origin(format=said.form, path=str(path), nbytes=path.stat().st_size),
    )
