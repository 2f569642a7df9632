"""Constants in another order of axes: codes, scales and offsets are moved, none is computed anew."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from w2e_bridge.graph.planes import blocks, padded
from w2e_bridge.graph.qdq_weights import shortest
from w2e_bridge.ir.codes import VectorTable
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_bridge.passes.layout.permutations import Perm, still


def turned(tensor: Tensor, perm: Perm) -> Tensor | None:
    """A tensor with its axes permuted, None where its encoding can't be; nothing is read before it is asked for.

    before: W, codes in blocks that share a scale.
    after: Transpose(W), the same codes, each with its own scale and offset.
    why exact: every number is decoded from the numbers that it was decoded from.
    """
    if still(perm):
        return tensor
    shape = tuple(tensor.shape[axis] for axis in perm)
    encoding = _encoding(tensor.encoding, perm)
    if encoding is None:
        return None

    def compute(start: int, stop: int) -> Parts:
        return _taken(_whole(tensor, perm), slice(start, stop))

    storage = ComputedStorage(compute=compute)
    return replace(tensor, shape=shape, encoding=encoding, storage=storage)


def widened(tensor: Tensor, rank: int) -> Tensor:
    """A tensor with leading axes of extent 1, as broadcasting has it."""
    return replace(tensor, shape=(1,) * (rank - len(tensor.shape)) + tensor.shape)


def narrowed(tensor: Tensor) -> Tensor:
    """The same without leading axes of extent 1."""
    shape = stripped(tensor.shape)
    block = tensor.encoding.block
    if block is None or tensor.encoding.flat:
        return replace(tensor, shape=shape)
    short = block[-len(shape) :] if shape else block[-1:]
    return replace(tensor, shape=shape, encoding=replace(tensor.encoding, block=short))


def stripped(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without leading ones."""
    first = next((axis for axis, extent in enumerate(shape) if extent != 1), len(shape))
    return shape[first:]


def _encoding(encoding: Encoding, perm: Perm) -> Encoding | None:
    """The blocks of a permuted tensor, None where they can't be permuted."""
    if encoding.flat or encoding.permutation or isinstance(encoding.codes, VectorTable):
        return None
    scale, offset = encoding.scale, encoding.offset
    if scale is not None and (scale := _encoding(scale, perm)) is None:
        return None
    if offset is not None:
        stored = None if offset.encoding is None else _encoding(offset.encoding, perm)
        if offset.encoding is not None and stored is None:
            return None
        offset = replace(offset, encoding=stored, block=_block(offset.block, perm))
    return replace(encoding, block=_block(encoding.block, perm), scale=scale, offset=offset)


def _block(block: tuple[int, ...] | None, perm: Perm) -> tuple[int, ...] | None:
    if block is None or not perm:
        return block
    extents = padded(block, len(perm))
    return shortest(tuple(extents[axis] for axis in perm))


@lru_cache(maxsize=2)
def _whole(tensor: Tensor, perm: Perm) -> Parts:
    """All parts of a permuted tensor; the last ones are kept while it is read in pieces."""
    parts = tensor.storage.parts(0, tensor.rows)
    return _permuted(tensor.encoding, parts, tensor.shape, perm)


def _permuted(encoding: Encoding, parts: Parts, shape: tuple[int, ...], perm: Perm) -> Parts:
    offset = encoding.offset
    own = encoding.block if offset is None or offset.block is None else offset.block
    stored = None if offset is None else offset.encoding
    return Parts(
        codes=_matrix(_all_rows(parts.codes, shape).reshape(shape).transpose(perm)),
        scale=_grid(encoding.scale, parts.scale, encoding.block, shape, perm),
        offset=_grid(stored, parts.offset, own, shape, perm),
    )


def _matrix(array: AnyArray) -> AnyArray:
    columns = array.shape[-1] if array.ndim else 1
    return np.ascontiguousarray(array).reshape(math.prod(array.shape[:-1]), columns)


def _all_rows(codes: AnyArray, shape: tuple[int, ...]) -> AnyArray:
    rows = math.prod(shape[:-1])
    return np.broadcast_to(codes, (rows, codes.shape[-1])) if codes.shape[0] == 1 else codes


def _grid(
    encoding: Encoding | None,
    parts: Parts | None,
    block: tuple[int, ...] | None,
    shape: tuple[int, ...],
    perm: Perm,
) -> Parts | None:
    """Scales or offsets, which stand in a row for each row of the tensor, after the permutation."""
    if encoding is None or parts is None:
        return None
    extents = padded(block, len(shape))
    small = blocks(shape, extents)
    firsts = [np.arange(n) * (e or 1) for n, e in zip(small[:-1], extents[:-1], strict=True)]
    rows = _row_numbers(firsts, shape[:-1])
    moved = _permuted(encoding, _taken(parts, rows), small, perm)
    after = tuple(shape[axis] for axis in perm)
    sizes = tuple(extents[axis] for axis in perm)
    return _taken(moved, _owners(after[:-1], sizes[:-1], tuple(small[a] for a in perm)[:-1]))


def _row_numbers(places: list[AnyArray], leading: tuple[int, ...]) -> AnyArray:
    """Numbers of the rows that stand at the given places of the leading axes."""
    if not leading:
        return np.zeros(1, np.int64)
    mesh = np.meshgrid(*places, indexing="ij")
    return np.ravel_multi_index([m.reshape(-1) for m in mesh], leading)


def _owners(leading: tuple[int, ...], extents: tuple[int, ...], grid: tuple[int, ...]) -> AnyArray:
    """The row of a grid that each row of a tensor belongs to."""
    if not leading:
        return np.zeros(1, np.int64)
    places = [
        np.arange(n) // e if e else np.zeros(n, np.int64)
        for n, e in zip(leading, extents, strict=True)
    ]
    return _row_numbers(places, grid)


def _taken(parts: Parts, rows: AnyArray | slice) -> Parts:
    """Some rows of parts; one row that all share stays."""
    codes = parts.codes
    return Parts(
        codes=codes if codes.shape[0] == 1 else codes[rows],
        scale=None if parts.scale is None else _taken(parts.scale, rows),
        offset=None if parts.offset is None else _taken(parts.offset, rows),
    )
