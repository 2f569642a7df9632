"""Arrays beside an ONNX model: where external data may lie, checked before a byte of it is read.

What a hostile model does with `location`: absolute paths, `..`, symbolic and hard links out of the folder,
devices (CVE-2022-25882, CVE-2024-27318, CVE-2026-27489, CVE-2026-34446), lengths and offsets past the end.
All are refused. A file that isn't there is no damage of the model: it is only missed when it is read.

Format: onnx/onnx docs/docsource/technical/ExternalData.md.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.formats.source import FileRange, Source
from w2e_bridge.ir.tensor import ByteRange

_KNOWN = ("location", "offset", "length")
_DIGITS = 19  # more than any file has bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where an initializer's data lies.

    Attributes:
        location: file, relative to the model's folder, with forward slashes.
        offset: bytes from its start; None = 0.
        length: bytes; None = what type and shape need.
    """

    location: str
    offset: int | None = None
    length: int | None = None

    @property
    def entries(self) -> dict[str, str]:
        """As `external_data` of a TensorProto says it."""
        values = {"location": self.location, "offset": self.offset, "length": self.length}
        return {key: str(value) for key, value in values.items() if value is not None}


def placement(entries: Iterable[tuple[str, str]], where: Where) -> Placement:
    """What the (key, value) pairs of a tensor say; other keys (checksum, …) are left alone.

    Raises:
        FormatError: a key is missing, repeated or no number.
    """
    found: dict[str, str] = {}
    for key, value in entries:
        if key in _KNOWN and key in found:
            raise FormatError(where, f"external data says '{key}' twice")
        found[key] = value
    if not found.get("location"):
        raise FormatError(where, "external data without a location")
    numbers = {key: _number(found.get(key), key, where) for key in ("offset", "length")}
    return Placement(location=found["location"], **numbers)


def _number(text: str | None, key: str, where: Where) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise FormatError(
            where, f"external data's {key}: expected a number of bytes, found {text[:40]!r}"
        )
    return int(text)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MissingRange:
    """Bytes of a file that isn't there: known by type and shape, an error only when they are read.

    Attributes:
        path: of the missing file.
        tensor: whose bytes they are.
    """

    path: Path
    tensor: str

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """Raises `FormatError`."""
        raise FormatError(
            Where(path=self.path, tensor=self.tensor),
            f"the external data file is missing, wanted {count} bytes",
            "it belongs beside the model: fetch it as well",
        )


@dataclass(slots=True, kw_only=True)
class ExternalFiles:
    """The files of external data that a model names, each opened once.

    Attributes:
        model: path of the model.
        missing: locations that are not there.
    """

    model: Path
    missing: list[str] = field(default_factory=list)
    _open: dict[str, Source | None] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all files that were opened."""
        return sum(source.size for source in self._open.values() if source is not None)

    def find(self, place: Placement, nbytes: int, tensor: str) -> ByteRange:
        """The bytes of a tensor.

        Args:
            place: where the model says they are.
            nbytes: how many its type and shape need.
            tensor: its name.

        Raises:
            FormatError: the place is not allowed, not in the file, or not of that length.
        """
        where = Where(path=self.model, tensor=tensor)
        if place.length is not None and place.length != nbytes:
            raise FormatError(
                where, f"expected {nbytes} bytes of external data, found a length of {place.length}"
            )
        source = self._source(place.location, where)
        if source is None:
            return MissingRange(path=self.model.parent / place.location, tensor=tensor)
        return FileRange(source=source, offset=place.offset or 0, nbytes=nbytes, what=f"'{tensor}'")

    def _source(self, location: str, where: Where) -> Source | None:
        if location not in self._open:
            path = _checked(self.model.parent, location, where)
            if path is None:
                self.missing.append(location)
            self._open[location] = None if path is None else Source(path)
        return self._open[location]


def _checked(folder: Path, location: str, where: Where) -> Path | None:
    """The path of a location inside the folder; None if nothing is there."""
    _relative(location, where)
    path = folder
    parts = PurePosixPath(location).parts
    for index, part in enumerate(parts):
        path /= part
        mode = _mode(path, location, where)
        if mode is None:
            return None
        last = index == len(parts) - 1
        if last != stat.S_ISREG(mode):
            kind = "file" if last else "folder"
            raise FormatError(where, f"external data '{location}': '{part}' is no {kind}")
    return path


def _relative(location: str, where: Where) -> None:
    windows = PureWindowsPath(location)  # splits at both kinds of slashes, knows drives
    absolute = location.startswith("/") or windows.drive or windows.root
    if absolute or ".." in windows.parts or "\0" in location or not PurePosixPath(location).parts:
        problem = f"external data at {location[:100]!r}: expected a path inside the model's folder"
        raise FormatError(where, problem, "the model may be hostile")


def _mode(path: Path, location: str, where: Where) -> int | None:
    """Type of what a path is; refuses links and whatever else can lead out of the folder."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise FormatError(where, f"external data '{location}': {error.strerror}") from error
    kind = stat.S_IFMT(found.st_mode)
    linked = kind == stat.S_IFREG and found.st_nlink > 1
    if linked or kind not in (stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if linked or kind == stat.S_IFLNK else "no file"
        hint = "copy the file itself beside the model (`cp -L`)" if what == "a link" else ""
        raise FormatError(
            where, f"external data '{location}' is {what}, which could lead anywhere", hint
        )
    return found.st_mode
