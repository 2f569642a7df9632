"""Dense constants stored sparse again, in the pattern that they had."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import given, is_weight, name_of
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.plain import numpy_type
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.hints import kept
from w2e_bridge.kernels.linear import SPARSE
from w2e_tflite.packing import whole
from w2e_tflite.quant import Odd
from w2e_tflite.record import Held, Record, make
from w2e_tflite.sparsity import Index, Level, Pattern

_WIDTHS = {"Uint8Vector": "u1", "Uint16Vector": "<u2", "Int32Vector": "<i4"}
"""Tables that hold indices, and as what."""


_BLOCK = 16
"""LiteRT's kernel of sparse int8 weights wants blocks of so many columns."""


def read_sparse(graph: ir.Graph) -> Iterator[str]:
    """Names of the weights that a kernel is to read as they are stored, sparse."""
    for node in graph:
        if kept(node, {SPARSE: False})[SPARSE]:
            weights = given(node, 1)
            maker = None if weights is None else weights.producer()
            if maker is not None and maker.op_type == "Transpose":
                weights = given(maker, 0)
            if weights is not None and is_weight(weights):
                yield name_of(weights)


def pattern_for(tensor: Tensor) -> Pattern | None:
    """The pattern that a kernel of sparse weights reads; None where there is none."""
    if str(tensor.encoding.codes) != "int8" or len(tensor.shape) != 2 or tensor.shape[1] % _BLOCK:
        return None
    return Pattern(
        order=(0, 1, 2),
        block_map=(1,),
        sizes=(tensor.shape[0], tensor.shape[1] // _BLOCK, _BLOCK),
        listed={1: ("Uint8Vector", "Uint8Vector")},
    )


def sparse_records(tensor: Tensor, pattern: Pattern) -> tuple[Record, bytes] | None:
    """The sparsity parameters of a constant and its stored numbers; None where it does not fit the pattern."""
    kind = numpy_type(Encoding(codes=tensor.encoding.codes))
    if tensor.encoding.codes.bits != 8 * kind.itemsize:
        return None
    dense = np.frombuffer(whole(tensor), kind)
    try:
        sparse = pattern.levels(tensor.shape, dense)
        values = sparse.sparsify(dense)
    except Odd:
        return None
    levels = [
        _level(level, pattern.listed.get(number)) for number, level in enumerate(sparse.levels)
    ]
    record = make(
        "SparsityParameters",
        {
            "traversal_order": np.asarray(pattern.order, np.int32),
            "block_map": np.asarray(pattern.block_map, np.int32) if pattern.block_map else None,
            "dim_metadata": tuple(levels),
        },
    )
    return record, values.tobytes()


def _level(level: Level, vectors: tuple[str, str] | None) -> Record:
    if level.segments is None or level.indices is None or vectors is None:
        return make("DimensionMetadata", {"dense_size": level.size})
    segments, indices = (
        _vector(name, numbers)
        for name, numbers in zip(vectors, (level.segments, level.indices), strict=True)
    )
    values = {"format": 1, "array_segments": segments, "array_indices": indices}
    return make("DimensionMetadata", values)


def _vector(name: str, numbers: Index) -> Record:
    """Indices in the table that they had, or a wider one."""
    most = int(numbers.max(initial=0))
    fitting = [n for n, width in _WIDTHS.items() if most <= np.iinfo(width).max]
    chosen = name if name in fitting else fitting[0]
    array = numbers.astype(_WIDTHS[chosen])
    return make(chosen, {"values": Held(data=array.tobytes()) if array.itemsize == 1 else array})
