"""The header of a safetensors file: read without trust, written canonically.

Format: huggingface/safetensors README.md ("Format") and safetensors/src/tensor.rs: eight bytes with the
length of the header, the header as JSON, then the data; offsets count from the start of the data, cover
all of it, and neither overlap nor leave holes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from w2e_bridge.errors import FormatError
from w2e_bridge.formats.source import Source
from w2e_bridge.protocol import jcs

METADATA = "__metadata__"
LENGTH = 8
LONGEST = 100_000_000
PAGE = 4096
"""The data of a canonical file begins at a multiple of this, so that it can be mapped."""

BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Bits of an element by its type."""

_LIMIT = 1 << 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An array of a file.

    Attributes:
        dtype: element type, a key of `BITS`.
        shape: extents.
        offset: bytes from the start of the file (or, while a file is planned, of the data).
        nbytes: length.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a file says of itself.

    Attributes:
        entries: its arrays by name.
        metadata: its texts by key.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(source: Source) -> Header:
    """Read and check a header.

    Raises:
        FormatError: it is damaged, cut or hostile; the file is no safetensors.
    """
    length = int.from_bytes(source.take(0, LENGTH, "the header's length"), "little")
    if not 2 <= length <= LONGEST:
        problem = f"expected a header of 2 to {LONGEST} bytes, found {length}"
        raise source.error(0, f"no safetensors: {problem}", source.cut_hint())
    text = source.take(LENGTH, length, "the header")
    try:
        document = jcs.loads(text)
    except ValueError as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise source.error(LENGTH, f"no safetensors: the header is no JSON: {reason}") from error
    if not isinstance(document, dict):
        raise source.error(LENGTH, "no safetensors: the header is no JSON object")
    metadata = document.pop(METADATA, {})
    if not _is_texts(metadata):
        raise source.error(LENGTH, f"{METADATA}: expected texts")
    data = LENGTH + length
    entries = {name: _entry(source, data, name, value) for name, value in document.items()}
    _check_cover(source, data, entries)
    return Header(entries=entries, metadata=metadata)


def _is_texts(metadata: object) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _entry(source: Source, data: int, name: str, value: object) -> Entry:
    def error(problem: str) -> FormatError:
        return source.error(LENGTH, problem, tensor=name)

    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise error("expected dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise error(f"unknown element type {str(dtype)[:40]!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise error("expected a shape and two offsets")
    start, stop = offsets
    bits = math.prod(shape) * BITS[dtype]
    if bits >= _LIMIT or bits % 8 or stop - start != bits // 8:
        raise error(f"shape {shape[:8]} of {dtype} does not have {stop - start} bytes")
    return Entry(dtype=dtype, shape=tuple(shape), offset=data + start, nbytes=stop - start)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < _LIMIT for n in value)


def _check_cover(source: Source, data: int, entries: Mapping[str, Entry]) -> None:
    """Arrays follow one another from the start of the data to the end of the file."""
    at = data
    for name, entry in sorted(entries.items(), key=lambda e: (e[1].offset, e[1].nbytes)):
        if entry.offset != at:
            what = "a hole before it" if entry.offset > at else "an overlap"
            raise source.error(
                entry.offset, f"arrays must follow one another, found {what}", tensor=name
            )
        at += entry.nbytes
    if at != source.size:
        what = f"expected {at} bytes in the file, found {source.size}"
        raise source.error(
            min(at, source.size), what, source.cut_hint() if at > source.size else ""
        )


def header_bytes(metadata: Mapping[str, str], entries: Iterable[tuple[str, Entry]]) -> bytes:
    """A header with its length, padded so that the data begins at a page.

    Args:
        metadata: texts by key.
        entries: (name, array) in the file's order, offsets from the start of the data.
    """
    texts = ",".join(f"{jcs.dumps(key)}:{jcs.dumps(value)}" for key, value in metadata.items())
    arrays = "".join(
        f",{jcs.dumps(name)}:"
        + jcs.dumps(
            {
                "dtype": entry.dtype,
                "shape": entry.shape,
                "data_offsets": [entry.offset, entry.offset + entry.nbytes],
            }
        )
        for name, entry in entries
    )
    text = f'{{"{METADATA}":{{{texts}}}{arrays}}}'.encode()
    size = -(-(LENGTH + len(text)) // PAGE) * PAGE - LENGTH
    return size.to_bytes(LENGTH, "little") + text.ljust(size)
