"""Folders that hold one ONNX model, as tools for language models write them."""

from __future__ import annotations

from pathlib import Path

from w2e_bridge.errors import FormatError, Where

USUAL = "model.onnx"
"""The file that is meant where there are several."""


def accepts(path: Path) -> bool:
    """Whether a folder holds an ONNX model; no of a folder that can't be looked into."""
    try:
        return _model_in(path) is not None
    except OSError:
        return False


def model_file(path: Path) -> Path:
    """The model's file: the path itself, or the one in a folder.

    Raises:
        FormatError: none in the folder, or several.
    """
    if not path.is_dir():
        return path
    found = _model_in(path) if accepts(path) else None
    if found is None:
        problem = f"expected one .onnx file or '{USUAL}'"
        raise FormatError(Where(path=path), problem, "name the file itself")
    return found


def _model_in(folder: Path) -> Path | None:
    usual = folder / USUAL
    if usual.is_file():
        return usual
    found = [entry for entry in folder.iterdir() if entry.suffix == ".onnx" and entry.is_file()]
    return found[0] if len(found) == 1 else None
