"""A TensorFlow Lite file: its tables, its buffers, and what stands behind them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from w2e_bridge.errors import FormatError
from w2e_bridge.formats.source import Source
from w2e_tflite import flatbuffer
from w2e_tflite.constants import Buffers
from w2e_tflite.record import Record
from w2e_tflite.schema import VERSION, enums, operator_name

CUSTOM = "custom:"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Container:
    """An opened file.

    Attributes:
        source: the file.
        model: its root table.
        buffers: where constants are.
        end: of the flatbuffer; what stands behind it is the tail.
    """

    source: Source
    model: Record
    buffers: Buffers
    end: int

    @property
    def subgraphs(self) -> tuple[Record, ...]:
        """All subgraphs; the first is the model's own."""
        return tuple(self.model.records("subgraphs"))

    def subgraph(self, index: int, what: str) -> Record:
        """A subgraph by number."""
        if not 0 <= index < len(self.subgraphs):
            raise self.error(self.model, f"{what}: subgraph {index} of {len(self.subgraphs)}")
        return self.subgraphs[index]

    def kind(self, operator: Record) -> str:
        """What an operator is: "conv_2d", "custom:NAME"."""
        codes, index = self.model.records("operator_codes"), operator.integer("opcode_index")
        if index >= len(codes):
            raise self.error(operator, f"operator code {index} of {len(codes)}")
        code = codes[index]
        # Files older than the wide field have the narrow one alone (schema_utils.cc, GetBuiltinCode).
        number = max(code.integer("builtin_code"), code.integer("deprecated_builtin_code"))
        name = operator_name(number)
        if name is None:
            raise self.error(code, f"operator {number} is none of the schema")
        return CUSTOM + code.text("custom_code") if name == "CUSTOM" else name.lower()

    def error(self, record: Record, problem: str, tensor: str = "") -> FormatError:
        """An error at the place of a table."""
        return self.source.error(record.offset, problem, tensor=tensor)


def open_file(path: Path) -> Container:
    """Open a file.

    Raises:
        FormatError: damaged, cut, hostile, or no TensorFlow Lite file.
    """
    source = Source(path)
    opened = flatbuffer.read(source)
    model = opened.root
    if model.integer("version") != VERSION:
        problem = f"expected version {VERSION} of the schema, found {model.integer('version')}"
        raise source.error(model.offset, problem)
    if not model.records("subgraphs"):
        raise source.error(model.offset, "a file without a subgraph")
    buffers = Buffers(source=source, records=tuple(model.records("buffers")))
    ends = [opened.end]
    for index, record in enumerate(buffers.records):
        data = buffers.data(index, f"buffer {index}")
        if data is not None and record.integer("offset") > 1:
            ends.append(data.offset + data.nbytes)
    return Container(source=source, model=model, buffers=buffers, end=max(ends))


def type_name(tensor: Record) -> str:
    """A tensor's type as the schema calls it."""
    return enums()["TensorType"].members.get(tensor.integer("type"), "?")
