"""Engines of TensorRT: known by their first bytes, and refused, since nothing in them can be read.

Header: NVIDIA/TensorRT samples/common/sampleEngines.cpp (`printPlanVersion`): the mark "ftrt", a version of the
serialization, and at 24 the release, a byte for each number. Engines of TensorRT-RTX begin with "vtrt", and have their
size at 16 (measured with release 1.7). Ultralytics puts a length and JSON before the engine
(ultralytics/utils/export/engine.py).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.source import Source
from w2e_bridge.formats.spec import OptionValue
from w2e_tensorrt.hints.text import parsed

MARKS: Mapping[bytes, str] = {b"ftrt": "TensorRT", b"vtrt": "TensorRT-RTX"}
HEADER, RELEASE, SIZE = 28, 24, 16
MOST_METADATA = 1 << 20
"""Bytes of JSON before an engine; Ultralytics' have a few thousand, names of classes most of it."""

REASON = (
    "weights, scales and graph are in it in a form that no documentation describes, made for one "
    "device; convert what it was built from"
)


def inspect(path: Path) -> Mapping[str, object]:
    """What the header says.

    Raises:
        FormatError: no engine.
    """
    source = Source(path)
    start, metadata = _prefix(source)
    mark = source.take(start, 4, "mark") if start + 4 <= source.size else b""
    if mark not in MARKS:
        raise source.error(
            start, f"expected an engine, which begins with 'ftrt' or 'vtrt', found {mark!r}"
        )
    head = source.take(start, HEADER, "header of the engine")
    (serialization,) = struct.unpack_from("<I", head, 4)
    release = ".".join(map(str, head[RELEASE:HEADER])) if serialization == 0 else "unknown"
    found: dict[str, object] = {
        "runtime": MARKS[mark],
        "version": release,
        "serialization": serialization,
        "engine_nbytes": source.size - start,
    }
    if mark == b"vtrt":
        found |= _whole(struct.unpack_from("<Q", head, SIZE)[0], source.size - start)
    return found | ({"ultralytics": dict(metadata)} if metadata is not None else {})


def _whole(declared: int, there: int) -> dict[str, object]:
    """Whether an engine of TensorRT-RTX is as long as it says."""
    return {} if declared == there else {"damage": f"says it has {declared} bytes"}


def _prefix(source: Source) -> tuple[int, Mapping[str, object] | None]:
    """Where the engine begins, and the JSON before it."""
    head = source.take(0, min(5, source.size), "mark")
    if len(head) < 5 or head[:4] in MARKS or head[4:5] != b"{":
        return 0, None
    (count,) = struct.unpack_from("<i", head)
    if not 0 < count <= MOST_METADATA:
        raise source.error(0, f"expected JSON of up to {MOST_METADATA} bytes, found {count}")
    data = source.take(4, count, "metadata of the engine")
    try:
        return 4 + count, parsed(source.path, data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise source.error(4 + error.start, "no text (UTF-8 expected)") from error


def lift(path: Path, options: Mapping[str, OptionValue]) -> NoReturn:
    """Say what engine it is, and why it is no use.

    Raises:
        UnsupportedError: always, of an engine.
        FormatError: it is none.
    """
    del options
    found = inspect(path)
    if "damage" in found:
        raise Source(path).error(None, f"an engine that {found['damage']}", "probably a cut file")
    maker = " with Ultralytics' metadata" if "ultralytics" in found else ""
    raise UnsupportedError(
        f"{path}: an engine of {found['runtime']} {found['version']}{maker}: {REASON}"
    )
