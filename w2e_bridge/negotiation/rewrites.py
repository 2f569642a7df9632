"""Exact rewrites of an encoding towards a form that a target has.

Each is a function from the encoding so far and the form to a `Step`, or None where the encoding is
already as the form wants it. What can't be reached raises `Unreachable` with the reason. A step's
precondition is decided from the types alone where that is possible, so that planning costs no I/O; a
step that depends on the numbers says so (`Step.holds`), and they are looked at before it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from w2e_bridge.ir.codes import Float, Integer, Table, VectorTable
from w2e_bridge.ir.encoding import (
    FLOAT32,
    Encoding,
    Offset,
    OffsetKind,
    constant_zero,
    integers,
    zero_point,
)
from w2e_bridge.ir.parts import AnyArray, Parts, decode, signed_vectors
from w2e_bridge.negotiation.profile import KINDS, Form, OffsetForm
from w2e_bridge.negotiation.rewrites_blocks import one_axis, one_factor, split_blocks
from w2e_bridge.negotiation.rewrites_signs import positive_scales, subtract_zero_points
from w2e_bridge.negotiation.rewrites_tables import narrow_table, powers_of_two
from w2e_bridge.negotiation.step import Rewrite, Step, Unreachable, signed_bits

FLOAT32_DIGITS = 24
"""Significant binary digits of float32: a product of fewer is exact."""


def digits(encoding: Encoding) -> int:
    """An upper bound of the significant binary digits of a stored number, 24 where there is none."""
    match encoding.codes:
        case Float(name=name):
            own = {"float16": 11, "bfloat16": 8}.get(name, FLOAT32_DIGITS)
        case Integer(bits=bits):
            own = bits
        case Table(values=values):
            own = _table_digits(values)
        case VectorTable():
            return FLOAT32_DIGITS
    if encoding.scale is None:
        return own
    if encoding.offset is not None:
        return FLOAT32_DIGITS
    return min(FLOAT32_DIGITS, own + digits(encoding.scale))


def _table_digits(values: tuple[float, ...]) -> int:
    odd = [int(abs(np.frexp(v)[0]) * 2**FLOAT32_DIGITS) for v in values if v]
    return max((n.bit_length() - ((n & -n).bit_length() - 1) for n in odd), default=1)


def fold_scale(encoding: Encoding, form: Form) -> Step | None:
    """Scales of any encoding to float32: what decoding computes first in any case."""
    scale = encoding.scale
    if scale is None or scale == FLOAT32 or form.scale != FLOAT32:
        return None

    def apply(parts: Parts) -> Parts:
        assert parts.scale is not None
        return replace(parts, scale=Parts(codes=decode(scale, parts.scale)))

    name = "scale levels folded" if scale.scale is not None else f"{scale} scale widened"
    return Step(name=name, after=replace(encoding, scale=FLOAT32), apply=apply)


def fold_offset(encoding: Encoding, form: Form) -> Step | None:
    """A bias of any encoding and sign to a float32 that is added: x - b is x + (-b)."""
    offset = encoding.offset
    if offset is None or offset.kind.before_scale or offset.encoding is None:
        return None
    stored, negative = offset.encoding, offset.kind is OffsetKind.NEGATIVE_BIAS
    if not negative and stored == FLOAT32:
        return None
    if form.offset is not OffsetForm.BIAS:
        raise Unreachable(f"{form.name} has no offset after scaling")

    def apply(parts: Parts) -> Parts:
        assert parts.offset is not None
        bias = decode(stored, parts.offset)
        return replace(parts, offset=Parts(codes=-bias if negative else bias))

    after = replace(offset, kind=OffsetKind.BIAS, encoding=FLOAT32)
    return Step(name="minimums as float32", after=replace(encoding, offset=after), apply=apply)


def unroll_table(encoding: Encoding, form: Form) -> Step | None:
    """Codes of a table to the integers that they stand for, the table's values being integers."""
    codes = encoding.codes
    if not isinstance(codes, Table | VectorTable):
        return None
    if form.tables and isinstance(codes, Table) and isinstance(form.codes, Float):
        return narrow_table(encoding, codes, form.codes)
    if not isinstance(form.codes, Integer):
        raise Unreachable(f"{form.name} has no look-up table")
    if isinstance(codes, VectorTable):
        low, high = int(codes.grid.min()), int(codes.grid.max())
        if codes.signs:
            low, high = -max(-low, high), max(-low, high)
    elif codes.integral:
        low, high = int(min(codes.values)), int(max(codes.values))
    else:
        raise Unreachable(f"the values of {codes} are no integers")
    after = replace(encoding, codes=Integer(bits=signed_bits(low, high), signed=True))
    return Step(name=f"{codes} unrolled", after=after, apply=_unroller(codes))


def _unroller(codes: Table | VectorTable) -> Callable[[Parts], Parts]:
    if isinstance(codes, VectorTable):
        return lambda parts: replace(parts, codes=signed_vectors(codes, parts), signs=None)
    table = codes.array().astype(np.int8)
    return lambda parts: replace(parts, codes=np.take(table, parts.codes))


def absorb_float_zero(encoding: Encoding, form: Form) -> Step | None:
    """(q - z) * s with z from a table of eighths: as (8q - 8z) * (s / 8), or as q * s + (-z * s).

    Both are exact where the product has at most 24 binary digits: then no order of evaluation rounds.
    """
    offset, codes = encoding.offset, encoding.codes
    if offset is None or offset.kind is not OffsetKind.FLOAT_ZERO:
        return None
    zero, scale = offset.encoding, encoding.scale
    if scale is None or zero is None or not isinstance(zero.codes, Table) or zero.scale is not None:
        raise Unreachable(f"{form.name} has no fractional zero point")
    if not isinstance(codes, Integer):
        raise Unreachable(f"{form.name} has no look-up table")
    factor = _denominator(zero.codes.values)
    spread_bits = codes.bits + factor.bit_length() + 1
    if not factor or digits(scale) + spread_bits > FLOAT32_DIGITS:
        raise Unreachable("the zero points are no fractions of the step")
    if form.offset is OffsetForm.BIAS and offset.block in (None, encoding.block):
        return _zero_as_bias(encoding, zero, scale)
    low = codes.low * factor - int(max(zero.codes.values) * factor)
    high = codes.high * factor - int(min(zero.codes.values) * factor)
    table = (zero.codes.array() * factor).astype(np.int16)
    width = (offset.block or encoding.block or (1,))[-1]

    def apply(parts: Parts) -> Parts:
        assert parts.offset is not None
        zeros = np.repeat(np.take(table, parts.offset.codes), width, axis=-1)
        exact = parts.codes.astype(np.int16) * np.int16(factor) - zeros
        assert parts.scale is not None
        step = Parts(codes=decode(scale, parts.scale) * np.float32(1 / factor))
        return replace(parts, codes=exact.astype(np.int8), scale=step, offset=None)

    wide = Integer(bits=min(8, signed_bits(low, high)), signed=True)
    after = replace(encoding, codes=wide, scale=FLOAT32, offset=None)
    return Step(name=f"zero points in steps of 1/{factor}", after=after, apply=apply)


def _denominator(values: tuple[float, ...]) -> int:
    """The smallest power of two that makes all of them integers, 0 where 16 is not enough."""
    return next((f for f in (1, 2, 4, 8, 16) if all(float(v * f).is_integer() for v in values)), 0)


def _zero_as_bias(encoding: Encoding, zero: Encoding, scale: Encoding) -> Step:
    """With codes moved to start at 0: (q - z) * s = (q - low) * s + (low - z) * s."""
    codes = encoding.codes
    assert isinstance(codes, Integer)
    low = codes.low

    def apply(parts: Parts) -> Parts:
        assert parts.offset is not None
        assert parts.scale is not None
        bias = (np.float32(low) - decode(zero, parts.offset)) * decode(scale, parts.scale)
        moved = (parts.codes - codes.low).astype(np.uint8)
        return replace(parts, codes=moved, offset=Parts(codes=bias))

    after = replace(
        encoding,
        codes=Integer(bits=codes.bits),
        offset=Offset(kind=OffsetKind.BIAS, encoding=FLOAT32),
    )
    return Step(name="zero points as minimums", after=after, apply=apply)


def shift_codes(encoding: Encoding, form: Form) -> Step | None:
    """Codes to the form's width and sign; a zero point moves with them.

    Symmetric codes go to the middle of an unsigned range, where every runtime has its default.
    """
    have, want = encoding.codes, form.codes
    if have == want or want is None:
        return None
    if not isinstance(have, Integer) or not isinstance(want, Integer):
        raise Unreachable(f"{form.name} stores {want}, not {have}")
    offset = encoding.offset
    movable = offset is None or offset.kind is OffsetKind.ZERO_POINT
    centre = _move(have, want, offset, movable=movable)
    if have.low + centre < want.low or have.high + centre > want.high:
        raise Unreachable(f"{have} codes do not fit {want}")
    if offset is None:
        moved = Offset(kind=OffsetKind.ZERO_POINT, constant=centre) if centre else None
    elif offset.kind is not OffsetKind.ZERO_POINT:
        moved = offset
    elif offset.constant is not None:
        moved = replace(offset, constant=offset.constant + centre)
    else:
        moved = replace(offset, encoding=integers(want.bits, signed=want.signed))
    dtype = np.dtype(f"{'int' if want.signed else 'uint'}{max(8, want.bits)}")
    stored = offset is not None and offset.encoding is not None and movable

    def apply(parts: Parts) -> Parts:
        zeros = parts.offset
        if stored and zeros is not None:
            zeros = Parts(codes=_added(zeros.codes, centre, dtype))
        return replace(parts, codes=_added(parts.codes, centre, dtype), offset=zeros)

    return Step(
        name=f"{have} as {want}", after=replace(encoding, codes=want, offset=moved), apply=apply
    )


def _move(have: Integer, want: Integer, offset: Offset | None, *, movable: bool) -> int:
    if have.signed and not want.signed:
        if not movable:
            raise Unreachable("signed codes with an offset after scaling can't move")
        # The middle of the target's range; a stored zero point must stay inside it.
        return 1 << ((want.bits if offset is None else have.bits) - 1)
    if want.signed and not have.signed and have.high > want.high:
        if not movable:
            raise Unreachable("unsigned codes with an offset after scaling can't move")
        return -(1 << (have.bits - 1))
    return 0


def _added(codes: AnyArray, amount: int, dtype: np.dtype[np.generic]) -> AnyArray:
    """Codes plus an amount in another type; modulo 2^8 where both are bytes, which is what is meant."""
    if codes.dtype.itemsize == dtype.itemsize:
        moved = codes.view(dtype)
        return moved if amount == 0 else moved + np.array(amount).astype(dtype)
    return (codes.astype(np.int64) + amount).astype(dtype)


def say_zero_point(encoding: Encoding, form: Form) -> Step | None:
    """No offset to a zero point of 0; an implied one written out for every block where the form asks."""
    offset = encoding.offset
    if form.offset not in (OffsetForm.ZERO_POINT, OffsetForm.STORED):
        return None
    if offset is not None and offset.kind is not OffsetKind.ZERO_POINT:
        raise Unreachable(f"{form.name} has integer zero points only")
    if form.offset is OffsetForm.ZERO_POINT:
        same = encoding if offset is not None else replace(encoding, offset=constant_zero(0))
        return None if offset is not None else Step(name="zero point 0", after=same, apply=_same)
    if (offset is not None and offset.constant is None) or not isinstance(form.codes, Integer):
        return None
    value = 0 if offset is None or offset.constant is None else offset.constant
    dtype = np.int8 if form.codes.signed else np.uint8

    def apply(parts: Parts) -> Parts:
        assert parts.scale is not None
        return replace(parts, offset=Parts(codes=np.full(parts.scale.codes.shape, value, dtype)))

    stored = zero_point(form.codes.bits, signed=form.codes.signed)
    return Step(
        name=f"zero point {value} written out", after=replace(encoding, offset=stored), apply=apply
    )


def _same(parts: Parts) -> Parts:
    return parts


REWRITES: tuple[Rewrite, ...] = (
    # Tables first: what follows speaks of integers only.
    unroll_table,
    absorb_float_zero,
    powers_of_two,
    one_factor,
    fold_scale,
    fold_offset,
    # Blocks before zero points, so that these are written out once, for the final blocks.
    one_axis,
    split_blocks,
    subtract_zero_points,
    positive_scales,
    shift_codes,
    say_zero_point,
)
"""In the order in which they are tried."""


def path(encoding: Encoding, form: Form) -> Iterator[Step]:
    """The steps from an encoding to what a form holds.

    Raises:
        Unreachable: there is no exact way.
    """
    for rewrite in REWRITES:
        step = rewrite(encoding, form)
        if step is not None:
            encoding = step.after
            yield step
    _check(encoding, form)


def _check(encoding: Encoding, form: Form) -> None:
    """Everything that a rewrite has no say in must be as the form wants it already."""
    if encoding.scale_divides or encoding.flat or encoding.permutation or encoding.companions:
        raise Unreachable(f"{form.name} has no divided scales, flat blocks or companions")
    if form.codes is not None and encoding.codes != form.codes:
        raise Unreachable(f"{form.name} stores {form.codes}, not {encoding.codes}")
    if encoding.scale != form.scale:
        raise Unreachable(f"{form.name} has scales of {form.scale}, not {encoding.scale}")
    kind = None if encoding.offset is None else encoding.offset.kind
    if kind is not KINDS[form.offset]:
        raise Unreachable(f"{form.name} has {form.offset.value} offsets")
