"""Bounds-checked bytes of a file that nobody vouches for.

Every read says what it is for; what is not there raises `FormatError` before anything is allocated.
Bytes are read with `pread`, never mapped: mapped pages would count as resident memory, and a file cut
while it is mapped kills the process.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.formats.spec import LFS_POINTER


class Source:
    """A file opened for reading. Threads may read at once.

    Attributes:
        path: the file as the user named it.
        size: its length in bytes when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self.size = os.fstat(self._handle).st_size
        except OSError as error:
            raise FormatError(Where(path=path), error.strerror or "can't be read") from error
        weakref.finalize(self, os.close, self._handle)

    def take(self, offset: int, count: int, what: str) -> bytes:
        """Exactly `count` bytes at `offset`.

        Raises:
            FormatError: they are not all there.
        """
        self.require(offset, count, what)
        data = os.pread(self._handle, count, offset)
        while len(data) < count:
            more = os.pread(self._handle, count - len(data), offset + len(data))
            if not more:
                raise self.error(offset, f"{what}: the file became shorter while it was read")
            data += more
        return data

    def read_into(self, offset: int, buffer: NDArray[np.uint8], what: str) -> None:
        """Fill a uint8 array from `offset`; as `take`."""
        self.require(offset, buffer.nbytes, what)
        view, done = buffer.data, 0
        while done < buffer.nbytes:
            count = os.preadv(self._handle, [view[done:]], offset + done)
            if not count:
                raise self.error(offset, f"{what}: the file became shorter while it was read")
            done += count

    def require(self, offset: int, count: int, what: str) -> None:
        """Raise `FormatError` unless `count` bytes at `offset` are inside the file."""
        if offset < 0 or count < 0 or offset + count > self.size:
            left = max(0, self.size - offset)
            raise self.error(
                max(offset, 0), f"{what}: expected {count} bytes, found {left}", self.cut_hint()
            )

    def error(
        self, offset: int | None, problem: str, hint: str = "", tensor: str = ""
    ) -> FormatError:
        """A `FormatError` at a place in this file."""
        return FormatError(
            Where(path=self.path, offset=offset, tensor=tensor or None), problem, hint
        )

    def cut_hint(self) -> str:
        """The likely cause of missing bytes, and what to do."""
        head = os.pread(self._handle, len(LFS_POINTER), 0)
        if head == LFS_POINTER:
            return "this is a git-lfs pointer: fetch the file itself with `git lfs pull`"
        return "probably a cut download: compare its size with the original and fetch it again"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FileRange:
    """Bytes of a source that were checked to be there; a `ByteRange` for `PackedStorage`.

    Attributes:
        source: the file.
        offset: bytes from the start of the file.
        nbytes: length.
        what: name of the tensor, for messages.
    """

    source: Source
    offset: int
    nbytes: int
    what: str

    def __post_init__(self) -> None:
        self.source.require(self.offset, self.nbytes, self.what)

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `offset` of the range, as a fresh uint8 array."""
        if offset < 0 or offset + count > self.nbytes:
            raise self.source.error(self.offset, f"{self.what}: read past the end of the tensor")
        buffer = np.empty(count, np.uint8)
        self.source.read_into(self.offset + offset, buffer, self.what)
        return buffer
