"""Sparse constants, with LiteRT's DENSIFY as the judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as generated
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.w2e_tflite.maker import Op, Spec, build, const, litert
from tests.w2e_tflite.through import lifted, same_in_litert, through
from w2e_bridge.errors import FormatError
from w2e_tflite.quant import Odd
from w2e_tflite.sparsity import Level, Pattern, Sparse, Walk, pattern_of

VECTORS = {"Int32Vector": np.int32, "Uint16Vector": np.uint16, "Uint8Vector": np.uint8}

BLOCKED = Pattern(
    order=(0, 1, 2), block_map=(1,), sizes=(6, 4, 2), listed={1: ("Uint16Vector", "Uint8Vector")}
)
PLAIN = Pattern(
    order=(0, 1), block_map=(), sizes=(6, 8), listed={1: ("Uint8Vector", "Uint8Vector")}
)
TURNED = Pattern(
    order=(1, 0, 3, 2),
    block_map=(0, 1),
    sizes=(4, 3, 2, 2),
    listed={1: ("Int32Vector", "Int32Vector")},
)
PATTERNS = {"blocked": BLOCKED, "plain": PLAIN, "turned": TURNED}


def dense_numbers(seed: int, dtype: str = "int8") -> NDArray[Any]:
    random = np.random.default_rng(seed)
    numbers = random.integers(-9, 10, (6, 8)) * (random.random((6, 8)) < 0.3)
    return numbers.astype(dtype)


def sparsity_of(sparse: Sparse, pattern: Pattern) -> Any:
    """The parameters in LiteRT's own words."""
    made = generated.SparsityParametersT()
    made.traversalOrder, made.blockMap = list(pattern.order), list(pattern.block_map) or None
    made.dimMetadata = []
    for number, level in enumerate(sparse.levels):
        item = generated.DimensionMetadataT()
        if level.segments is None or level.indices is None:
            item.denseSize = level.size
        else:
            item.format = 1
            names = pattern.listed[number]
            for field, name, numbers in zip(
                ("Segments", "Indices"), names, (level.segments, level.indices), strict=True
            ):
                table = getattr(generated, f"{name}T")()
                table.values = numbers.astype(VECTORS[name])
                setattr(item, f"array{field}", table)
                kind = getattr(generated.SparseIndexVector, name)
                setattr(item, f"array{field}Type", kind)
        made.dimMetadata.append(item)
    return made


def sparse_file(dense: NDArray[Any], pattern: Pattern, ops: list[Op]) -> bytes:
    """A file whose constant "w" is stored sparse."""
    sparse = pattern.levels(dense.shape, dense)
    data = build(ops)
    model = generated.ModelT.InitFromPackedBuf(data, 0)
    (tensor,) = [t for t in model.subgraphs[0].tensors if t.name == b"w"]
    tensor.sparsity = sparsity_of(sparse, pattern)
    model.buffers[tensor.buffer].data = np.frombuffer(sparse.sparsify(dense).tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def densified(dense: NDArray[Any], pattern: Pattern) -> bytes:
    """x + DENSIFY(w)."""
    w = const("w", dense)
    held = Spec("held", dense.shape, str(dense.dtype))
    x, y = Spec("x", dense.shape, str(dense.dtype)), Spec("y", dense.shape, str(dense.dtype))
    return sparse_file(dense, pattern, [Op("DENSIFY", [w], [held]), Op("ADD", [x, held], [y])])


@pytest.mark.parametrize("name", PATTERNS)
def test_the_dense_numbers_are_what_litert_computes_with(name: str, tmp_path: Path) -> None:
    dense = dense_numbers(1, "float32")
    data = densified(dense, PATTERNS[name])
    model = lifted(data, tmp_path)
    np.testing.assert_array_equal(model.tensors["w"].dequantize(), dense)
    (y,) = litert(data, [np.zeros((6, 8))])[0]
    np.testing.assert_array_equal(y, dense)


@pytest.mark.parametrize("name", PATTERNS)
def test_it_is_stored_so_again(name: str, tmp_path: Path) -> None:
    data = densified(dense_numbers(2, "float32"), PATTERNS[name])
    back = through(data, tmp_path)
    same_in_litert(data, back)
    one, other = (_stored(model) for model in (data, back))
    assert one == other
    model = generated.ModelT.InitFromPackedBuf(back, 0)
    assert len(model.subgraphs[0].operators) == 2  # DENSIFY is there again


def _stored(data: bytes) -> tuple[Any, ...]:
    model = generated.ModelT.InitFromPackedBuf(data, 0)
    (tensor,) = [t for t in model.subgraphs[0].tensors if t.name == b"w"]
    sparsity = tensor.sparsity
    levels = [
        (
            item.format,
            item.denseSize,
            item.arraySegmentsType,
            None if item.arraySegments is None else list(item.arraySegments.values),
            item.arrayIndicesType,
            None if item.arrayIndices is None else list(item.arrayIndices.values),
        )
        for item in sparsity.dimMetadata
    ]
    held = bytes(model.buffers[tensor.buffer].data)
    return list(sparsity.traversalOrder), levels, held


def test_stored_zeros_are_kept(tmp_path: Path) -> None:
    dense = np.zeros((6, 8), np.float32)
    dense[0, 0] = 1
    kept = replace(BLOCKED, empty={1: (5, 23)})
    data = densified(dense, kept)
    assert len(_stored(data)[2]) == 3 * 2 * 4  # two blocks of zeros
    assert _stored(through(data, tmp_path)) == _stored(data)


def test_an_operator_that_reads_sparse_weights_itself(tmp_path: Path) -> None:
    dense = np.tile(dense_numbers(3, "float32"), (1, 2))
    pattern = Pattern(
        order=(0, 1, 2), block_map=(1,), sizes=(6, 4, 4), listed={1: ("Uint8Vector", "Uint8Vector")}
    )
    x, y = Spec("x", (2, 16)), Spec("y", (2, 6))
    product = Op("FULLY_CONNECTED", [x, const("w", dense), None], [y], version=8)
    data = sparse_file(dense, pattern, [product])
    model = lifted(data, tmp_path)
    np.testing.assert_array_equal(model.tensors["w"].dequantize(), dense)
    back = through(data, tmp_path)
    same_in_litert(data, back)
    assert _stored(back) == _stored(data)


@pytest.mark.parametrize("what", ["segments", "indices", "order", "numbers"])
def test_parameters_that_do_not_go_together(what: str, tmp_path: Path) -> None:
    data = densified(dense_numbers(1, "float32"), BLOCKED)
    model = generated.ModelT.InitFromPackedBuf(data, 0)
    (tensor,) = [t for t in model.subgraphs[0].tensors if t.name == b"w"]
    level = tensor.sparsity.dimMetadata[1]
    if what == "segments":
        level.arraySegments.values = level.arraySegments.values[:-1]
    elif what == "indices":
        level.arrayIndices.values = np.full_like(level.arrayIndices.values, 200)
    elif what == "order":
        tensor.sparsity.traversalOrder = [0, 1, 1]
    else:
        held = model.buffers[tensor.buffer]
        held.data = held.data[:-4]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(FormatError, match="'w'"):
        lifted(bytes(builder.Output()), tmp_path)


def test_a_pattern_is_text() -> None:
    again = pattern_of(TURNED.text())
    assert again is not None
    assert again.text() == TURNED.text()
    assert pattern_of("no pattern") is None
    assert pattern_of('{"order": 3}') is None


@given(seed=st.integers(0, 10_000), name=st.sampled_from(list(PATTERNS)), share=st.floats(0.0, 1.0))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_sparse_and_dense_again(seed: int, name: str, share: float) -> None:
    random = np.random.default_rng(seed)
    dense = (random.integers(-9, 10, (6, 8)) * (random.random((6, 8)) < share)).astype(np.int16)
    sparse = PATTERNS[name].levels(dense.shape, dense)
    np.testing.assert_array_equal(sparse.densify(sparse.sparsify(dense)), dense.reshape(-1))
    assert sparse.empty(dense) == {}


def test_a_walk_that_misses_numbers_is_refused() -> None:
    walk = Walk(shape=(6, 8), order=(0, 1, 2), block_map=(1,), sizes=(6, 3, 2))
    with pytest.raises(Odd):
        Sparse(walk=walk, levels=(Level(size=6), Level(size=3), Level(size=2))).densify(
            np.zeros(36)
        )
