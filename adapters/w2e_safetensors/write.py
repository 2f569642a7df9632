"""The canonical model to the canonical file: nothing is changed, everything is kept.

In the file's order: graphs, look-up tables, JSON that is too large for the header, then the tensors in
execution order, each with its scales and offsets behind it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from w2e_bridge.formats.output import Buffer, Job, Output, OutputFile, tensor_job
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.state import constants
from w2e_bridge.loss import Grade, Ignored, TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_bridge.passes.components import components
from w2e_bridge.protocol import jcs
from w2e_bridge.protocol.components import component_record
from w2e_bridge.protocol.encodings import Tables, encoding_record
from w2e_bridge.protocol.manifest import (
    VERSION,
    ComponentRecord,
    Manifest,
    TensorRecord,
    to_text,
)
from w2e_safetensors.header import Entry, header_bytes
from w2e_safetensors.names import GRAPH, KEY, MAIN, NATIVE, PAD, TABLE, TEXT, Names, prefix_of
from w2e_safetensors.native import layout_record
from w2e_safetensors.parts import parts_of
from w2e_safetensors.profiles import CANONICAL
from w2e_safetensors.rows import Rows

ALIGNMENT = 64
"""Arrays begin at multiples of this, so that any type can be read in place."""

_INLINE = 1 << 16  # bytes of JSON that the header takes


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.w2e.safetensors`.

    Args:
        model: as it is.
        decisions: the model's own tensors.
        request: no options.
    """
    tables, plan = Tables(), _Plan()
    further = tuple(components(model, CANONICAL, request))
    parts = [_Component(MAIN, model, decisions, tables)]
    parts += [_Component(one.name, one.model, one.decisions, tables) for one in further]
    records = {part.name: plan.small_parts(part.name, part.model, part.record) for part in parts}
    for key, array in tables.arrays():
        kind = "F32" if array.dtype.kind == "f" else "I8"
        plan.small(TABLE + key, array.tobytes(), kind, array.shape)
    for part in parts:
        tensors = tuple(plan.tensor(part.name, n, *row) for n, row in enumerate(part.tensors))
        records[part.name] = msgspec.structs.replace(records[part.name], tensors=tensors)
    return Output(
        files=(plan.file(Manifest(w2e=VERSION, components=records)),),
        parts=tuple(one.part for one in further),
        constants=tuple(row for part in parts for row in constants(part.model)),
        values=tuple(row for part in parts for row in part.values()),
        ignored=tuple(row for part in parts for row in part.ignored()),
        summary="codes, scales and offsets of all tensors kept as they are",
    )


class _Component:
    """A network of the file: its record, and its tensors with the number of their encoding."""

    def __init__(self, name: str, model: Model, decisions: Decisions, tables: Tables) -> None:
        self.name, self.model = name, model
        known: dict[Encoding, int] = {}
        self.tensors: list[tuple[Tensor, int]] = []
        for key, own in model.tensors.items():
            tensor = decisions[key].tensor if key in decisions else own
            self.tensors.append((tensor, known.setdefault(tensor.encoding, len(known))))
        encodings = tuple(encoding_record(encoding, tables) for encoding in known)
        self.record = msgspec.structs.replace(component_record(model, tables), encodings=encodings)

    def values(self) -> Iterator[TensorLoss]:
        """Rows of the report for quantized values: they are kept."""
        for value, quantization in self.model.activations.items():
            label, name = str(quantization.codes), prefix_of(self.name) + value
            yield TensorLoss(name=name, source_encoding=label, encoding=label, grade=Grade.EXACT)

    def ignored(self) -> Iterator[Ignored]:
        """What is left out."""
        if self.model.tokenizer is not None and self.record.tokenizer is None:
            name = prefix_of(self.name) + "tokenizer"
            yield Ignored(name=name, reason="of a kind not known here")


@dataclass(slots=True)
class _Plan:
    """Places arrays one after another.

    Attributes:
        entries: (name, array), offsets from the start of the data.
        head: small arrays: (offset, bytes).
        jobs: tensors; they are told where the data begins when the header is known.
        size: bytes so far.
    """

    names: Names = field(default_factory=Names)
    entries: list[tuple[str, Entry]] = field(default_factory=list)
    head: list[tuple[int, bytes]] = field(default_factory=list)
    jobs: list[_TensorJob] = field(default_factory=list)
    size: int = 0

    def place(self, name: str, dtype: str, shape: tuple[int, ...], nbytes: int) -> tuple[str, int]:
        """Room for an array; its name in the file and where it is."""
        spare = -self.size % ALIGNMENT if nbytes else 0
        if spare:
            self._add(self.names.free(f"{PAD}{len(self.entries)}"), "U8", (spare,), spare)
        own = self.names.free(name)
        return own, self._add(own, dtype, shape, nbytes)

    def _add(self, name: str, dtype: str, shape: tuple[int, ...], nbytes: int) -> int:
        entry = Entry(dtype=dtype, shape=shape, offset=self.size, nbytes=nbytes)
        self.entries.append((name, entry))
        self.size += nbytes
        return entry.offset

    def small(self, name: str, data: bytes, dtype: str, shape: tuple[int, ...]) -> str:
        """An array that is here already; its name in the file."""
        own, offset = self.place(name, dtype, shape, len(data))
        self.head.append((offset, data))
        return own

    def small_parts(self, name: str, model: Model, record: ComponentRecord) -> ComponentRecord:
        """The graph, and JSON that is too large for the header."""
        if model.graph is not None:
            from w2e_bridge.graph.serialize import graph_bytes

            data = graph_bytes(model.graph)
            self.small(GRAPH + name, data, "U8", (len(data),))
            record = msgspec.structs.replace(record, graph=True)
        for key in ("metadata", "tokenizer"):
            value = getattr(record, key)
            data = b"" if value is None else jcs.dumps(value).encode()
            if len(data) > _INLINE:
                moved = self.small(f"{TEXT}{name}/{key}", data, "U8", (len(data),))
                record = msgspec.structs.replace(record, **{key: moved})
        return record

    def tensor(self, component: str, position: int, tensor: Tensor, encoding: int) -> TensorRecord:
        """Room for a tensor, the job that writes it, and its record."""
        prefix, layout = prefix_of(component), layout_record(tensor)
        stored: dict[str, str] = {}
        job = _TensorJob(tensor=tensor)
        for part in parts_of(tensor.shape, tensor.encoding):
            usual = prefix + tensor.name + part.path
            own, offset = self.place(usual, part.dtype, part.shape, part.nbytes)
            job.parts.append((offset, Rows.of(part, job.parts_by_path())))
            if own != usual:
                stored[part.path] = own
        if layout is not None and layout.native:
            usual = NATIVE + prefix + tensor.name
            own, job.native = self.place(usual, "U8", (tensor.nbytes,), tensor.nbytes)
            if own != usual:
                stored["native"] = own
        self.jobs.append(job)
        return TensorRecord(
            name=tensor.name,
            shape=tensor.shape,
            dtype=tensor.dtype,
            encoding=encoding,
            order=None if tensor.order == position else tensor.order,
            layout=layout,
            stored=stored,
        )

    def file(self, manifest: Manifest) -> OutputFile:
        """The whole file."""
        head = header_bytes({"format": "pt", KEY: to_text(manifest)}, self.entries)
        base = len(head)
        small = ((0, head), *((base + offset, data) for offset, data in self.head))
        return OutputFile(
            name="{stem}.w2e.safetensors",
            nbytes=base + self.size,
            head=small,
            jobs=tuple(job.at(base) for job in self.jobs if job.tensor.elements),
        )


@dataclass(slots=True, kw_only=True)
class _TensorJob:
    """Writes the arrays of one tensor.

    Attributes:
        tensor: the tensor.
        parts: (offset from the start of the data, rows of a part).
        native: offset of its bytes as the source has them, or None.
    """

    tensor: Tensor
    parts: list[tuple[int, Rows]] = field(default_factory=list)
    native: int | None = None

    def parts_by_path(self) -> dict[str, Rows]:
        """The parts so far."""
        return {rows.part.path: rows for _, rows in self.parts}

    def at(self, base: int) -> Job:
        """The job, with data that begins at `base`."""
        tensor, native = self.tensor, self.native
        placed = [(base + offset, rows) for offset, rows in self.parts]

        def produce(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
            parts = tensor.storage.parts(start, stop)
            for offset, rows in placed:
                first, data = rows.packed(parts, start, stop)
                if data.size:
                    yield offset + first * rows.part.row_bytes, data
            if native is not None and tensor.storage.layout is not None:
                size = tensor.storage.layout.row_bytes(tensor.columns)
                yield base + native + start * size, tensor.storage.raw(start, stop)

        return tensor_job(tensor, produce)
