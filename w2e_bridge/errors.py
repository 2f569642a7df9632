"""Every error that leaves this project is one of these, and prints as one line.

The exit code of the command line is a property of the type, so that no caller has to guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import ClassVar


class BridgeError(Exception):
    """Base of all errors; `str()` of it is one line without a newline."""

    exit_code: ClassVar[int] = 2


class UsageError(BridgeError):
    """The caller asked for something that does not exist or does not fit together."""


class MissingDependencyError(BridgeError):
    """An optional module is not installed; the message is the exact way to install it."""

    exit_code = 3


class UnsupportedError(BridgeError):
    """A valid input that can't be said in the target, or an operator or architecture not known."""


class LossError(BridgeError):
    """The conversion would lose more than the caller accepts; nothing was written."""

    exit_code = 1


class OutputError(BridgeError):
    """The output can't be written: no space, no permission. Nothing of it is left."""


class DefectError(BridgeError):
    """A promise of this project was broken, found by its own checks. Nothing was kept."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The place a bad input went wrong.

    Attributes:
        path: the file.
        offset: bytes from the start of the file, where that is known.
        tensor: the tensor or key that was being read.
    """

    path: str | PathLike[str]
    offset: int | None = None
    tensor: str | None = None

    def __str__(self) -> str:
        parts = [str(self.path)]
        if self.offset is not None:
            parts.append(f"@0x{self.offset:x}")
        if self.tensor is not None:
            parts.append(f"'{self.tensor}'")
        return " ".join(parts)


class FormatError(BridgeError):
    """A file that is not what it claims to be: damaged, cut, or another format.

    Prints as `model.gguf @0x1f40 'blk.3.ffn_up.weight': expected …, found … (likely cause; next step)`.

    Attributes:
        where: file, offset and tensor.
        problem: what was expected and what was found.
        hint: likely cause and next step, or "".
    """

    def __init__(self, where: Where, problem: str, hint: str = "") -> None:
        self.where, self.problem, self.hint = where, problem, hint
        line = f"{where}: {problem}" + (f" ({hint})" if hint else "")
        super().__init__(" ".join(line.split()))
