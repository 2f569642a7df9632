"""Permuted constants: codes and grids in another order, the same numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.graph.samples import tensors
from tests.graph.support import same_bits
from w2e_bridge.ir.codes import VectorTable
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.passes.layout.constants import narrowed, turned, widened


def refused(e: Encoding | None) -> bool:
    """Encodings that have no axes to speak of, and those whose scales have such encodings."""
    if e is None:
        return False
    own = e.flat or e.permutation is not None or isinstance(e.codes, VectorTable)
    return own or refused(e.scale) or (e.offset is not None and refused(e.offset.encoding))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(tensor=tensors(), data=st.data())
def test_numbers_are_moved(tensor: Tensor, data: st.DataObject) -> None:
    rank = data.draw(st.integers(len(tensor.shape), 5))
    perm = tuple(data.draw(st.permutations(range(rank))))
    wide = widened(tensor, rank)
    found = turned(wide, perm)
    if found is None:
        assert refused(tensor.encoding)
        return
    assume(rank)
    values = tensor.dequantize().reshape(wide.shape).transpose(perm)
    assert same_bits(found.dequantize(), np.ascontiguousarray(values))
    short = narrowed(found)
    assert short.shape[:1] != (1,)
    assert same_bits(short.dequantize(), values.reshape(short.shape))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(tensor=tensors(), data=st.data())
def test_pieces_are_those_of_the_whole(tensor: Tensor, data: st.DataObject) -> None:
    perm = tuple(data.draw(st.permutations(range(len(tensor.shape)))))
    found = turned(tensor, perm)
    if found is None:
        return
    rows = [found.decode_rows(row, row + 1) for row in range(found.rows)]
    assert same_bits(np.concatenate(rows).reshape(found.shape), found.dequantize())
