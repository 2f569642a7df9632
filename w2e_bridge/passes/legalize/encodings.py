"""What a constant's encoding says in the words of integer kernels, and the same codes signed or unsigned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.graph.planes import padded
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import WHOLE, Encoding, Offset, OffsetKind, constant_zero, integers
from w2e_bridge.ir.parts import AnyArray, Parts, decode
from w2e_bridge.ir.tensor import ComputedStorage, OwnedStorage, Tensor

SIGNED, UNSIGNED = Integer(bits=8, signed=True), Integer(bits=8)
MIDDLE = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scales:
    """Scales and zero points of a constant, one for all or one for each slice of an axis.

    Attributes:
        scale: float32 (slices,).
        zero: int64 (slices,).
        axis: of the slices, None where there is one scale for all.
    """

    scale: NDArray[np.float32]
    zero: NDArray[np.int64]
    axis: int | None

    @property
    def symmetric(self) -> bool:
        """Whether no zero point shifts anything."""
        return not self.zero.any()


def scales_of(tensor: Tensor) -> Scales | None:
    """The scales of a constant of integers; None where kernels have no word for them."""
    encoding, shape = tensor.encoding, tensor.shape or (1,)
    offset = encoding.offset
    known = offset is None or (offset.kind is OffsetKind.ZERO_POINT and offset.block is None)
    if encoding.scale is None or not isinstance(encoding.codes, Integer) or not known:
        return None
    if encoding.scale_divides or encoding.flat or encoding.permutation or encoding.companions:
        return None
    extents = padded(encoding.block, len(shape))
    along = [a for a, (e, n) in enumerate(zip(extents, shape, strict=True)) if 0 < e < n]
    if len(along) > 1 or any(extents[axis] != 1 for axis in along):
        return None
    axis = along[0] if along else None
    count = 1 if axis is None else shape[axis]
    scale, zero = _grids(tensor, axis, shape)
    return Scales(
        scale=_spread(scale, count), zero=_spread(zero, count).astype(np.int64), axis=axis
    )


def _grids(tensor: Tensor, axis: int | None, shape: tuple[int, ...]) -> tuple[AnyArray, AnyArray]:
    """The numbers of the scales and of the zero points, in the order of the slices."""
    inside = axis is None or axis == len(shape) - 1
    step = 1 if inside or axis is None else math.prod(shape[axis + 1 : -1])
    rows = [0] if inside or axis is None else [i * step for i in range(shape[axis])]
    scales: list[AnyArray] = []
    zeros: list[AnyArray] = []
    encoding = tensor.encoding
    for row in rows:
        parts = tensor.storage.parts(row, row + 1)
        assert encoding.scale is not None
        assert parts.scale is not None
        scales.append(decode(encoding.scale, parts.scale)[0])
        zeros.append(_zeros(encoding.offset, parts))
    return np.concatenate(scales), np.concatenate(zeros)


def _zeros(offset: Offset | None, parts: Parts) -> AnyArray:
    if offset is None:
        return np.zeros(1, np.int64)
    if offset.constant is not None or parts.offset is None or offset.encoding is None:
        return np.full(1, offset.constant or 0, np.int64)
    zeros: AnyArray = decode(offset.encoding, parts.offset)[0]
    return zeros


def _spread(numbers: AnyArray, count: int) -> AnyArray:
    return np.broadcast_to(numbers, (count,)) if numbers.size == 1 else numbers


def as_value(tensor: Tensor) -> ActivationQuantization | None:
    """The quantization of a constant as that of a value; None where it has several scales."""
    found = scales_of(tensor)
    if found is None or found.axis is not None:
        return None
    return ActivationQuantization(
        codes=tensor.encoding.codes,
        mode=ActivationMode.STATIC,
        granularity=Granularity.TENSOR,
        scale=np.asarray(found.scale[0], np.float32),
        zero_point=np.asarray(found.zero[0]) if found.zero[0] else None,
    )


def is_byte(codes: object, *, signed: bool) -> bool:
    """Whether codes are of 8 bits, with or without a sign."""
    return codes == (SIGNED if signed else UNSIGNED)


def shifted(tensor: Tensor, *, signed: bool) -> Tensor:
    """Codes of 8 bits with a sign or without.

    before: codes q of the other type, zero points z.
    after: q - 128 and z - 128, or q + 128 and z + 128.
    why exact: their difference is the same integer.
    """
    encoding = tensor.encoding
    own = SIGNED if signed else UNSIGNED
    if encoding.codes == own or not isinstance(encoding.codes, Integer):
        return tensor
    kind, change = (np.int8, -MIDDLE) if signed else (np.uint8, MIDDLE)
    offset = encoding.offset
    stored = offset is not None and offset.encoding is not None and offset.constant is None

    def compute(start: int, stop: int) -> Parts:
        parts = tensor.storage.parts(start, stop)
        zeros = parts.offset
        if zeros is not None:
            zeros = replace(zeros, codes=_moved(zeros.codes, change, kind))
        return replace(parts, codes=_moved(parts.codes, change, kind), offset=zeros)

    if stored:
        zero = Offset(kind=OffsetKind.ZERO_POINT, encoding=integers(8, signed=signed))
    else:
        zero = constant_zero((0 if offset is None else offset.constant or 0) + change)
    after = replace(encoding, codes=own, offset=None if zero.constant == 0 else zero)
    return replace(tensor, encoding=after, storage=ComputedStorage(compute=compute))


def _moved(codes: AnyArray, change: int, kind: type[np.generic]) -> AnyArray:
    return (codes.astype(np.int16) + np.int16(change)).astype(kind)


def without_zeros(tensor: Tensor) -> Tensor:
    """The same encoding without zero points, all of which are 0."""
    encoding = tensor.encoding
    if encoding.offset is None:
        return tensor

    def compute(start: int, stop: int) -> Parts:
        return replace(tensor.storage.parts(start, stop), offset=None)

    after = replace(encoding, offset=None)
    return replace(tensor, encoding=after, storage=ComputedStorage(compute=compute))


def centred(tensor: Tensor) -> Tensor | None:
    """Signed codes of 8 bits without zero points; None where some have no room for that.

    before: codes q, zero points z, one or one for each slice of an axis.
    after: q - z, all of which have 8 bits.
    why exact: it is that integer which the scale multiplies.
    """
    scales = scales_of(tensor)
    if scales is None or scales.symmetric:
        return None if scales is None else without_zeros(tensor)
    whole = tensor.storage.parts(0, tensor.rows)
    shape = tuple(-1 if axis == scales.axis else 1 for axis in range(len(tensor.shape)))
    zero = scales.zero.reshape(shape if scales.axis is not None else 1)
    codes = whole.codes.reshape(tensor.shape).astype(np.int16) - zero.astype(np.int16)
    if codes.size and not -MIDDLE <= codes.min() <= codes.max() < MIDDLE:
        return None
    held = codes.astype(np.int8).reshape(whole.codes.shape)
    after = replace(tensor.encoding, codes=SIGNED, offset=None)
    storage = OwnedStorage(whole=replace(whole, codes=held, offset=None))
    return replace(tensor, encoding=after, storage=storage)


def along_last(tensor: Tensor) -> Tensor:
    """One scale of signed codes repeated for each slice of the last axis."""
    encoding = tensor.encoding
    assert encoding.offset is None

    def compute(start: int, stop: int) -> Parts:
        parts = tensor.storage.parts(start, stop)
        assert parts.scale is not None
        repeated = np.repeat(parts.scale.codes, tensor.columns, axis=-1)
        return replace(parts, scale=replace(parts.scale, codes=repeated))

    rank = len(tensor.shape)
    after = replace(encoding, block=axis_block(rank - 1, rank))
    return replace(tensor, encoding=after, storage=ComputedStorage(compute=compute))


def axis_block(axis: int | None, rank: int) -> tuple[int, ...]:
    """The block of an encoding with a scale for each slice of an axis, or one for all."""
    extents = tuple(1 if a == axis else WHOLE for a in range(rank)) or (WHOLE,)
    first = next((a for a, extent in enumerate(extents) if extent != 1), rank - 1)
    return extents[first:]


def plain(encoding: Encoding) -> bool:
    """Whether a constant is of floats."""
    return encoding.scale is None and not isinstance(encoding.codes, Integer)
