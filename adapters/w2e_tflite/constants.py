"""Constants of a file as tensors of the canonical model; the bytes stay in the file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.formats.source import FileRange, Source
from w2e_bridge.graph.planes import GridStorage, Matrix, plain_matrix, plain_storage, sane
from w2e_bridge.graph.qdq_weights import shortest
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import ByteRange, OwnedStorage, Storage, Tensor
from w2e_tflite.quant import (
    WEIGHTS,
    Odd,
    dtype_of,
    grid,
    grids,
    integer_codes,
    parameters,
    weight_encoding,
)
from w2e_tflite.record import Record
from w2e_tflite.sparsity import Level, Pattern, Sparse, Walk

_DENSER = 64
"""So many times larger than its file (or a MiB) a sparse constant may be."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constant:
    """A constant of a file.

    Attributes:
        tensor: what it is in the canonical model.
        pattern: how it is stored, where it is sparse.
        repair: see `Parameters`.
    """

    tensor: Tensor
    pattern: Pattern | None = None
    repair: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Buffers:
    """The buffers of a file.

    Attributes:
        source: the file.
        records: the table of buffers.
    """

    source: Source
    records: tuple[Record, ...]

    def data(self, index: int, what: str) -> FileRange | None:
        """The bytes of a buffer, None of an empty one."""
        if not 0 <= index < len(self.records):
            raise self.source.error(None, f"buffer {index} of {len(self.records)}", tensor=what)
        record = self.records[index]
        held, offset = record.values.get("data"), record.integer("offset")
        if offset > 1:  # of files beyond 2 GB: the data is behind the flatbuffer
            size = record.integer("size")
            held = FileRange(source=self.source, offset=offset, nbytes=size, what=what)
        return held if held is not None and held.nbytes else None


def constant(
    buffers: Buffers, record: Record, name: str, scales: tuple[Record, ...]
) -> Constant | None:
    """The constant that a tensor is, None of one that is computed.

    Args:
        buffers: of the file.
        record: the tensor.
        name: unique in the model.
        scales: all tensors of the subgraph, among which those are that hold scales of blocks.

    Raises:
        FormatError: its bytes or parameters don't go with its shape.
    """
    source, dtype = buffers.source, dtype_of(record)
    shape = record.integers("shape")
    if not sane(shape):
        raise source.error(record.offset, f"a tensor of shape {shape}", tensor=name)
    data = buffers.data(record.integer("buffer"), name)
    if dtype is None or (data is None and math.prod(shape) > 0):
        return None
    made = _Maker(buffers=buffers, record=record, name=name, dtype=dtype, shape=shape)
    try:
        return made.constant(data, scales)
    except Odd as problem:
        raise source.error(record.offset, str(problem), tensor=name) from problem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Maker:
    buffers: Buffers
    record: Record
    name: str
    dtype: str
    shape: tuple[int, ...]

    def constant(self, data: FileRange | None, scales: tuple[Record, ...]) -> Constant:
        """The constant of some bytes."""
        sparsity = self.record.record("sparsity")
        if data is None:
            return Constant(tensor=self._tensor(None))
        if sparsity is not None:
            return self._sparse(data, sparsity)
        self._check(data)
        blocks = self._blocks(data, scales)
        if blocks is not None:
            return Constant(tensor=blocks)
        return self._quantized(data)

    def _check(self, data: FileRange) -> None:
        wanted = stored_bytes(self.dtype, math.prod(self.shape))
        if data.nbytes < wanted:
            raise Odd(f"expected {wanted} bytes of {self.dtype} {self.shape}, found {data.nbytes}")

    def _tensor(self, data: ByteRange | None) -> Tensor:
        empty = np.empty((math.prod(self.shape[:-1]), 0), numpy_type(PLAIN[self.dtype]))
        storage: Storage = OwnedStorage(whole=Parts(codes=empty))
        if data is not None:
            storage = plain_storage(data, self.dtype, self.shape)
        return Tensor(
            name=self.name,
            shape=self.shape,
            dtype=self.dtype,
            encoding=PLAIN[self.dtype],
            storage=storage,
        )

    def _codes(self, data: ByteRange) -> Matrix:
        return plain_matrix(data, self.dtype, self.shape[-1] if self.shape else 1)

    def _quantized(self, data: ByteRange) -> Constant:
        plain, codes = self._tensor(data), integer_codes(self.dtype)
        found = parameters(self.record, self.shape) if self.dtype in WEIGHTS else None
        if found is None or codes is None:
            return Constant(tensor=plain)
        scale, offset = grids(codes, found, self.shape)
        tensor = replace(
            plain,
            dtype="float32",
            encoding=weight_encoding(codes, found, len(self.shape)),
            storage=GridStorage(codes=self._codes(data), scale=scale, offset=offset),
        )
        return Constant(tensor=tensor, repair=found.repair)

    def _blocks(self, data: ByteRange, scales: tuple[Record, ...]) -> Tensor | None:
        """A constant whose scales are a tensor of their own, a row of blocks for each of its rows."""
        said = self.record.record("quantization")
        details = None if said is None else said.record("details")
        codes = integer_codes(self.dtype)
        if details is None or details.kind != "BlockwiseQuantization" or codes is None:
            return None
        size = details.integer("block_size")
        if size <= 0 or not self.shape:
            raise Odd(f"blocks of {size} of a tensor of shape {self.shape}")
        wanted = (*self.shape[:-1], -(-self.shape[-1] // size))
        extents = (*(1 for _ in self.shape[:-1]), size)
        numbers, kind = self._numbers(details.integer("scales"), scales, wanted)
        if (
            details.integer("zero_points") > 0
        ):  # LiteRT has no kernel for them; 0 is an absent field
            raise Odd("zero points of blocks")
        return replace(
            self._tensor(data),
            dtype="float32",
            encoding=Encoding(codes=codes, block=shortest(extents), scale=PLAIN[kind]),
            storage=GridStorage(
                codes=self._codes(data),
                scale=grid(numbers, PLAIN[kind], self.shape, extents),
            ),
        )

    def _numbers(
        self, index: int, tensors: tuple[Record, ...], shape: tuple[int, ...]
    ) -> tuple[NDArray[Any], str]:
        if not 0 <= index < len(tensors):
            raise Odd(f"scales in tensor {index} of {len(tensors)}")
        record, dtype = tensors[index], dtype_of(tensors[index])
        data = self.buffers.data(record.integer("buffer"), self.name)
        if dtype not in ("float16", "float32", "bfloat16") or data is None:
            raise Odd(f"scales of type {dtype}")
        wanted = stored_bytes(dtype, math.prod(shape))
        if record.integers("shape") != shape or data.nbytes < wanted:
            raise Odd(f"scales of shape {record.integers('shape')}, expected {shape}")
        return data.read(0, wanted).view(numpy_type(PLAIN[dtype])), dtype

    def _sparse(self, data: FileRange, record: Record) -> Constant:
        kind = numpy_type(PLAIN[self.dtype])
        size, most = math.prod(self.shape), _DENSER * max(data.source.size, 1 << 20)
        if PLAIN[self.dtype].codes.bits != 8 * kind.itemsize or size * kind.itemsize > most:
            raise Odd(f"a sparse tensor of {self.dtype} {self.shape} in {data.nbytes} bytes")
        if data.nbytes % kind.itemsize:
            raise Odd(f"{data.nbytes} bytes of {self.dtype}")
        sparse, listed = sparse_of(record, self.shape)
        dense = sparse.densify(data.read(0, data.nbytes).view(kind))
        pattern = Pattern(
            order=sparse.walk.order,
            block_map=sparse.walk.block_map,
            sizes=sparse.walk.sizes,
            listed=listed,
            empty=sparse.empty(dense),
        )
        held = self._quantized(_Densified(data=data, kind=kind, sparse=sparse))
        return replace(held, pattern=pattern)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Densified:
    """The dense bytes of a sparse constant, made anew whenever they are read."""

    data: FileRange
    kind: np.dtype[np.generic]
    sparse: Sparse

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        """Bytes of the dense tensor."""
        dense = self.sparse.densify(self.data.read(0, self.data.nbytes).view(self.kind))
        return dense.view(np.uint8)[offset : offset + count].copy()


def sparse_of(record: Record, shape: tuple[int, ...]) -> tuple[Sparse, dict[int, tuple[str, str]]]:
    """Sparsity parameters of a file, and which tables list the indices of which level.

    Raises:
        Odd: they are incomplete.
    """
    levels, listed = list[Level](), dict[int, tuple[str, str]]()
    order = record.integers("traversal_order")
    for number, item in enumerate(record.records("dim_metadata")):
        size = item.integer("dense_size")
        if not item.integer("format"):
            levels.append(Level(size=size))
            continue
        both = [_indices(item, name) for name in ("array_segments", "array_indices")]
        (one, segments), (other, indices) = both
        listed[number] = (one, other)
        levels.append(Level(size=0, segments=segments, indices=indices))
    block_map, rank = record.integers("block_map"), len(shape)
    if len(order) != len(levels) or sorted(order) != list(range(rank + len(block_map))):
        raise Odd(f"a sparse tensor of {rank} dimensions walked as {order}")
    sizes = []
    for number, dimension in enumerate(order):
        if dimension < rank:  # lists don't say the size of their dimension
            inner = [order.index(rank + n) for n, a in enumerate(block_map) if a == dimension]
            block = math.prod(levels[at].size for at in inner)
            levels[number] = replace(levels[number], size=shape[dimension] // max(1, block))
        sizes.append(levels[number].size)
    walk = Walk(shape=shape, order=order, block_map=block_map, sizes=tuple(sizes))
    walk.check()
    return Sparse(walk=walk, levels=tuple(levels)), listed


def _indices(item: Record, name: str) -> tuple[str, NDArray[np.int64]]:
    table = item.record(name)
    values = None if table is None else table.values.get("values")
    if table is None or values is None:
        raise Odd(f"a sparse level without {name}")
    if isinstance(values, FileRange):
        values = values.read(0, values.nbytes)
    return table.kind, np.asarray(values, np.int64)


def stored_bytes(dtype: str, elements: int) -> int:
    """Bytes of a plain tensor; types of less than a byte share bytes, and a bool is one."""
    bits = 8 if dtype == "bool" else PLAIN[dtype].codes.bits
    return -(-elements * bits // 8)
