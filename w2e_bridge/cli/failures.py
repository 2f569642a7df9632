"""Failures as people and programs see them: one line, a kind, an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import click

from w2e_bridge.errors import (
    BridgeError,
    DefectError,
    FormatError,
    LossError,
    MissingDependencyError,
    OutputError,
    UnsupportedError,
    UsageError,
)

KINDS: dict[type[BridgeError], str] = {
    UsageError: "usage",
    FormatError: "format",
    UnsupportedError: "unsupported",
    LossError: "loss",
    MissingDependencyError: "dependency",
    OutputError: "output",
    DefectError: "defect",
}
"""Error types to the word in `--json`; anything else is "internal"."""


def kind(error: BridgeError) -> str:
    """The word for it in `--json`."""
    return next((word for cls, word in KINDS.items() if isinstance(error, cls)), "internal")


def place(error: Exception | None) -> dict[str, object]:
    """File, offset and tensor, where the error knows them."""
    if not isinstance(error, FormatError):
        return {}
    where = error.where
    return {"file": str(where.path), "offset": where.offset, "tensor": where.tensor}


def describe(error: BridgeError) -> str:
    """The line; no name in a hostile file can break it or control the terminal."""
    return one_line(str(error))


def one_line(text: str) -> str:
    """Text as one printable line."""
    joined = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)


def as_error(error: Exception) -> BridgeError:
    """Any exception as an error of this project."""
    match error:
        case BridgeError():
            return error
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "w2e-bridge"
            return UsageError(f"{error.format_message().rstrip('.')} (see {command} --help)")
        case click.ClickException():
            return UsageError(error.format_message())
        case MemoryError():
            return BridgeError("not enough memory")
        case _:
            return BridgeError(f"internal error {_spot(error)}: please report it")


def _spot(error: Exception) -> str:
    text, trace = f"{type(error).__name__}: {error}"[:200], error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return text
    return f"{text} ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})"


@contextmanager
def about(path: str | PathLike[str]) -> Iterator[None]:
    """Errors that escape name this input."""
    try:
        yield
    except click.ClickException:
        raise
    except BrokenPipeError:
        raise
    except Exception as error:
        failure = as_error(error)
        if Path(path).name not in str(failure) and not isinstance(failure, UsageError):
            failure.args = (f"{path}: {failure}",)
        if failure is error:
            raise
        raise failure from error
