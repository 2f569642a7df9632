"""The pipeline writes the bytes that a naive writer would, and stops clean."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot
from numpy.typing import NDArray

from w2e_bridge.errors import DefectError, OutputError
from w2e_bridge.formats.output import Buffer, Job, Output, OutputFile, small_file
from w2e_bridge.ir.tensor import CHUNK_ELEMENTS
from w2e_bridge.stream.pipeline import write


def matrix_job(name: str, at: int, data: NDArray[np.uint8], nbytes: int = 1000) -> Job:
    """A job that copies the rows of a matrix to where they belong."""

    def produce(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
        for row in range(start, stop):
            yield at + row * data.shape[1], data[row]

    # so many columns that a chunk is three rows
    return Job(
        name=name, rows=len(data), columns=CHUNK_ELEMENTS // 3, produce=produce, nbytes=nbytes
    )


@st.composite
def plans(draw: st.DrawFn) -> tuple[Output, dict[str, bytes]]:
    """A plan of random parts with gaps, and the files that it means."""
    files, expected = [], {}
    for number in range(draw(st.integers(1, 3))):
        chance = np.random.default_rng(draw(st.integers(0, 2**32)))
        at, jobs, head, data = 0, [], [], bytearray()
        for part in range(draw(st.integers(0, 5))):
            at += draw(st.integers(0, 9))  # a gap stays zero
            rows, columns = draw(st.integers(0, 20)), draw(st.integers(1, 17))
            values = chance.integers(0, 256, (rows, columns), np.uint8)
            data.extend(bytes(at - len(data)) + values.tobytes())
            if draw(st.booleans()):
                jobs.append(matrix_job(f"t{part}", at, values))
            else:
                head.append((at, values.tobytes()))
            at += rows * columns
        data.extend(bytes(draw(st.integers(0, 5))))
        name = f"{{stem}}.{number}" if number % 2 else f"sub/{number}"
        files.append(OutputFile(name=name, nbytes=len(data), head=tuple(head), jobs=tuple(jobs)))
        expected[name.replace("{stem}", "x")] = bytes(data)
    return Output(files=tuple(files)), expected


@settings(derandomize=True, max_examples=40, deadline=None)
@given(plan=plans(), threads=st.integers(1, 4))
def test_writes_what_a_naive_writer_would(
    tmp_path_factory: pytest.TempPathFactory, plan: tuple[Output, dict[str, bytes]], threads: int
) -> None:
    folder = tmp_path_factory.mktemp("out")
    output, expected = plan
    seen: list[tuple[int, int]] = []
    write(
        output, folder, name=lambda n: n.replace("{stem}", "x"), threads=threads,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    found = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    assert found == expected
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    total = sum(job.nbytes for file in output.files for job in file.jobs if job.rows)
    assert not seen or seen[-1] == (total, total)


def test_narrow_and_strided_arrays_are_written_as_they_read(tmp_path: Path) -> None:
    half = np.arange(6).astype(ml_dtypes.bfloat16)
    strided = np.arange(20, dtype="<i2").reshape(4, 5).T
    parts: list[tuple[int, Buffer]] = [(0, half), (12, strided), (52, np.empty(0)), (52, b"end")]
    job = Job(name="t", rows=1, columns=1, produce=lambda a, b: parts, nbytes=1)
    write(Output(files=(OutputFile(name="x", nbytes=55, jobs=(job,)),)), tmp_path)
    assert (tmp_path / "x").read_bytes() == half.tobytes() + strided.tobytes() + b"end"


def test_memory_is_a_few_chunks(tmp_path: Path) -> None:
    """No more chunks exist at once than there are threads."""
    alive, most, lock = 0, 0, threading.Lock()

    def produce(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
        nonlocal alive, most
        with lock:
            alive, most = alive + 1, max(most, alive + 1)
        yield start, bytes(stop - start)
        with lock:
            alive -= 1

    job = Job(name="t", rows=200, columns=CHUNK_ELEMENTS, produce=produce, nbytes=200)
    write(Output(files=(OutputFile(name="x", nbytes=200, jobs=(job,)),)), tmp_path, threads=3)
    assert 1 <= most <= 3


def test_an_error_stops_the_other_threads(tmp_path: Path) -> None:
    rows: list[int] = []

    def produce(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
        rows.append(start)
        if start == 5:
            raise ZeroDivisionError
        yield start, b"x"

    job = Job(name="t", rows=10_000, columns=CHUNK_ELEMENTS, produce=produce, nbytes=1)
    with pytest.raises(ZeroDivisionError):
        write(
            Output(files=(OutputFile(name="x", nbytes=10_000, jobs=(job,)),)), tmp_path, threads=2
        )
    assert len(rows) < 1000


def test_an_interrupt_stops_all_threads(tmp_path: Path) -> None:
    rows: list[int] = []

    def produce(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
        rows.append(start)
        yield start, b"x"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    job = Job(name="t", rows=10_000, columns=CHUNK_ELEMENTS, produce=produce, nbytes=10_000)
    plan = Output(files=(OutputFile(name="x", nbytes=10_000, jobs=(job,)),))
    with pytest.raises(KeyboardInterrupt):
        write(plan, tmp_path, threads=2, progress=interrupt)
    assert len(rows) < 1000


@pytest.mark.parametrize("offset", [-1, 8])
def test_a_plan_can_not_write_outside_of_its_file(tmp_path: Path, offset: int) -> None:
    job = Job(name="t", rows=1, columns=1, produce=lambda a, b: [(offset, b"123")], nbytes=1)
    with pytest.raises(DefectError, match="t writes"):
        write(Output(files=(OutputFile(name="x", nbytes=10, jobs=(job,)),)), tmp_path)


def test_room_is_looked_for_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "x.tmp"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"the output needs 1125899\.91 GB, free are [\d.]+ GB"):
        write(Output(files=(OutputFile(name="x", nbytes=1 << 50),)), folder)
    assert not list(folder.iterdir())


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: memoryview, offset: int) -> int:
        if offset >= 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return min(len(data), 3)  # a short write before

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OutputError) as caught:
        write(Output(files=(small_file("x", b"0123456789"),)), tmp_path)
    assert str(caught.value) == snapshot("x can't be written: No space left on device")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File exists"):
        write(Output(files=(small_file("x", b"1"), small_file("x", b"2"))), tmp_path)
