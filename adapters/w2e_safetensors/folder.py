"""Folders that hold safetensors: one canonical file, or a checkpoint."""

from __future__ import annotations

from pathlib import Path

from w2e_bridge.errors import UnsupportedError

USUAL = "model.w2e.safetensors"
"""The file that is meant where there are several."""


def accepts(path: Path) -> bool:
    """Whether a folder holds safetensors; no of a folder that can't be looked into."""
    try:
        return any(entry.name.endswith(".safetensors") for entry in path.iterdir())
    except OSError:
        return False


def model_file(path: Path) -> Path:
    """The canonical file: the path itself, or the one in a folder.

    Raises:
        UnsupportedError: a folder without one.
    """
    if not path.is_dir():
        return path
    if (path / USUAL).is_file():
        return path / USUAL
    there = path.iterdir() if accepts(path) else ()
    found = [entry for entry in there if entry.name.endswith(".w2e.safetensors")]
    if len(found) != 1:
        raise UnsupportedError(
            f"{path}: checkpoints are not supported yet, only canonical files ({USUAL})"
        )
    return found[0]
