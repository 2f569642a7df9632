"""Executes a plan of files: threads produce chunks of rows and write them where they belong.

Each thread holds one chunk, so that memory is bounded by the threads whatever the model's size.
Where a chunk goes is part of the plan, so that the bytes do not depend on which thread was faster.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2e_bridge.errors import DefectError, OutputError
from w2e_bridge.formats.output import Buffer, Job, Output, OutputFile
from w2e_bridge.ir.tensor import CHUNK_ELEMENTS
from w2e_bridge.stream.flush import flushing

Written = Callable[[str], None]
"""Called with the name of a tensor that is written, after the last chunk was made; from any thread, several at once."""

Progress = Callable[[int, int], None]
"""Called with bytes of the source done, and bytes in all; from any thread, one call at a time."""

_SPARE = 16 << 20  # bytes left free for companions and the report


def write(
    output: Output,
    folder: Path,
    *,
    name: Callable[[str], str] = str,
    threads: int | None = None,
    progress: Progress | None = None,
    written: Written | None = None,
) -> None:
    """Write the files of a plan into a folder.

    Args:
        output: the plan.
        folder: where to; removing what is there after an error is the caller's business
            (`staging`).
        name: fills in the name of a file.
        threads: how many chunks are made at once; None = up to four, as there are processors.
        progress: see `Progress`.
        written: see `Written`; what it raises ends the writing.

    Raises:
        OutputError: there is no room, or the system refuses a write.
        DefectError: the plan writes outside of a file.
    """
    require_space(folder, output.nbytes)
    with ExitStack() as stack:
        files = [_create(folder / name(file.name), file, stack) for file in output.files]
        for file in files:
            for offset, data in file.plan.head:
                file.write(offset, data, "the head")
        with flushing([file.handle for file in files]):
            queue = _Queue(files, progress, written)
            _run(queue, threads or min(4, os.cpu_count() or 1))


def require_space(folder: Path, nbytes: int) -> None:
    """Raise `OutputError` unless a folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if nbytes + _SPARE > free:
        raise OutputError(
            f"{folder.parent}: the output needs {nbytes / 1e9:.2f} GB, free are {free / 1e9:.2f} GB"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file opened for writing at its final length."""

    path: Path
    handle: int
    plan: OutputFile

    def write(self, offset: int, data: Buffer, what: str) -> None:
        """All of `data` at `offset`."""
        view = _bytes(data)
        if offset < 0 or offset + len(view) > self.plan.nbytes:
            raise DefectError(
                f"internal defect, please report: {what} writes [{offset}, {offset + len(view)}) "
                f"of {self.plan.name}, which has {self.plan.nbytes} bytes"
            )
        try:
            while view:
                done = os.pwrite(self.handle, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            raise OutputError(f"{self.path.name} can't be written: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """Rows [start, stop) of a job."""

    file: _File
    job: Job
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        """Its share of the job's bytes; the shares of a job add up exactly."""
        total, rows = self.job.nbytes, max(1, self.job.rows)
        return total * self.stop // rows - total * self.start // rows

    def run(self) -> None:
        """Produce the rows and write them."""
        for offset, data in self.job.produce(self.start, self.stop):
            self.file.write(offset, data, self.job.name)


class _Queue:
    """The tasks that are left, handed out in order until there are none or it is called off."""

    def __init__(
        self, files: list[_File], progress: Progress | None, written: Written | None
    ) -> None:
        self._lock = threading.Lock()
        self._tasks = _tasks(files)
        self._written = written
        self._left = Counter(task.job.name for task in _tasks(files))
        self._progress = progress
        self._total = sum(j.nbytes for file in files for j in file.plan.jobs if j.rows)
        self._done = 0
        self._off = False
        self._whole: deque[str] = deque()

    def work(self) -> None:
        """What a thread does: chunks first, and then, while the disk takes the last of them, what follows."""
        try:
            while (task := self._next()) is not None:
                task.run()
                self._finish(task)
            while (name := self._next_whole()) is not None:
                assert self._written is not None
                self._written(name)
        except BaseException:
            self.call_off()
            raise

    def call_off(self) -> None:
        """No further task is handed out."""
        self._off = True

    def _next(self) -> _Task | None:
        with self._lock:
            return None if self._off else next(self._tasks, None)

    def _finish(self, task: _Task) -> None:
        name = task.job.name
        with self._lock:
            self._done += task.nbytes
            self._left[name] -= 1
            if not self._left[name] and self._written is not None:
                self._whole.append(name)
            if self._progress is not None:
                self._progress(self._done, self._total)

    def _next_whole(self) -> str | None:
        with self._lock:
            return self._whole.popleft() if self._whole and not self._off else None


def _tasks(files: list[_File]) -> Iterator[_Task]:
    for file in files:
        for job in file.plan.jobs:
            step = max(1, CHUNK_ELEMENTS // max(1, job.columns))
            for start in range(0, job.rows, step):
                yield _Task(file=file, job=job, start=start, stop=min(start + step, job.rows))


def _run(queue: _Queue, threads: int) -> None:
    with ThreadPoolExecutor(threads, thread_name_prefix="w2e-write") as pool:
        try:
            workers = [pool.submit(queue.work) for _ in range(threads)]
            wait(workers, return_when=FIRST_EXCEPTION)
        except BaseException:  # an interrupt: leaving the pool waits for the chunks under way
            queue.call_off()
            raise
    for worker in workers:
        worker.result()


def _create(path: Path, plan: OutputFile, stack: ExitStack) -> _File:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        stack.callback(os.close, handle)
        os.ftruncate(handle, plan.nbytes)
    except OSError as error:
        raise OutputError(f"{path.name} can't be written: {error.strerror}") from error
    return _File(path=path, handle=handle, plan=plan)


def _bytes(data: Buffer) -> memoryview:
    if isinstance(data, bytes):
        return memoryview(data)
    # ml_dtypes' types have no buffer of their own; their bytes have one
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
