"""What a file says besides its graph: description, metadata buffers, signatures, files behind it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from w2e_bridge.ir.model import MetadataValue, Remark
from w2e_tflite.container import Container
from w2e_tflite.sparsity import Pattern

DESCRIPTION = "tflite.description"
SIGNATURES = "tflite.signatures"
BUFFER = "tflite.metadata."
SPARSITY = "tflite.sparsity."
TAIL = "tflite.tail"
_BASE64 = "base64:"
_LARGEST = 1 << 24
"""Bytes of a metadata buffer or of the tail that are carried; they become text in other formats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A name under which a graph is called.

    Attributes:
        key: of the signature.
        inputs: public name to the value's.
        outputs: likewise.
    """

    key: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def text_of(data: bytes) -> str:
    """Bytes as text: as they are where they are plain text, else in base64."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    plain = text and text.isprintable() and not text.startswith(_BASE64)
    return text if plain else _BASE64 + base64.b64encode(data).decode("ascii")


def bytes_of(text: str) -> bytes:
    """The inverse of `text_of`."""
    if not text.startswith(_BASE64):
        return text.encode("utf-8")
    try:
        return base64.b64decode(text.removeprefix(_BASE64), validate=True)
    except binascii.Error:
        return b""


def said(
    container: Container, patterns: Mapping[str, Pattern]
) -> tuple[dict[str, MetadataValue], list[Remark]]:
    """The metadata of a file, and what of it is not carried."""
    found: dict[str, MetadataValue] = {}
    remarks: list[Remark] = []
    if container.model.text("description"):
        found[DESCRIPTION] = container.model.text("description")
    for name, data in _buffers(container):
        if len(data) > _LARGEST:
            remarks.append(Remark(name=name, reason=f"metadata of {len(data)} bytes"))
        else:
            found[name] = text_of(data)
    for name, pattern in patterns.items():
        found[SPARSITY + name] = pattern.text()
    tail = container.source.size - container.end
    if tail > _LARGEST:
        remarks.append(Remark(name=TAIL, reason=f"{tail} bytes behind the model"))
    elif (data := container.source.take(container.end, tail, "the tail")).strip(b"\0"):
        found[TAIL] = text_of(data)
    return found, remarks


def _buffers(container: Container) -> list[tuple[str, bytes]]:
    found: dict[str, bytes] = {}
    for record in container.model.records("metadata"):
        data = container.buffers.data(record.integer("buffer"), record.text("name"))
        held = b"" if data is None else data.read(0, data.nbytes).tobytes()
        name = unique = BUFFER + record.text("name")
        count = 1
        while unique in found and found[unique] != held:
            count += 1
            unique = f"{name}#{count}"
        found[unique] = held
    return list(found.items())


def signatures_text(signatures: Sequence[Signature]) -> str:
    """Signatures as JSON."""
    rows = [
        {"key": s.key, "inputs": dict(s.inputs), "outputs": dict(s.outputs)} for s in signatures
    ]
    return json.dumps(rows, separators=(",", ":"))


def signatures_of(text: MetadataValue | None) -> list[Signature]:
    """The inverse of `signatures_text`; none of text that says none."""
    try:
        rows = json.loads(str(text)) if text else []
        return [
            Signature(key=str(r["key"]), inputs=_names(r["inputs"]), outputs=_names(r["outputs"]))
            for r in rows
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _names(said: Mapping[str, str]) -> dict[str, str]:
    return {str(key): str(value) for key, value in said.items()}
