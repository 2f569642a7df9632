"""What a TensorFlow Lite file holds, as people ask it: operators and their types, tensors, memory to run it.

Pure functions of an opened file; nothing of the canonical model is needed, so that files are described
too whose operators can't be converted.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from w2e_bridge.errors import BridgeError
from w2e_tflite.constants import stored_bytes
from w2e_tflite.container import Container, open_file, type_name
from w2e_tflite.quant import Odd, dtype_of, parameters
from w2e_tflite.record import Record

ALIGNMENT = 64
"""Bytes to which LiteRT aligns tensors in its arena (tflite/simple_memory_arena.h)."""

_MOST_BLOCKS = 4000
"""Tensors up to which places are looked for; beyond only the least that is needed is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """Operators of one kind and the same types.

    Attributes:
        kind: "CONV_2D", "custom:NAME".
        version: that the file asks for.
        types: of operands and outputs: "INT8 × INT8[32] × INT32[32] → INT8"; in brackets how many scales
            there are, where there are several.
        count: how many there are.
        refused: why they can't be converted, "" where they can.
    """

    kind: str
    version: int
    types: str
    count: int
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRow:
    """A tensor.

    Attributes:
        subgraph: its number.
        name: in the file.
        type: "INT8".
        shape: -1 where it is free.
        quantization: "0.5, zero point -3", "32 scales along 0", "blocks of 32", or "".
        role: "constant", "variable", "input", "output" or "value".
        nbytes: of its data, or that it takes while it lives.
        sparse: whether only some of its blocks are stored.
    """

    subgraph: int
    name: str
    type: str
    shape: tuple[int, ...]
    quantization: str
    role: str
    nbytes: int
    sparse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """Memory for the values of a subgraph, temporaries of kernels aside.

    Attributes:
        nbytes: that a greedy planner needs, the largest tensors placed first (as LiteRT's does).
        least_nbytes: the most that lives at once, which no planner can beat.
        operator: number of the operator at which that is.
    """

    nbytes: int
    least_nbytes: int
    operator: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """When a value lives.

    Attributes:
        nbytes: of it.
        first: number of the operator that makes it; -1 of an input.
        last: number of the last operator that reads it.
    """

    nbytes: int
    first: int
    last: int


def operators(container: Container) -> list[OperatorRow]:
    """Operators by kind, version and types, the most frequent first."""
    found: Counter[tuple[str, int, str, str]] = Counter()
    reasons = refusals(container)
    for graph in container.subgraphs:
        tensors = graph.records("tensors")
        for operator in graph.records("operators"):
            kind = container.kind(operator)
            code = container.model.records("operator_codes")[operator.integer("opcode_index")]
            sides = (_types(tensors, operator.integers(side)) for side in ("inputs", "outputs"))
            name = kind if ":" in kind else kind.upper()
            key = (name, code.integer("version"), " → ".join(sides), reasons.get(kind, ""))
            found[key] += 1
    return [
        OperatorRow(kind=kind, version=version, types=types, count=count, refused=refused)
        for (kind, version, types, refused), count in found.most_common()
    ]


def refusals(container: Container) -> dict[str, str]:
    """Kinds of which at least one operator can't be converted, and why."""
    # Imported late: a file's tables are looked at without it.
    from w2e_tflite.lifting import Lifted
    from w2e_tflite.operators import lift_graph
    from w2e_tflite.read import networks

    lifted = Lifted(container=container)
    with suppress(BridgeError):
        for index in networks(container):
            lift_graph(lifted, index)
    return {item.kind: item.reason or "unknown" for item in reversed(lifted.refused)}


def _types(tensors: Iterable[Record], numbers: tuple[int, ...]) -> str:
    known = list(tensors)
    named = [_typed(known[n]) for n in numbers if 0 <= n < len(known)]
    return " × ".join(named) or "nothing"


def _typed(tensor: Record) -> str:
    said = tensor.record("quantization")
    scale = None if said is None else said.array("scale")
    several = f"[{scale.size}]" if scale is not None and scale.size > 1 else ""
    return type_name(tensor) + several


def tensors(container: Container) -> list[TensorRow]:
    """All tensors in the file's order."""
    rows = []
    for number, graph in enumerate(container.subgraphs):
        ends = {side: set(graph.integers(side)) for side in ("inputs", "outputs")}
        for index, tensor in enumerate(graph.records("tensors")):
            data = container.buffers.data(tensor.integer("buffer"), tensor.text("name"))
            role = "constant" if data is not None else _role(tensor, index, ends)
            free = tensor.integers("shape_signature")
            shape = tensor.integers("shape")
            rows.append(
                TensorRow(
                    subgraph=number,
                    name=tensor.text("name"),
                    type=type_name(tensor),
                    shape=free if len(free) == len(shape) else shape,
                    quantization=quantization(tensor),
                    role=role,
                    nbytes=nbytes(tensor) if data is None else data.nbytes,
                    sparse=tensor.record("sparsity") is not None,
                )
            )
    return rows


def _role(tensor: Record, index: int, ends: Mapping[str, set[int]]) -> str:
    if tensor.integer("is_variable"):
        return "variable"
    return next((side[:-1] for side, numbers in ends.items() if index in numbers), "value")


def quantization(tensor: Record) -> str:
    """The quantization of a tensor in a few words, "" where there is none."""
    said = tensor.record("quantization")
    details = None if said is None else said.record("details")
    if details is not None:
        size = details.integer("block_size") if "block_size" in details.values else 0
        return f"blocks of {size}" if size else details.kind
    try:
        found = parameters(tensor, tensor.integers("shape"))
    except Odd as problem:
        return f"unclear: {problem}"
    if found is None:
        return ""
    zero = 0 if found.zero is None else int(found.zero[0])
    if found.axis is not None:
        return f"{found.scale.size} scales along {found.axis}"
    return f"{found.scale[0]:g}" + (f", zero point {zero}" if zero else "")


def nbytes(tensor: Record) -> int:
    """Bytes of a value; 0 of one that holds no numbers."""
    dtype = dtype_of(tensor)
    shape = tensor.integers("shape")
    if dtype is None or any(extent < 0 for extent in shape):
        return 0
    return stored_bytes(dtype, math.prod(shape))


def lives(graph: Record) -> list[Life]:
    """When each value of a subgraph lives: inputs from the beginning, outputs and variables to the end."""
    records = graph.records("tensors")
    steps = graph.records("operators")
    first = dict.fromkeys(graph.integers("inputs"), -1)
    last: dict[int, int] = {}
    for number, operator in enumerate(steps):
        for index in operator.integers("outputs"):
            first.setdefault(index, number)
            last[index] = number
        last |= dict.fromkeys(operator.integers("inputs"), number)
    last |= dict.fromkeys(graph.integers("outputs"), len(steps))
    found = []
    for index, tensor in enumerate(records):
        if tensor.integer("is_variable"):
            found.append(Life(nbytes=nbytes(tensor), first=-1, last=len(steps)))
        elif index in first:
            end = max(last.get(index, -1), first[index])
            found.append(Life(nbytes=nbytes(tensor), first=first[index], last=end))
    return found


def arena(values: list[Life], alignment: int = ALIGNMENT) -> Arena:
    """Memory for values of known lives."""
    blocks = [(-(-v.nbytes // alignment) * alignment, v) for v in values if v.nbytes]
    least, operator = _most_at_once(blocks)
    if len(blocks) > _MOST_BLOCKS:
        return Arena(nbytes=least, least_nbytes=least, operator=operator)
    placed: list[tuple[int, int, Life]] = []  # (offset, end, life), sorted
    top = 0
    for size, value in sorted(blocks, key=lambda b: (-b[0], b[1].first)):
        at = 0
        for offset, end, other in placed:
            if other.first > value.last or value.first > other.last:
                continue
            if offset >= at + size:
                break
            at = max(at, end)
        bisect.insort(placed, (at, at + size, value), key=lambda p: p[:2])
        top = max(top, at + size)
    return Arena(nbytes=top, least_nbytes=least, operator=operator)


def _most_at_once(blocks: list[tuple[int, Life]]) -> tuple[int, int]:
    change: Counter[int] = Counter()
    for size, value in blocks:
        change[value.first] += size
        change[value.last + 1] -= size
    alive, most, at = 0, 0, 0
    for step in sorted(change):
        alive += change[step]
        if alive > most:
            most, at = alive, max(step, 0)
    return most, at


def inspect(path: Path) -> dict[str, object]:
    """What `inspect` shows of a file beyond the canonical model.

    Returns:
        `operators`: rows of kind, version, types, count, and why they can't be converted, if so; `arena`: one for each subgraph, with its name;
        `values_nbytes`: of all values together; `signatures`: their keys; `tensors`: all of them, with their
        quantization.
    """
    container = open_file(path)
    graphs = [(graph.text("name"), lives(graph)) for graph in container.subgraphs]
    return {
        "operators": [_row(row) for row in operators(container)],
        "arena": [{"subgraph": name, **_row(arena(values))} for name, values in graphs],
        "values_nbytes": sum(value.nbytes for _, values in graphs for value in values),
        "signatures": [
            record.text("signature_key") for record in container.model.records("signature_defs")
        ],
        "tensors": [_row(row) for row in tensors(container)],
    }


def _row(row: OperatorRow | TensorRow | Arena) -> dict[str, object]:
    return {name: getattr(row, name) for name in row.__slots__}
