"""ONNX Runtime's calibration table for its TensorRT provider: a flatbuffer of name and largest magnitude.

Schema: microsoft/onnxruntime onnxruntime/core/providers/cuda/… `ort_trt_int8_cal_table.fbs`: table TrtTable
{ dict: [KeyValue] }, table KeyValue { key: string; value: string }; the value is a decimal number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from w2e_bridge.formats.output import Output
from w2e_bridge.formats.source import Source
from w2e_bridge.formats.spec import OptionValue, Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.decision import Decisions
from w2e_tensorrt.ranges import MOST_BYTES, amax_of, model_of, output, ranges_of, scale_of


class _Buffer:
    """A flatbuffer whose every offset is checked."""

    def __init__(self, path: Path) -> None:
        self.source = Source(path)
        if self.source.size > MOST_BYTES:
            raise self.source.error(None, "too large for a calibration table")
        self.data = self.source.take(0, self.source.size, "table")

    def number(self, offset: int, form: str, what: str) -> int:
        """A number at an offset."""
        self.source.require(offset, struct.calcsize(form), what)
        return int(struct.unpack_from(form, self.data, offset)[0])

    def follow(self, offset: int, what: str) -> int:
        """Where an offset points to."""
        return offset + self.number(offset, "<I", what)

    def field(self, table: int, slot: int, what: str) -> int | None:
        """Where a field of a table lies, None where it is absent."""
        vtable = table - self.number(table, "<i", what)
        size = self.number(vtable, "<H", what)
        if 4 + 2 * slot + 2 > size:
            return None
        offset = self.number(vtable + 4 + 2 * slot, "<H", what)
        return table + offset if offset else None

    def text(self, table: int, slot: int, what: str) -> str:
        """A string field."""
        place = self.field(table, slot, what)
        if place is None:
            return ""
        start = self.follow(place, what)
        count = self.number(start, "<I", what)
        self.source.require(start + 4, count, what)
        try:
            return self.data[start + 4 : start + 4 + count].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.source.error(start, f"{what}: no text") from error

    def entries(self) -> Iterator[tuple[int, str, str]]:
        """Offset, key and value of every entry."""
        root = self.follow(0, "root")
        place = self.field(root, 0, "table")
        if place is None:
            return
        start = self.follow(place, "entries")
        count = self.number(start, "<I", "entries")
        self.source.require(start + 4, 4 * count, "entries")
        for index in range(count):
            table = self.follow(start + 4 + 4 * index, "entry")
            yield table, self.text(table, 0, "key"), self.text(table, 1, "value")


def read(path: Path) -> dict[str, np.float32]:
    """Scales by name, in the file's order.

    Raises:
        FormatError: damaged, or another flatbuffer.
    """
    buffer = _Buffer(path)
    scales: dict[str, np.float32] = {}
    for offset, key, value in buffer.entries():
        try:
            scales[key] = scale_of(float(value))
        except ValueError as error:
            problem = f"'{key}': expected a number, found '{value[:40]}'"
            raise buffer.source.error(offset, problem) from error
    return scales


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """A calibration table as a model that holds nothing else.

    Args:
        path: the file.
        options: none.
    """
    del options
    return model_of(path, "calibration_table", read(path))


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan the table of a model's activations."""
    import flatbuffers

    del decisions, request
    found = ranges_of(model)
    builder = flatbuffers.Builder(1024)
    entries = []
    for name, scale in found.scales.items():
        key, value = builder.CreateString(name), builder.CreateString(repr(amax_of(scale)))
        builder.StartObject(2)
        builder.PrependUOffsetTRelativeSlot(0, key, 0)
        builder.PrependUOffsetTRelativeSlot(1, value, 0)
        entries.append(builder.EndObject())
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        builder.PrependUOffsetTRelative(entry)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.Finish(builder.EndObject())
    return output("{stem}.flatbuffers", bytes(builder.Output()), found)
