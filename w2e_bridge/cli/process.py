"""Settings of a process that does one conversion and ends. Not for a library to decide, hence here."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
_KEPT = 64 << 20
_OBJECTS = 100_000
_SWITCH_SECONDS = 0.0002


def prepare() -> None:
    """Make the process one for much data and a short life; before numpy is imported."""
    # Numpy's BLAS starts a thread for each processor, which wait by spinning; nothing here multiplies.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Graphs are a hundred thousand objects that stay: looking through them again and again finds nothing.
    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)  # nor at the end
    # A thread that comes back from numpy waits for the interpreter until another lets go of it, which one in
    # the midst of small steps does after 5 ms: as long as a chunk takes.
    sys.setswitchinterval(_SWITCH_SECONDS)
    _keep_freed()


def _keep_freed() -> None:
    """Let freed memory stay with the process, up to 64 MiB, instead of going back and forth.

    Repacking 0.6 GB of Q4_K on one thread took 2.6 s and 302,000 page faults without this, 0.95 s and a
    thousand with it. Only glibc has the setting; elsewhere nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, _KEPT)
    mallopt(_TRIM_THRESHOLD, _KEPT)
