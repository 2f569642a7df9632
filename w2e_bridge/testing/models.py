"""The zoo: small canonical models in memory, each with one trait that a format may or may not carry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from w2e_bridge.ir.codes import Integer, Table
from w2e_bridge.ir.encoding import (
    FLOAT16,
    FLOAT32,
    Encoding,
    Offset,
    OffsetKind,
    blocked,
    zero_point,
)
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import OwnedStorage, Tensor, plain_tensor

ROWS, COLUMNS, BLOCK = 6, 64, 32


def _random() -> np.random.Generator:
    return np.random.default_rng(20)


def _tensor(name: str, encoding: Encoding, parts: Parts) -> Tensor:
    storage = OwnedStorage(whole=parts)
    shape = (ROWS, COLUMNS)
    return Tensor(name=name, shape=shape, dtype="float32", encoding=encoding, storage=storage)


def _scales(dtype: type[np.floating]) -> Parts:
    return Parts(codes=_random().normal(size=(ROWS, COLUMNS // BLOCK)).astype(dtype))


def _codes(low: int, high: int, dtype: type[np.integer]) -> np.ndarray:
    return _random().integers(low, high, (ROWS, COLUMNS), dtype=dtype, endpoint=True)


def _of(*tensors: Tensor) -> Model:
    return Model(tensors={tensor.name: tensor for tensor in tensors})


def plain() -> Model:
    """float32 and float16 numbers, a vector among them."""
    values = _random().normal(size=(ROWS, COLUMNS)).astype(np.float32)
    return _of(
        plain_tensor("a.weight", values),
        plain_tensor("b.weight", values.astype(np.float16), "float32"),
        plain_tensor("c.bias", values[0]),
    )


def symmetric() -> Model:
    """Signed codes of 4 bits, blocks of 32, float16 scales of either sign."""
    encoding = blocked(Integer(bits=4, signed=True), BLOCK, FLOAT16)
    parts = Parts(codes=_codes(-8, 7, np.int8), scale=_scales(np.float16))
    return _of(_tensor("w", encoding, parts))


def with_zero_points() -> Model:
    """Unsigned codes of 4 bits with a stored zero point for every block."""
    encoding = blocked(Integer(bits=4), BLOCK, FLOAT32, zero_point(4))
    zeros = _random().integers(0, 16, (ROWS, COLUMNS // BLOCK), dtype=np.uint8)
    codes = _codes(0, 15, np.uint8)
    parts = Parts(codes=codes, scale=_scales(np.float32), offset=Parts(codes=zeros))
    return _of(_tensor("w", encoding, parts))


def two_levels() -> Model:
    """Scales that are codes of 6 bits with a float16 of their own, and minimums likewise."""
    inner = blocked(Integer(bits=6), COLUMNS // BLOCK, FLOAT16)
    offset = Offset(kind=OffsetKind.NEGATIVE_BIAS, encoding=inner)
    encoding = blocked(Integer(bits=4), BLOCK, inner, offset)
    grid = _random().integers(0, 64, (ROWS, COLUMNS // BLOCK), dtype=np.uint8)
    factor = Parts(codes=_random().normal(size=(ROWS, 1)).astype(np.float16))
    level = Parts(codes=grid, scale=factor)
    return _of(
        _tensor("w", encoding, Parts(codes=_codes(0, 15, np.uint8), scale=level, offset=level))
    )


def look_up() -> Model:
    """Codes of 2 bits into a table of odd values."""
    table = Table(name="odd", values=(-3.0, -1.0, 0.5, 2.0))
    parts = Parts(codes=_codes(0, 3, np.uint8), scale=_scales(np.float16))
    return _of(_tensor("w", blocked(table, BLOCK, FLOAT16), parts))


ZOO: Mapping[str, Callable[[], Model]] = MappingProxyType(
    {
        "plain": plain,
        "symmetric": symmetric,
        "with_zero_points": with_zero_points,
        "two_levels": two_levels,
        "look_up": look_up,
    }
)
"""Name to a function that makes the model afresh."""
