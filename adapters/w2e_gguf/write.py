"""The canonical model to one GGUF file of version 3: header first, tensors in execution order.

The alignment is 32 whatever the source had: ggml-org/llama.cpp's `llama-quantize`
(`src/llama-quant.cpp`) pads by that constant and makes files of any other alignment unreadable.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.output import Buffer, Job, Output, OutputFile, tensor_job
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import Ignored
from w2e_bridge.negotiation.decision import Decision, Decisions
from w2e_gguf.architecture import ARCHITECTURE
from w2e_gguf.blocks.table import TYPES, GgmlType
from w2e_gguf.container import ALIGNMENT, DEFAULT_ALIGNMENT, MAGIC
from w2e_gguf.metadata import KeyValue, key_values
from w2e_gguf.read import TYPE
from w2e_gguf.values import ARRAY, BY_NAME, LENGTH, STRING

_VERSION = 3
_MOST_AXES = 4
_LONGEST_NAME = 63
"""Bytes; llama.cpp refuses more (`GGML_MAX_NAME`)."""

_HEAD, _U32, _ARRAY_HEAD, _PLACE = (
    struct.Struct(f"<{code}") for code in ("4sIQQ", "I", "IQ", "IQ")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A tensor and where it will be.

    Attributes:
        tensor: in the encoding of its type.
        type: of the file.
        offset: from the start of the data.
    """

    tensor: Tensor
    type: GgmlType
    offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.tensor.columns // self.type.elements * self.type.bytes

    @property
    def end(self) -> int:
        """Where its data ends."""
        return self.offset + self.tensor.rows * self.row_bytes


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan the file.

    Args:
        model: read from a GGUF, at once or by way of the canonical file.
        decisions: a ggml type for each tensor.
        request: nothing of it matters but the name of the file.

    Raises:
        UnsupportedError: the model has no GGUF metadata, or a tensor can't be said in GGUF.
    """
    if ARCHITECTURE not in model.metadata and TYPE not in model.metadata:
        raise UnsupportedError(
            f"{_source(model)}: has no GGUF metadata ('{ARCHITECTURE}'), without which "
            "llama.cpp can't read a file: only models that came from GGUF can become GGUF"
        )
    keys, ignored = _keys(model)
    entries = tuple(_entries(decisions.values()))
    header = _header(keys, entries)
    jobs = tuple(_job(entry, len(header)) for entry in entries)
    end = _padded(entries[-1].end) if entries else 0
    file = OutputFile(name="{stem}.gguf", nbytes=len(header) + end, head=((0, header),), jobs=jobs)
    return Output(
        files=(file,),
        ignored=ignored,
        summary="weights in ggml's blocks; keys and tokenizer of the source",
    )


def _source(model: Model) -> str:
    return model.origin.path if model.origin else "the model"


def _keys(model: Model) -> tuple[list[KeyValue], tuple[Ignored, ...]]:
    """The keys of the file, and what of the model has no place among them."""
    keys = key_values(model.metadata)
    ignored = []
    for index, item in enumerate(keys):
        if item.key == ALIGNMENT and item.data != DEFAULT_ALIGNMENT:
            keys[index] = replace(item, type=BY_NAME["uint32"], array=False, data=DEFAULT_ALIGNMENT)
            reason = (
                f"written as {DEFAULT_ALIGNMENT}: llama.cpp's quantizer breaks files of another"
            )
            ignored.append(Ignored(name=ALIGNMENT, reason=reason))
    quantized = [Ignored(name=name, reason="GGUF has no activations") for name in model.activations]
    return keys, (*ignored, *quantized)


def _entries(decisions: Iterable[Decision]) -> Iterator[_Entry]:
    offset = 0
    for decision in decisions:
        entry = _Entry(tensor=decision.tensor, type=_type(decision), offset=offset)
        yield entry
        offset = _padded(entry.end)


_BY_LAYOUT = {f"ggml.{row.name.lower()}": row for row in TYPES.values()}


def _type(decision: Decision) -> GgmlType:
    tensor, row = decision.tensor, _BY_LAYOUT[decision.form.layout or ""]
    problem = None
    if tensor.columns % row.elements:
        problem = f"rows of {tensor.columns} weights are no whole blocks of {row.name}"
    elif len(tensor.shape) > _MOST_AXES:
        problem = f"it has {len(tensor.shape)} axes, GGUF at most {_MOST_AXES}"
    elif not 0 < len(tensor.name.encode("utf-8", "replace")) <= _LONGEST_NAME:
        problem = f"its name is not 1 to {_LONGEST_NAME} bytes long"
    elif not tensor.elements:
        problem = "it is empty"
    if problem is not None:
        raise UnsupportedError(f"'{tensor.name}' can't be written as GGUF: {problem}")
    return row


def _padded(offset: int) -> int:
    return -(-offset // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _header(keys: list[KeyValue], entries: tuple[_Entry, ...]) -> bytes:
    data = bytearray(_HEAD.pack(MAGIC, _VERSION, len(entries), len(keys)))
    for item in keys:
        data += _string(item.key.encode("utf-8"))
        data += _value(item)
    for entry in entries:
        shape = entry.tensor.shape[::-1]
        data += _string(entry.tensor.name.encode("utf-8"))
        data += struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        data += _PLACE.pack(entry.type.id, entry.offset)
    return bytes(data.ljust(_padded(len(data)), b"\0"))


def _string(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def _value(item: KeyValue) -> bytes:
    data = item.data
    if not item.array:
        packed = _string(data) if isinstance(data, bytes) else item.type.struct.pack(data)
        return _U32.pack(item.type.id) + packed
    assert isinstance(data, list)
    head = _U32.pack(ARRAY.id) + _ARRAY_HEAD.pack(item.type.id, len(data))
    if item.type is STRING:
        return head + b"".join(_string(one) for one in data if isinstance(one, bytes))
    return head + np.array(data, item.type.dtype).tobytes()


def _job(entry: _Entry, start: int) -> Job:
    tensor, size = entry.tensor, entry.row_bytes
    take = _copied(tensor, entry.type) or _packed(tensor, entry.type)

    def produce(first: int, last: int) -> Iterator[tuple[int, Buffer]]:
        yield start + entry.offset + first * size, take(first, last)

    return tensor_job(tensor, produce)


_Take = Callable[[int, int], NDArray[np.uint8]]


def _copied(tensor: Tensor, row: GgmlType) -> _Take | None:
    """The stored bytes, where they are in the layout already."""
    layout = tensor.storage.layout
    return tensor.storage.raw if layout is not None and layout.name == row.layout.name else None


def _packed(tensor: Tensor, row: GgmlType) -> _Take:
    pack = row.layout.pack
    if pack is None:
        raise UnsupportedError(f"'{tensor.name}' can't be written as {row.name}: it is only read")

    def take(first: int, last: int) -> NDArray[np.uint8]:
        return pack(tensor.storage.parts(first, last))

    return take
