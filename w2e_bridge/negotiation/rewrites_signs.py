"""Exact rewrites towards symmetric codes under positive scales, for targets that have no others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.codes import CodeMap, Float, Integer
from w2e_bridge.ir.encoding import Encoding, OffsetKind
from w2e_bridge.ir.parts import AnyArray, Parts, decode
from w2e_bridge.negotiation.profile import Form, OffsetForm
from w2e_bridge.negotiation.step import Step, signed_bits

ZEROS_WITHOUT_SIGN = "scales above 0, exact but for the sign of zeros"
"""Name of the one step that is exact in numbers and not in the bits of every zero."""


def subtract_zero_points(encoding: Encoding, form: Form) -> Step | None:
    """Integer zero points into the codes: (q - z) * s computes q - z first, which is an integer.

    Exact where the differences fit the form's codes: always, or for these codes.
    """
    offset, codes, want = encoding.offset, encoding.codes, form.codes
    if not form.positive or offset is None or offset.kind is not OffsetKind.ZERO_POINT:
        return None
    if form.offset is not OffsetForm.NONE or not isinstance(want, Integer) or not want.signed:
        return None
    points = _range(encoding)
    if points is None or not isinstance(codes, Integer) or codes.bits > want.bits:
        return None
    low, high = codes.low - points[1], codes.high - points[0]
    fits = want.low <= low and high <= want.high
    extent = ((encoding.block if offset.block is None else offset.block) or (1,))[-1]

    def difference(parts: Parts) -> NDArray[np.int32]:
        zeros: AnyArray = np.full((1, 1), offset.constant or 0, np.int32)
        if parts.offset is not None and offset.constant is None:
            zeros = spread(parts.offset.codes.astype(np.int32), extent, parts.codes.shape[-1])
        return np.asarray(parts.codes.astype(np.int32) - zeros)

    def holds(parts: Parts) -> bool:
        found = difference(parts)
        return bool(((found >= want.low) & (found <= want.high)).all())

    def apply(parts: Parts) -> Parts:
        dtype = np.int8 if want.bits <= 8 else np.int32
        return replace(parts, codes=difference(parts).astype(dtype), offset=None)

    bits = signed_bits(low, high) if fits else want.bits
    after = replace(encoding, codes=Integer(bits=bits, signed=True), offset=None)
    return Step(
        name="zero points subtracted", after=after, apply=apply, holds=None if fits else holds
    )


def _range(encoding: Encoding) -> tuple[int, int] | None:
    """The lowest and the highest zero point that there can be."""
    offset = encoding.offset
    if offset is None or offset.constant is not None:
        return None if offset is None or offset.constant is None else (offset.constant,) * 2
    stored = offset.encoding
    if stored is None or stored.scale is not None or not isinstance(stored.codes, Integer):
        return None
    return stored.codes.low, stored.codes.high


def positive_scales(encoding: Encoding, form: Form) -> Step | None:
    """Scales above 0: a negative one turns its sign and that of its codes, one of 0 becomes 1 over zeros.

    Exact where the codes' range holds both signs of every code: (-q) * (-s) is q * s bit for bit, but for
    the sign of a zero; the step's name says so in the report. What is added after scaling stays.
    """
    codes, scale = encoding.codes, encoding.scale
    turned = _turned(codes)
    before = encoding.offset is not None and encoding.offset.kind.before_scale
    if not form.positive or scale is None or before or turned is None:
        return None
    extent = (encoding.block or (1,))[-1]
    lowest = _lonely(codes, form.codes)

    def holds(parts: Parts) -> bool:
        numbers = _scales(parts)
        if not np.isfinite(numbers).all() or not _factors_above_zero(scale, parts):
            return False
        if lowest is not None and (numbers < 0).any():
            negative = spread(numbers < 0, extent, parts.codes.shape[-1])
            return not (negative & (parts.codes == lowest)).any()
        return not isinstance(codes, Float) or _finite_over_zeros(numbers, extent, parts)

    def apply(parts: Parts) -> Parts:
        assert parts.scale is not None
        numbers, own = _scales(parts), parts.scale.codes
        signed = _signed(parts.codes, turned)
        if (numbers > 0).all():
            return replace(parts, codes=signed)
        columns = parts.codes.shape[-1]
        negative, nothing = (
            spread(numbers < 0, extent, columns),
            spread(numbers == 0, extent, columns),
        )
        flipped = np.where(nothing, np.zeros((), signed.dtype), np.where(negative, -signed, signed))
        one = np.ones((), np.float32).astype(own.dtype)
        kept = np.where(numbers == 0, one, np.where(numbers < 0, -own, own))
        return replace(parts, codes=flipped, scale=replace(parts.scale, codes=kept))

    after = replace(encoding, codes=turned)
    return Step(name=ZEROS_WITHOUT_SIGN, after=after, apply=apply, holds=holds)


def _turned(codes: CodeMap) -> Integer | Float | None:
    """Codes that hold both signs of others, but for the lowest of two's complement."""
    if isinstance(codes, Integer) and not codes.signed:
        return Integer(bits=codes.bits + 1, signed=True)
    return codes if isinstance(codes, Integer | Float) else None


def _lonely(codes: CodeMap, want: CodeMap | None) -> int | None:
    """The code without a negative in the form's type, None where there is none."""
    if not isinstance(codes, Integer) or not codes.signed or not isinstance(want, Integer):
        return None
    return codes.low if -codes.low > want.high else None


def _scales(parts: Parts) -> NDArray[np.float32]:
    assert parts.scale is not None
    with np.errstate(all="ignore"):
        return parts.scale.codes.astype(np.float32)


def _factors_above_zero(scale: Encoding, parts: Parts) -> bool:
    """Whether the second level, if there is one, is above 0."""
    if scale.scale is None or parts.scale is None or parts.scale.scale is None:
        return True
    factor = decode(scale.scale, parts.scale.scale)
    return bool(((factor > 0) & np.isfinite(factor)).all())


def _finite_over_zeros(numbers: NDArray[np.float32], extent: int, parts: Parts) -> bool:
    """Whether no code under a scale of 0 is something else than a number."""
    nothing = spread(numbers == 0, extent, parts.codes.shape[-1])
    return not (nothing & ~np.isfinite(parts.codes.astype(np.float32))).any()


def _signed(codes: AnyArray, turned: Integer | Float) -> AnyArray:
    """The same codes in a type that has negatives of them."""
    if isinstance(turned, Float) or codes.dtype.kind == "i":
        return codes
    return codes.astype(np.int8 if turned.bits <= 8 else np.int32)


def spread(grid: AnyArray, extent: int, columns: int) -> AnyArray:
    """What there is one of for each block, for each column; one for a whole row stays one."""
    return grid if grid.shape[-1] == 1 else np.repeat(grid, extent, axis=-1)[:, :columns]
