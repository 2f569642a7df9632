"""Weights to a file's bytes and quantization parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.output import Buffer, Job, tensor_job
from w2e_bridge.formats.source import FileRange
from w2e_bridge.graph.planes import GridStorage, padded
from w2e_bridge.ir.encoding import WHOLE, Encoding, OffsetKind
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.ir.plain import numpy_type
from w2e_bridge.ir.tensor import PackedStorage, Tensor
from w2e_bridge.numerics.bits import pack_rows

SMALL = 1 << 16
"""Bytes of a constant that is written with the tables rather than streamed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scales:
    """The quantization of a constant.

    Attributes:
        scale: float32 (channels,); of blocks (rows, blocks) in their own type.
        zero: int64 of the same shape, None for zeros.
        axis: of the channels.
        block: extent of the blocks along the last axis, 0 where there are none.
        kind: the type that scales of blocks are stored in.
    """

    scale: NDArray[Any]
    zero: NDArray[np.int64] | None = None
    axis: int = 0
    block: int = 0
    kind: str = "float32"


def width_of(encoding: Encoding, dtype: str) -> int:
    """Bits that a code takes in a file: a bool is a byte."""
    return 8 if dtype == "bool" else encoding.codes.bits


def nbytes_of(tensor: Tensor) -> int:
    """Bytes of a constant in a file; codes of less than a byte share bytes."""
    return -(-tensor.elements * width_of(tensor.encoding, tensor.dtype) // 8)


def scales_of(tensor: Tensor) -> Scales | None:
    """The scales of a constant, None of a plain one.

    Raises:
        UnsupportedError: blocks or offsets that the format has no word for.
    """
    encoding = tensor.encoding
    if encoding.scale is None:
        return None
    shape = tensor.shape or (1,)
    said = padded(encoding.block, len(shape))
    if said[-1] not in (WHOLE, 1):
        return _blocks(tensor, list(said))
    extents = [WHOLE if e >= size else e for e, size in zip(said, shape, strict=True)]
    along = [axis for axis, extent in enumerate(extents) if extent != WHOLE]
    if len(along) > 1 or any(extents[axis] != 1 for axis in along):
        raise _unsayable(tensor)
    axis = along[0] if along else 0
    rows = np.zeros(1, np.int64)
    if along and axis < len(shape) - 1:
        rows = np.arange(shape[axis]) * math.prod(shape[axis + 1 : -1])
    scale, zero = _grids(tensor, rows)
    count = shape[axis] if along else 1
    return Scales(scale=_flat(scale, count), zero=_nonzero(zero, count), axis=axis)


def _unsayable(tensor: Tensor) -> UnsupportedError:
    return UnsupportedError(
        f"TensorFlow Lite has no word for how '{tensor.name}' is quantized ({tensor.encoding})"
    )


def _blocks(tensor: Tensor, extents: list[int]) -> Scales:
    """Scales of blocks along the last axis: a row of them for each row."""
    scale, block = tensor.encoding.scale, extents[-1]
    each = all(e == 1 or n == 1 for e, n in zip(extents[:-1], tensor.shape[:-1], strict=True))
    if not each or tensor.encoding.offset is not None or scale is None or scale.quantized:
        raise _unsayable(tensor)
    parts = _parts(tensor, np.arange(tensor.rows)).scale
    assert parts is not None
    numbers = np.broadcast_to(parts.codes, (tensor.rows, -(-tensor.columns // block)))
    return Scales(scale=np.ascontiguousarray(numbers), block=block, kind=str(scale))


def _flat(numbers: NDArray[Any], count: int) -> NDArray[Any]:
    return np.ascontiguousarray(np.broadcast_to(numbers.reshape(-1), (count,)))


def _nonzero(zero: NDArray[np.int64] | None, count: int) -> NDArray[np.int64] | None:
    return None if zero is None or not zero.any() else _flat(zero, count)


def _grids(
    tensor: Tensor, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Scales and zero points of some rows."""
    encoding, offset = tensor.encoding, tensor.encoding.offset
    parts = _parts(tensor, rows)
    assert encoding.scale is not None
    assert parts.scale is not None
    scale = decode(encoding.scale, parts.scale)
    if encoding.scale_divides or encoding.flat or encoding.permutation is not None:
        raise _unsayable(tensor)
    if offset is None:
        return scale, None
    if offset.kind is not OffsetKind.ZERO_POINT or offset.block not in (None, encoding.block):
        raise _unsayable(tensor)
    if offset.constant is not None:
        return scale, np.full(scale.shape, offset.constant, np.int64)
    assert parts.offset is not None
    return scale, np.asarray(parts.offset.codes, np.int64)


def _parts(tensor: Tensor, rows: NDArray[np.int64]) -> Parts:
    """Scales and offsets of some rows; the codes are not read where they lie apart."""
    storage = tensor.storage
    if isinstance(storage, GridStorage):
        nothing = np.empty((0, 0), np.int8)
        scale, offset = (
            None if g is None else g.take(rows) for g in (storage.scale, storage.offset)
        )
        return Parts(codes=nothing, scale=scale, offset=offset)
    found = [storage.parts(int(row), int(row) + 1) for row in rows]
    return Parts(codes=found[0].codes, scale=_stack(found, "scale"), offset=_stack(found, "offset"))


def _stack(found: list[Parts], name: str) -> Parts | None:
    parts = [getattr(p, name) for p in found]
    if parts[0] is None:
        return None
    return Parts(
        codes=np.concatenate([p.codes[:1] for p in parts]),
        scale=_stack(parts, "scale"),
        offset=_stack(parts, "offset"),
    )


def packed(tensor: Tensor, start: int, stop: int) -> NDArray[np.uint8]:
    """The bytes of rows [start, stop), which begin and end with a byte."""
    codes = tensor.storage.parts(start, stop).codes
    width = width_of(tensor.encoding, tensor.dtype)
    kind = numpy_type(Encoding(codes=tensor.encoding.codes))
    flat = np.ascontiguousarray(codes).astype(kind, copy=False).reshape(-1)
    if width >= 8:
        return flat.view(np.uint8)
    mask = np.uint8((1 << width) - 1)
    return pack_rows((flat.view(np.uint8) & mask).reshape(1, -1), width).reshape(-1)


def whole(tensor: Tensor) -> bytes:
    """All bytes of a constant."""
    return packed(tensor, 0, tensor.rows).tobytes() if tensor.elements else b""


def weight_job(tensor: Tensor, place: int) -> Job:
    """The job that writes a constant at a place of the file."""
    row_bits = tensor.columns * width_of(tensor.encoding, tensor.dtype)
    if row_bits % 8:  # rows share bytes: all of it at once

        def produce_all(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
            yield place, packed(tensor, 0, tensor.rows)

        return Job(
            name=tensor.name,
            rows=1,
            columns=tensor.elements,
            produce=produce_all,
            nbytes=tensor.nbytes,
        )

    def produce(start: int, stop: int) -> Iterator[tuple[int, Buffer]]:
        yield place + start * row_bits // 8, packed(tensor, start, stop)

    return tensor_job(tensor, produce)


def place_of(tensor: Tensor) -> tuple[object, ...] | None:
    """What two constants have in common that are the same bytes of a file; None where nobody knows."""
    storage = tensor.storage
    source = None
    if isinstance(storage, PackedStorage):
        source = storage.source
    elif isinstance(storage, GridStorage):
        source = storage.codes.source
    if not isinstance(source, FileRange):
        return None
    codes = str(tensor.encoding.codes)
    return (str(source.source.path), source.offset, source.nbytes, codes, tensor.dtype == "bool")
