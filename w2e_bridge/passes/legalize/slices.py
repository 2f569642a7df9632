"""One of the matrices that are stacked in a constant."""

from __future__ import annotations

from dataclasses import replace

from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor


def taken(tensor: Tensor, index: int, first: int = 0, count: int | None = None) -> Tensor:
    """Rows of one slice of the first axis, without that axis; nothing is read before it is asked for.

    Args:
        tensor: of rank 2 or more.
        index: of the slice.
        first: row of it to begin with.
        count: of rows; None = all the rest.
    """
    rows = tensor.rows // tensor.shape[0] if len(tensor.shape) > 2 else 1
    if len(tensor.shape) == 2:
        return replace(
            tensor,
            shape=tensor.shape[1:],
            encoding=_encoding(tensor),
            storage=_rows(tensor, index, 1),
        )
    wanted = rows - first if count is None else count
    storage = _rows(tensor, index * rows + first, wanted)
    shape = (wanted, *tensor.shape[2:]) if len(tensor.shape) == 3 else tensor.shape[1:]
    return replace(tensor, shape=shape, encoding=_encoding(tensor), storage=storage)


def _rows(tensor: Tensor, start: int, count: int) -> ComputedStorage:
    source = tensor.storage

    def compute(first: int, last: int) -> Parts:
        return source.parts(start + first, start + min(last, count))

    return ComputedStorage(compute=compute)


def _encoding(tensor: Tensor) -> Encoding:
    """Without what its block says of the first axis."""
    block, rank = tensor.encoding.block, len(tensor.shape)
    if block is None or len(block) < rank:
        return tensor.encoding
    return replace(tensor.encoding, block=block[1:])
