"""What a writer wants written: a plan of files, whose large parts are produced chunk by chunk.

An adapter's `lower` plans; it writes nothing. The core executes the plan (threads, progress, temporary
folder, fsync, rename), so that every format streams alike and none can leave half a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import Ignored, TensorLoss

Buffer = bytes | NDArray[np.generic]
Produce = Callable[[int, int], Iterable[tuple[int, Buffer]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A large part of a file, produced by rows in any order and on any thread.

    Attributes:
        name: of the tensor. All jobs of a tensor bear its name, and no other job does: when they are
            done, the tensor is written and can be read back.
        rows: how many rows there are.
        columns: weights in a row: decides how many rows make a chunk.
        produce: (start row, stop row) to (offset in the file, bytes) of what those rows become.
        nbytes: bytes of the source that it reads, for the progress bar.
    """

    name: str
    rows: int
    columns: int
    produce: Produce
    nbytes: int


def tensor_job(tensor: Tensor, produce: Produce) -> Job:
    """The job that writes a tensor, of which `produce` makes the bytes."""
    return Job(
        name=tensor.name,
        rows=tensor.rows,
        columns=tensor.columns,
        produce=produce,
        nbytes=tensor.nbytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """One file of the output.

    Attributes:
        name: relative to the output folder; `{stem}` stands for the chosen stem ("model").
        nbytes: its final length; regions that nothing writes are zero.
        head: small parts: (offset, bytes).
        jobs: large parts.
    """

    name: str
    nbytes: int
    head: tuple[tuple[int, bytes], ...] = ()
    jobs: tuple[Job, ...] = ()


class Held(Protocol):
    """How a tensor is held: all that reports and audits need of a decision."""

    @property
    def tensor(self) -> Tensor:
        """The tensor as it is written."""

    @property
    def loss(self) -> TensorLoss:
        """Its row of the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A further network that the files hold.

    Attributes:
        name: of the component.
        held: how each of its tensors is held.
        ignored: what of it has no place in this target.
    """

    name: str
    held: Mapping[str, Held]
    ignored: tuple[Ignored, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """All that a lowering writes.

    Attributes:
        files: the model's files, the first one is the file that a user opens.
        companions: small files written by a callback (tokenizer): each is given the folder and
            returns the names that it wrote.
        parts: further networks of the model that the files hold too.
        constants: what became of tensors of the source that are no tensors of the model.
        values: what became of each quantized activation of the source.
        ignored: what has no place in this target.
        conditions: what exactness depends on.
        summary: one sentence that says storage and computation apart.
        hints: (key, "applied" | "ignored" | "unsupported").
    """

    files: tuple[OutputFile, ...]
    companions: tuple[Callable[[Path], list[str]], ...] = ()
    parts: tuple[Part, ...] = ()
    constants: tuple[TensorLoss, ...] = ()
    values: tuple[TensorLoss, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    conditions: tuple[str, ...] = ()
    summary: str = ""
    hints: tuple[tuple[str, str], ...] = field(default=())

    @property
    def nbytes(self) -> int:
        """Bytes of the model's files."""
        return sum(file.nbytes for file in self.files)


def small_file(name: str, data: bytes) -> OutputFile:
    """A file that is all in memory."""
    return OutputFile(name=name, nbytes=len(data), head=((0, data),))
