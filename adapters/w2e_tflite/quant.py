"""TensorFlow Lite's quantization to encodings and back.

What the numbers mean: schema.fbs, `QuantizationParameters`: real = scale * (code - zero point), the scales
and zero points of a tensor one for all, or one for each slice along `quantized_dimension`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.graph.planes import ArrayRange, Grid, Matrix, padded
from w2e_bridge.graph.qdq_weights import shortest
from w2e_bridge.ir.activation import ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding, Offset, OffsetKind
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_tflite.record import Record
from w2e_tflite.schema import enums

VALUES = ("int8", "uint8", "int16", "int4", "uint4", "int2", "uint16")
"""Types whose scale makes a value of the graph a quantized one."""

WEIGHTS = (*VALUES, "int32", "int64")
"""Types whose scale makes a constant a quantized one; the wide ones are biases."""


def dtype_of(record: Record) -> str | None:
    """The element type of a tensor by our name; None of those that hold no numbers."""
    name = enums()["TensorType"].members.get(record.integer("type"), "").lower()
    return name if name in PLAIN else None


def type_number(dtype: str) -> int | None:
    """The inverse of `dtype_of`; None of a type that the format does not have."""
    return enums()["TensorType"].numbers.get(dtype.upper())


class Odd(Exception):  # noqa: N818 - an answer, not an error
    """Parameters that don't go with their tensor; `str()` is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parameters:
    """Scales and zero points of a tensor.

    Attributes:
        scale: float32, (1,) or one for each slice.
        zero: int64, of the same length; None where all are 0.
        axis: of the slices, None where there is one scale for all.
        repair: what of the file had to be read otherwise than it says, or "".
    """

    scale: NDArray[np.float32]
    zero: NDArray[np.int64] | None = None
    axis: int | None = None
    repair: str = ""


def parameters(record: Record, shape: tuple[int, ...]) -> Parameters | None:
    """The parameters of a tensor, None where it has no scale.

    Raises:
        Odd: they don't go with the tensor.
    """
    said = record.record("quantization")
    scale = None if said is None else said.array("scale")
    if said is None or scale is None or not scale.size:
        return None
    zero = _zeros(said, scale.size)
    if scale.size == 1:
        return Parameters(scale=scale, zero=zero)
    axis, repair = _axis(said.integer("quantized_dimension"), scale.size, shape)
    return Parameters(scale=scale, zero=zero, axis=axis, repair=repair)


def _zeros(said: Record, count: int) -> NDArray[np.int64] | None:
    zero = said.array("zero_point")
    if zero is None or not zero.any():
        return None
    if zero.size not in (1, count):
        raise Odd(f"{count} scales, {zero.size} zero points")
    return np.ascontiguousarray(np.broadcast_to(zero, (count,)))


def _axis(said: int, count: int, shape: tuple[int, ...]) -> tuple[int, str]:
    """The quantized dimension. LiteRT refuses files whose dimension is stray; old converters made them."""
    if 0 <= said < len(shape) and shape[said] == count:
        return said, ""
    fitting = [axis for axis, extent in enumerate(shape) if extent == count]
    if len(fitting) != 1:
        raise Odd(f"{count} scales along dimension {said} of {shape}")
    return fitting[
        0
    ], f"quantized_dimension {said} of {len(shape)} dimensions, read as {fitting[0]}"


def weight_encoding(codes: Integer, found: Parameters, rank: int) -> Encoding:
    """How a quantized constant is stored."""
    extents = extents_of(found, rank)
    offset = None
    if found.zero is not None:
        offset = Offset(kind=OffsetKind.ZERO_POINT, encoding=Encoding(codes=codes))
    return Encoding(codes=codes, block=shortest(extents), scale=FLOAT32, offset=offset)


def extents_of(found: Parameters, rank: int) -> tuple[int, ...]:
    """Extents of the blocks that share a scale, on all axes."""
    return tuple(1 if axis == found.axis else WHOLE for axis in range(max(rank, 1)))


def grids(codes: Integer, found: Parameters, shape: tuple[int, ...]) -> tuple[Grid, Grid | None]:
    """Scales and zero points of a constant as grids."""
    extents = extents_of(found, len(shape))
    scale = grid(found.scale, FLOAT32, shape, extents)
    if found.zero is None:
        return scale, None
    return scale, grid(codes_of(found.zero, codes), Encoding(codes=codes), shape, extents)


def codes_of(numbers: NDArray[Any], codes: Integer) -> NDArray[Any]:
    """Zero points in the type of the codes.

    Raises:
        Odd: one is no code.
    """
    if numbers.min() < codes.low or numbers.max() > codes.high:
        raise Odd(f"zero points from {numbers.min()} to {numbers.max()} of {codes} codes")
    return numbers.astype(numpy_type(Encoding(codes=codes)))


def grid(
    numbers: NDArray[Any], encoding: Encoding, shape: tuple[int, ...], extents: tuple[int, ...]
) -> Grid:
    """Numbers, one for each block of an array of `shape`, as a grid."""
    extents = padded(extents, len(shape) or 1)
    last = 1 if extents[-1] == WHOLE else -(-((shape or (1,))[-1]) // extents[-1])
    width = 8 * numbers.itemsize
    codes = encoding.codes
    if isinstance(codes, Integer) and codes.bits < 8:  # a matrix wants the bits of the code alone
        numbers = numbers & numbers.dtype.type((1 << codes.bits) - 1)
    data = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8)
    matrix = Matrix(
        source=ArrayRange(data=data),
        codes=codes,
        columns=last,
        row_bits=last * width,
        width=width,
    )
    return Grid(matrix=matrix, leading=shape[:-1], extents=extents[:-1])


def value_quantization(codes: Integer, found: Parameters) -> ActivationQuantization:
    """The quantization of a graph value.

    Raises:
        Odd: a scale that can't be divided by, or a zero point that is no code.
    """
    if not (np.isfinite(found.scale).all() and (found.scale > 0).all()):
        raise Odd("a scale that is not above 0")
    whole = found.axis is None
    shape = () if whole else found.scale.shape
    zero = None if found.zero is None else codes_of(found.zero, codes).reshape(shape)
    return ActivationQuantization(
        codes=codes,
        granularity=Granularity.TENSOR if whole else Granularity.CHANNEL,
        scale=found.scale.reshape(shape),
        zero_point=zero,
        axis=found.axis,
    )


def integer_codes(dtype: str) -> Integer | None:
    """The codes of an integer type, None of floats."""
    codes = PLAIN[dtype].codes
    return codes if isinstance(codes, Integer) else None


def plain_name(encoding: Encoding) -> str:
    """The element type of an encoding's codes by our name."""
    codes = encoding.codes
    assert isinstance(codes, Integer | Float)
    return str(codes)
