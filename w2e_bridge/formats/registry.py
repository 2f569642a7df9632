"""The formats that are installed: found by entry points, ours through the same door as anybody's."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from w2e_bridge.errors import FormatError, MissingDependencyError, UsageError, Where
from w2e_bridge.formats.spec import LFS_POINTER, Format

GROUP = "w2e_bridge.formats"
_HEAD = 4096


def formats() -> Mapping[str, Format]:
    """All installed formats by name, sorted.

    Raises:
        UsageError: two packages claim one name, or an entry point is no `Format`.
    """
    return _installed()[0]


def broken() -> Mapping[str, str]:
    """Entry points that can't be loaded, with the reason: one broken package stops no other."""
    return _installed()[1]


@cache
def _installed() -> tuple[Mapping[str, Format], Mapping[str, str]]:
    found: dict[str, Format] = {}
    failed: dict[str, str] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            record = point.load()
        except (ImportError, AttributeError) as error:
            failed[point.name] = f"{point.value} does not load: {error}"
            continue
        if not isinstance(record, Format):
            raise UsageError(f"entry point '{point.name}' of {GROUP} is no Format record")
        if found.setdefault(record.name, record) is not record:
            raise UsageError(f"two installed packages claim the format '{record.name}'")
    return MappingProxyType(found), MappingProxyType(failed)


def named(name: str) -> Format:
    """The format of that name, or `UsageError` with the ones there are."""
    if name in formats():
        return formats()[name]
    if name in broken():
        raise MissingDependencyError(f"the format '{name}' is installed, but {broken()[name]}")
    import difflib

    close = difflib.get_close_matches(name, formats(), 1)
    guess = f"; did you mean '{close[0]}'?" if close else ""
    raise UsageError(f"no format '{name}'{guess} (installed: {', '.join(formats())})")


def sniff(path: Path) -> Format:
    """The format of a file or folder: by content first, then by name.

    Raises:
        FormatError: it is missing, empty, or no installed format knows it.
    """
    head = _head(path)
    if head is None:
        return _sniff_folder(path)
    for spec in formats().values():
        if any(head[at : at + len(magic)] == magic for at, magic in spec.magic):
            return spec
    if not head:
        raise FormatError(Where(path=path), "the file is empty", "probably a cut download")
    if head.startswith(LFS_POINTER):
        hint = "fetch the file itself with `git lfs pull`"
        raise FormatError(
            Where(path=path, offset=0), "this is a git-lfs pointer, not a model", hint
        )
    rows = [(len(s), f) for f in formats().values() for s in f.suffixes if path.name.endswith(s)]
    if rows:
        return max(rows, key=lambda row: row[0])[1]  # "build.json" says more than ".json"
    known = ", ".join(sorted({s for spec in formats().values() for s in spec.suffixes}))
    failed = "".join(f"; '{name}' is installed, but {why}" for name, why in broken().items())
    raise FormatError(
        Where(path=path, offset=0), f"no format begins with {head[:8]!r}", f"known: {known}{failed}"
    )


def _head(path: Path) -> bytes | None:
    """How the file begins; None of a folder."""
    try:
        if path.is_dir():
            return None
        if path.exists() and not path.is_file():  # a pipe would block, a device never end
            raise FormatError(Where(path=path), "neither a file nor a folder")
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise FormatError(Where(path=path), error.strerror or "can't be read") from error
    except ValueError as error:  # a NUL in the name
        raise FormatError(Where(path=path), str(error)) from error


def _sniff_folder(path: Path) -> Format:
    for spec in formats().values():
        if spec.accepts is not None and load(spec, spec.accepts)(path):
            return spec
    raise FormatError(Where(path=path), "a folder that no installed format knows")


def load(spec: Format, target: str) -> Callable[..., Any]:
    """Import "module:function" of a format.

    Raises:
        MissingDependencyError: a module that it needs is not installed; says how to install it.
    """
    module, _, name = target.partition(":")
    try:
        function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        how = dict(spec.requires).get(error.name or "")
        if how is None:
            raise
        raise MissingDependencyError(
            f"{spec.name} needs the module '{error.name}', which is not installed: {how}"
        ) from error
    return function
