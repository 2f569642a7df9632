"""Reader and writer: "TOY1", length of the header, header (JSON), then tensor after tensor.

A tensor is float32 ("f32"), or int8 codes with a float32 scale a row ("q8": the scale, then the codes).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.formats.output import Buffer, Job, Output, OutputFile
from w2e_bridge.formats.source import FileRange, Source
from w2e_bridge.formats.spec import OptionValue, Request
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import PackedStorage, Tensor
from w2e_bridge.loss import Ignored
from w2e_bridge.negotiation.decision import Decision, Decisions
from w2e_bridge.negotiation.profile import Form, Profile, Role

INT8 = Integer(bits=8, signed=True)
Q8 = Encoding(codes=INT8, block=(0,), scale=FLOAT32)
START = 4


def encodings() -> Mapping[str, Encoding]:
    """What a toy can hold."""
    return {"F32": FLOAT32, "Q8": Q8}


def profiles() -> Mapping[str, Profile]:
    """Two targets: a box that holds both encodings, and one that holds floats alone."""
    roles = frozenset(Role)
    f32 = Form(name="f32", roles=roles, codes=Float(name="float32"), scale=None)
    q8 = Form(name="q8", roles=roles, codes=INT8, blocks=(0,))
    return {
        "box": Profile(name="box", title="Toy box", forms=(q8, f32), needs_graph=False),
        "bare": Profile(name="bare", title="Floats alone", forms=(f32,), needs_graph=False),
    }


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """Read the header; weights stay in the file."""
    source = Source(path)
    if source.take(0, START, "magic") != b"TOY1":
        raise source.error(0, "expected TOY1")
    (length,) = struct.unpack("<I", source.take(START, 4, "length of the header"))
    try:
        header = json.loads(source.take(START + 4, length, "header"))
    except ValueError as error:
        raise source.error(START + 4, f"the header is no JSON: {error}") from error
    return Model(
        tensors={t.name: t for t in _tensors(source, header, START + 4 + length)},
        metadata=header.get("metadata", {}),
        kind=header.get("kind", "model"),
        origin=Origin(format="toy", path=str(path), nbytes=source.size),
        remarks=tuple(
            Remark(name=n, reason="toys have no use for it") for n in header.get("extra", ())
        ),
    )


def _tensors(source: Source, header: Any, offset: int) -> Iterator[Tensor]:
    for order, (name, kind, shape) in enumerate(header["tensors"]):
        columns, rows = shape[-1], int(np.prod(shape[:-1], dtype=np.int64))
        layout = _layout(kind, columns)
        count = rows * layout.bytes
        data = FileRange(source=source, offset=offset, nbytes=count, what=name)
        storage = PackedStorage(layout=layout, columns=columns, source=data)
        yield Tensor(
            name=name, shape=tuple(shape), dtype="float32", encoding=layout.encoding,
            storage=storage, order=order,
        )  # fmt: skip
        offset += count


def _layout(kind: str, columns: int) -> Layout:
    encoding, size, unpack = {
        "f32": (FLOAT32, 4 * columns, _unpack_f32),
        "q8": (Q8, 4 + columns, _unpack_q8),
    }[kind]
    return Layout(
        name=f"toy.{kind}", label=kind.upper(), encoding=encoding, elements=columns, bytes=size,
        unpack=unpack,
    )  # fmt: skip


def _unpack_f32(blocks: NDArray[np.uint8]) -> Parts:
    return Parts(codes=blocks.reshape(blocks.shape[0], -1).view("<f4"))


def _unpack_q8(blocks: NDArray[np.uint8]) -> Parts:
    rows = blocks.reshape(blocks.shape[0], -1)  # (rows, 4 + columns)
    scale = Parts(codes=np.ascontiguousarray(rows[:, :4]).view("<f4"))
    return Parts(codes=rows[:, 4:].view(np.int8), scale=scale)


def inspect(path: Path) -> dict[str, object]:
    """What only toys have."""
    parts = [
        {"part": "head", "nbytes": START, "seams": 0},
        {"part": "belly", "nbytes": path.stat().st_size - START, "seams": 2},
    ]
    return {"stuffing_nbytes": 2048, "parts": parts, "squeaks": ["squeak", "honk"], "wishes": []}


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan one file."""
    rows = [[n, d.form.name, list(d.tensor.shape)] for n, d in decisions.items()]
    header = json.dumps({"tensors": rows, "metadata": dict(model.metadata)}).encode()
    offset, jobs = START + 4 + len(header), []
    for decision in decisions.values():
        jobs.append(_job(decision, offset))
        offset += decision.tensor.rows * _row_bytes(decision)
    head = (0, b"TOY1" + struct.pack("<I", len(header)) + header)
    toy = OutputFile(name="{stem}.toy", nbytes=offset, head=(head,), jobs=tuple(jobs))
    squeaks = (Ignored(name="squeak", reason="no loudspeaker"),) if request.options["loud"] else ()
    return Output(
        files=(toy,),
        companions=(lambda folder: _label(folder, str(request.options["color"])),),
        ignored=squeaks,
        summary="codes kept as they are",
    )


def _label(folder: Path, color: str) -> list[str]:
    (folder / "label.txt").write_text(f"{color}\n")
    return ["label.txt"]


def _row_bytes(decision: Decision) -> int:
    return _layout(decision.form.name, decision.tensor.columns).bytes


def _job(decision: Decision, offset: int) -> Job:
    tensor, size = decision.tensor, _row_bytes(decision)

    def produce(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
        parts = tensor.storage.parts(start, stop)
        codes = np.ascontiguousarray(parts.codes).view(np.uint8).reshape(stop - start, -1)
        if parts.scale is not None:
            scale = np.ascontiguousarray(parts.scale.codes, "<f4").view(np.uint8)
            codes = np.concatenate([scale, codes], axis=1)
        yield offset + start * size, codes

    return Job(
        name=tensor.name, rows=tensor.rows, columns=tensor.columns, produce=produce,
        nbytes=tensor.nbytes,
    )  # fmt: skip
