"""Random parts for any encoding, and encodings of every kind.

Grids are drawn as they lie on all axes and then repeated along each, which is what `Parts` wants: written
apart from the code that maps rows to blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tests.graph.support import AnyArray, tensor
from w2e_bridge.ir.codes import CodeMap, Float, Integer, Table, VectorTable
from w2e_bridge.ir.encoding import (
    WHOLE,
    Companion,
    Encoding,
    Offset,
    OffsetKind,
    Permutation,
)
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.plain import numpy_type
from w2e_bridge.ir.tensor import Tensor


def make_parts(encoding: Encoding, shape: Sequence[int], seed: int) -> Parts:
    """Parts of a whole tensor of `shape`."""
    shape = tuple(shape) or (1,)
    return _parts(encoding, shape, np.random.default_rng(seed), list(np.ndindex(shape[:-1])))


def make_tensor(name: str, encoding: Encoding, shape: Sequence[int], seed: int = 0) -> Tensor:
    """A float32 tensor in memory."""
    return tensor(name, encoding, make_parts(encoding, shape, seed), shape)


Places = Sequence[tuple[int, ...]]


def _parts(
    encoding: Encoding, shape: tuple[int, ...], chance: np.random.Generator, rows: Places
) -> Parts:
    """Parts with a row for each of the given places on the leading axes of `shape`."""
    codes = encoding.codes
    columns = shape[-1]
    signs = None
    if isinstance(codes, VectorTable):
        if codes.signs:
            signs = _at(chance.integers(0, 256, (*shape[:-1], columns // 8)).astype(np.uint8), rows)
        columns //= codes.width
    drawn = draw_codes(codes, (*shape[:-1], columns), chance)
    offset = encoding.offset
    block = encoding.block if offset is None else offset.block or encoding.block
    stored = None if offset is None else offset.encoding
    return Parts(
        codes=_at(drawn, rows),
        signs=signs,
        scale=_grid(encoding.scale, encoding.block, shape, chance, rows),
        offset=_grid(stored, block, shape, chance, rows),
    )


def _grid(
    encoding: Encoding | None,
    block: tuple[int, ...] | None,
    shape: tuple[int, ...],
    chance: np.random.Generator,
    rows: Places,
) -> Parts | None:
    if encoding is None:
        return None
    named = (block or ())[-len(shape) :]
    extents = (1,) * (len(shape) - len(named)) + named
    sizes = [e or n for e, n in zip(extents, shape, strict=True)]
    small = tuple(math.ceil(n / size) for n, size in zip(shape, sizes, strict=True))
    inside = [tuple(at // size for at, size in zip(place, sizes, strict=False)) for place in rows]
    return _parts(encoding, small, chance, inside)


def _at(array: AnyArray, rows: Places) -> AnyArray:
    return np.stack([array[place] for place in rows]) if rows else array.reshape(0, array.shape[-1])


def draw_codes(codes: CodeMap, shape: tuple[int, ...], chance: np.random.Generator) -> AnyArray:
    """Codes of all values that there are."""
    kind = numpy_type(Encoding(codes=codes))
    match codes:
        case Integer():
            drawn = chance.integers(codes.low, codes.high, shape, kind, endpoint=True)
        case Float():
            drawn = chance.normal(size=shape)
        case Table():
            drawn = chance.integers(0, len(codes.values), shape)
        case VectorTable():
            drawn = chance.integers(0, len(codes.grid), shape)
    with np.errstate(all="ignore"):
        return np.asarray(drawn).astype(kind)


INTEGERS: list[CodeMap] = [
    Integer(bits=b, signed=s) for b in (1, 2, 3, 4, 5, 6, 7, 8, 16, 32) for s in (False, True)
]
FLOATS: list[CodeMap] = [
    Float(name=n)
    for n in (
        "float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2fnuz",
        "float8_e8m0fnu", "float4_e2m1fn", "float6_e2m3fn",
    )
]  # fmt: skip
TABLES: list[CodeMap] = [
    Table(name="nf4", values=tuple(np.linspace(-1, 1, 16).astype(np.float32).tolist())),
    Table(name="nf4", values=(0.0, -0.5, 3.0)),
    Table(name="bytes", values=tuple(float(n) for n in range(256))),
]
_GRID = np.random.default_rng(9)
VECTORS = [
    VectorTable(
        name="grid",
        width=width,
        values=_GRID.integers(-3, 4, (entries, width)).astype(np.int8).tobytes(),
        signs=signs,
    )
    for width, entries, signs in ((8, 256, True), (4, 2048, False), (8, 600, True))
]

_plain = st.sampled_from([Encoding(codes=codes) for codes in (*INTEGERS, *FLOATS, *TABLES)])


def _blocks(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    count = draw(st.integers(1, len(shape)))
    return tuple(draw(st.sampled_from([WHOLE, 1, 2, 3, n])) for n in shape[-count:])


@st.composite
def encodings(draw: st.DrawFn, shape: tuple[int, ...], depth: int = 2) -> Encoding:
    """An encoding of any kind that goes with a shape."""
    vectors = shape[-1] % 8 == 0 and depth == 2 and draw(st.booleans())
    base = Encoding(codes=draw(st.sampled_from(VECTORS))) if vectors else draw(_plain)
    if not depth or draw(st.booleans()):
        return base
    block = _blocks(draw, shape)
    extents = (1,) * (len(shape) - len(block)) + block
    small = tuple(math.ceil(n / (e or n)) for n, e in zip(shape, extents, strict=True))
    return replace(
        base,
        block=block,
        scale=draw(encodings(small, depth - 1)),
        scale_divides=draw(st.booleans()),
        offset=draw(st.none() | _offsets(shape, small)),
        permutation=draw(st.none() | st.just(Permutation(axis=1, tensor="w.g_idx"))),
        companions=draw(st.sampled_from([(), (Companion(kind="hadamard", tensor="w.h"),)])),
        symmetric=draw(st.sampled_from([None, True, False])),
        narrow_range=draw(st.sampled_from([None, True, False])),
    )


@st.composite
def _offsets(draw: st.DrawFn, shape: tuple[int, ...], small: tuple[int, ...]) -> Offset:
    kind = draw(st.sampled_from(OffsetKind))
    if kind is OffsetKind.ZERO_POINT and draw(st.booleans()):
        return Offset(kind=kind, constant=draw(st.integers(-8, 200)))
    if draw(st.booleans()):
        return Offset(kind=kind, encoding=draw(encodings(small, 1)))
    return Offset(kind=kind, encoding=draw(_plain), block=_blocks(draw, shape))


SHAPES = [(), (5,), (3, 8), (4, 16), (2, 3, 8), (2, 2, 3, 5), (7, 1)]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A tensor with any encoding."""
    shape = draw(st.sampled_from(SHAPES))
    encoding = draw(encodings(shape or (1,)))
    return make_tensor("w", encoding, shape, draw(st.integers(0, 1000)))
