"""Where output goes: a temporary sibling that becomes the output whole, by rename, or vanishes.

Two forms. A folder: everything in it appears with one rename. A file: its companions are renamed first
and the file itself last, so that whoever sees it sees all of it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from w2e_bridge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the output will be.

    Attributes:
        folder: the folder that holds the files.
        stem: stem of the file names in it.
        whole: whether the folder itself is the output (and is replaced as a whole).
        force: replace what is there.
    """

    folder: Path
    stem: str
    whole: bool
    force: bool = False

    def name(self, template: str) -> str:
        """A file name with `{stem}` filled in."""
        return template.replace("{stem}", self.stem)

    def check(self, names: list[str]) -> None:
        """Raise `UsageError` where output exists and `force` is not set."""
        if self.force:
            return
        there = [self.folder] if self.whole else [self.folder / name for name in names]
        for path in there:
            if path.exists() or path.is_symlink():
                raise UsageError(f"{path} exists already; --force replaces it")


def destination(
    out: Path | None, source: Path, target: str, suffixes: tuple[str, ...], *, force: bool
) -> Destination:
    """Where `-o out` puts the output of a format with these suffixes.

    Without `out`: the folder `./STEM-TARGET`. Ending in a suffix: that file, companions beside it under
    its stem. Anything else: a folder with `model.<suffix>`.
    """
    if out is None:
        name = source.name
        stem = name[: name.index(".")] if source.is_file() and "." in name[1:] else name
        stem = source.stem if source.is_file() else stem
        return Destination(folder=Path(f"{stem}-{target}"), stem="model", whole=True, force=force)
    suffix = next((s for s in suffixes if out.name.endswith(s) and out.name != s), None)
    if suffix is None or out.is_dir():
        return Destination(folder=out, stem="model", whole=True, force=force)
    stem = out.name[: -len(suffix)]
    return Destination(folder=out.parent, stem=stem, whole=False, force=force)


@contextmanager
def staging(to: Destination) -> Iterator[Path]:
    """A temporary folder beside the destination; on success its files become the output.

    On any exception, an interrupt included, it is removed and nothing was changed.
    """
    parent = to.folder.parent if to.whole else to.folder
    made = _make_parents(parent)
    scratch = Path(tempfile.mkdtemp(prefix=f".{to.folder.name or 'out'}.", suffix=".tmp", dir=parent))
    try:
        scratch.chmod(0o777 & ~_umask())
        yield scratch
        _sync(scratch)
        _publish(scratch, to)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:
            _remove_if_empty(folder)
        raise


def _publish(scratch: Path, to: Destination) -> None:
    if to.whole:
        old = None
        if to.folder.exists() or to.folder.is_symlink():
            old = Path(tempfile.mkdtemp(prefix=".old.", dir=to.folder.parent))
            to.folder.replace(old / "it")
        scratch.rename(to.folder)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
        _sync_folder(to.folder.parent)
        return
    # Companions first, so that the file that a user opens is never there without them.
    entries = sorted(scratch.iterdir(), key=lambda p: p.name.startswith(f"{to.stem}."))
    for entry in entries:
        entry.replace(to.folder / entry.name)
    scratch.rmdir()
    _sync_folder(to.folder)


def _sync(folder: Path) -> None:
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_parents(folder: Path) -> list[Path]:
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return


def _umask() -> int:
    value = os.umask(0)
    os.umask(value)
    return value
