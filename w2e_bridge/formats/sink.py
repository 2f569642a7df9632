"""Where output goes: a temporary sibling that becomes the output whole, by rename, or vanishes.

Two forms. A folder: everything in it appears with one rename. A file: its companions are renamed
first and the file itself last, so that whoever sees it sees all of it.
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

REPORT = "w2e-report.json"
"""The fidelity report in a folder of output, by which it is known to be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the output will be.

    Attributes:
        folder: the folder that holds the files.
        stem: stem of the file names in it.
        whole: whether the folder itself appears (and is replaced) as a whole, rather than files in
            it.
        report: name of the fidelity report.
        force: replace what is there.
    """

    folder: Path
    stem: str
    whole: bool
    report: str = REPORT
    force: bool = False

    def name(self, template: str) -> str:
        """A file name with `{stem}` filled in."""
        return template.replace("{stem}", self.stem)

    def check(self, names: list[str], source: Path | None = None) -> None:
        """Refuse to replace what must stay.

        Args:
            names: the files of the output.
            source: the input, which is never replaced, not even with `force`.

        Raises:
            UsageError: output exists and `force` is not set; or `force` would remove the input, or
                a folder that no conversion wrote.
        """
        there = [self.folder] if self.whole else [self.folder / name for name in names]
        for path in there:
            if not path.is_symlink() and not path.exists():
                continue
            if source is not None and _contains(path, source):
                what = "is" if path.samefile(source) else "holds"
                raise UsageError(f"{path} {what} the input {source}; choose another place with -o")
            if not self.force:
                raise UsageError(f"{path} exists already; --force replaces it")
            if self.whole != path.is_dir() or (self.whole and not (path / self.report).is_file()):
                raise UsageError(f"{path} is no output of a conversion; --force does not remove it")


def destination(
    out: Path | None, source: Path, target: str, suffixes: tuple[str, ...], *, force: bool
) -> Destination:
    """Where `-o out` puts the output of a format with these suffixes.

    Without `out`: the folder `./STEM-TARGET`. Ending in a suffix: that file, companions beside it
    under its stem. Anything else: a folder with `model.<suffix>`.
    """
    if out is None:
        stem = source.stem if source.is_file() else source.resolve().name
        return Destination(folder=Path(f"{stem}-{target}"), stem="model", whole=True, force=force)
    out = out if out.name not in ("", "..") else out.resolve()
    suffix = next((s for s in suffixes if out.name.endswith(s) and out.name != s), None)
    if suffix is None or out.is_dir():
        whole = not _empty_folder(out)  # an empty one may be somebody's working directory: fill it
        return Destination(folder=out, stem="model", whole=whole, force=force)
    stem = out.name[: -len(suffix)]
    report = f"{stem}.{REPORT}"
    return Destination(folder=out.parent, stem=stem, whole=False, report=report, force=force)


@contextmanager
def staging(to: Destination) -> Iterator[Path]:
    """A temporary folder beside the destination; on success its files become the output.

    On any exception, an interrupt included, it is removed and nothing was changed.
    """
    parent = to.folder.parent if to.whole else to.folder
    made = _make_parents(parent)
    scratch = Path(
        tempfile.mkdtemp(prefix=f".{to.folder.name or 'out'}.", suffix=".tmp", dir=parent)
    )
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
        _replace_folder(scratch, to.folder)
        _sync_folder(to.folder.parent)
        return
    # The file that a user opens, `STEM.suffix`, comes last: it is never there without the others.
    entries = sorted(
        scratch.iterdir(), key=lambda p: (p.name.startswith(f"{to.stem}."), -len(p.name), p.name)
    )
    new = [to.folder / e.name for e in entries if not (to.folder / e.name).exists()]
    try:
        for entry in entries:
            entry.replace(to.folder / entry.name)
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise
    scratch.rmdir()
    _sync_folder(to.folder)


def _replace_folder(scratch: Path, folder: Path) -> None:
    if not folder.exists():
        scratch.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=".old.", dir=folder.parent))
    try:
        folder.rename(aside / "it")
        scratch.rename(folder)
    except BaseException:
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            (aside / "it").rename(folder)
            _remove_if_empty(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and next(path.iterdir(), None) is None


def _contains(path: Path, source: Path) -> bool:
    if not path.exists() or not source.exists():
        return False
    return path.samefile(source) or path.resolve() in source.resolve().parents


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
