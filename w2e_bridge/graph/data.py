"""The external data file: where every array will lie, and the jobs that fill it.

Large arrays begin at a page, so that a runtime can map them; small ones at a cache line, so that a
small model stays small. Arrays lie in the order in which they are asked for, which is execution order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.formats.output import Buffer, Job, OutputFile, small_file, tensor_job
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import Tensor

PAGE, LINE = 4096, 64
LARGE = 1 << 20
"""Bytes from which an array is worth a page of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """An array in the data file, rows of equal length one after another.

    Attributes:
        value: the graph's initializer.
        offset: bytes from the start of the file.
        row_bytes: bytes of a row.
    """

    value: ir.Value
    offset: int
    row_bytes: int

    def at(self, row: int) -> int:
        """Where a row begins."""
        return self.offset + row * self.row_bytes


Pack = Callable[[Parts], Sequence[Buffer]]
"""Parts of some rows to the bytes of those rows in each of a tensor's regions."""


class DataFile:
    """A plan of the external data file.

    Attributes:
        name: file name as the graph refers to it.
        size: bytes so far.
        head: small arrays: (offset, bytes).
        jobs: large arrays.
    """

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self.name, self.size = name, 0
        self.head: list[tuple[int, bytes]] = []
        self.jobs: list[Job] = []
        self._graph = graph

    def region(
        self, name: str, dtype: ir.DataType, shape: Sequence[int], rows: int | None = None
    ) -> Region:
        """Room for an array, and its initializer; `rows` where they are not its first axis."""
        nbytes = math.ceil(math.prod(shape) * dtype.bitwidth / 8)
        alignment = PAGE if nbytes >= LARGE else LINE
        offset = -(-self.size // alignment) * alignment
        self.size = offset + nbytes
        value = self._value(name, dtype, shape, offset, nbytes)
        count = math.prod(shape[:1]) if rows is None else rows
        return Region(value=value, offset=offset, row_bytes=nbytes // max(count, 1))

    def alias(self, region: Region, name: str, shape: Sequence[int]) -> ir.Value:
        """The same bytes under another shape: ONNX's initializers may share a range of the file."""
        assert region.value.dtype is not None
        nbytes = math.ceil(math.prod(shape) * region.value.dtype.bitwidth / 8)
        return self._value(name, region.value.dtype, shape, region.offset, nbytes)

    def constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        """An array that is here already; the same name is written once."""
        if name in self._graph.initializers:
            return self._graph.initializers[name]
        dtype = ir.DataType.from_numpy(array.dtype)
        region = self.region(name, dtype, array.shape)
        self.head.append((region.offset, array.tobytes()))
        return region.value

    def fill(
        self, tensor: Tensor, regions: Sequence[Region], pack: Pack, *, first_row: int = 0
    ) -> None:
        """A job that writes a tensor's rows to its regions, from `first_row` of them on."""

        def produce(start: int, stop: int) -> Iterable[tuple[int, Buffer]]:
            buffers = pack(tensor.storage.parts(start, stop))
            for region, buffer in zip(regions, buffers, strict=True):
                yield region.at(first_row + start), buffer

        self.jobs.append(tensor_job(tensor, produce))

    def _value(
        self, name: str, dtype: ir.DataType, shape: Sequence[int], offset: int, nbytes: int
    ) -> ir.Value:
        data = ir.ExternalTensor(
            location=self.name,
            offset=offset,
            length=nbytes,
            dtype=dtype,
            shape=ir.Shape(shape),
            name=name,
            base_dir="",
        )
        value = ir.Value(
            name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape), const_value=data
        )
        self._graph.register_initializer(value)
        return value


def network_files(work: ir.Model, data: DataFile) -> tuple[OutputFile, ...]:
    """The file of a network, and that of its large arrays where it has any."""
    content = ir.serde.serialize_model(work).SerializeToString(deterministic=True)
    network = small_file("{stem}.onnx", content)
    large = OutputFile(
        name="{stem}.onnx.data", nbytes=data.size, head=tuple(data.head), jobs=tuple(data.jobs)
    )
    return (network, large) if data.size else (network,)
