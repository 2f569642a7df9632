"""Rewrites towards symmetric codes under positive scales: the same numbers, or a reason why not."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2e_bridge.ir.codes import Float, Integer, Table
from w2e_bridge.ir.encoding import (
    FLOAT16,
    FLOAT32,
    WHOLE,
    Encoding,
    Offset,
    OffsetKind,
    blocked,
    constant_zero,
    zero_point,
)
from w2e_bridge.ir.parts import AnyArray, Parts, decode
from w2e_bridge.negotiation.profile import Form, OffsetForm, Role, fills
from w2e_bridge.negotiation.rewrites import path
from w2e_bridge.negotiation.step import Unreachable

FP8, FP4, E8M0 = (Float(name=n) for n in ("float8_e4m3fn", "float4_e2m1fn", "float8_e8m0fnu"))
ROWS, COLUMNS, BLOCK = 3, 64, 32
LEVELS = Encoding(codes=FP8, block=(WHOLE, WHOLE), scale=FLOAT32)


def form(codes: Integer | Float, **other: object) -> Form:
    said: dict[str, object] = {"positive": True, "whole_blocks": True, **other}
    return Form(name="form", roles=frozenset(Role), codes=codes, **said)  # type: ignore[arg-type]


INT4, INT8 = form(Integer(bits=4, signed=True)), form(Integer(bits=8, signed=True))
ADDED = form(Integer(bits=8, signed=True), offset=OffsetForm.BIAS)


def taken(encoding: Encoding, parts: Parts, want: Form) -> tuple[Encoding, Parts] | None:
    """Encoding and arrays after all steps; None where one does not hold for these."""
    for step in path(encoding, want):
        if step.holds is not None and not step.holds(parts):
            return None
        parts, encoding = step.apply(parts), step.after
    return encoding, parts


def same(encoding: Encoding, parts: Parts, want: Form) -> bool:
    """Whether the form holds these numbers; if it does, they are equal and its scales are above 0."""
    found = taken(encoding, parts, want)
    if found is None:
        return False
    after, arrays = found
    assert after.codes == want.codes
    assert after.scale == want.scale
    assert arrays.scale is not None
    assert (arrays.scale.codes.astype(np.float32) > 0).all()
    np.testing.assert_array_equal(decode(after, arrays), decode(encoding, parts))
    return True


def scales(seed: int, *, signed: bool = True, zeros: bool = True) -> AnyArray:
    chance = np.random.default_rng(seed)
    made = chance.uniform(0.5, 2, (ROWS, COLUMNS // BLOCK)).astype(np.float32)
    made *= np.where(chance.random(made.shape) < 0.4, -1, 1) if signed else 1
    return np.where(chance.random(made.shape) < 0.2, 0, made) if zeros else made


@settings(max_examples=40)
@given(st.integers(0, 1000), st.sampled_from([2, 3, 4]), st.booleans())
def test_zero_points_go_into_the_codes(seed: int, bits: int, stored: bool) -> None:
    chance = np.random.default_rng(seed)
    codes = chance.integers(0, 1 << bits, (ROWS, COLUMNS)).astype(np.uint8)
    zeros = chance.integers(0, 1 << bits, (ROWS, COLUMNS // BLOCK)).astype(np.uint8)
    offset = zero_point(bits) if stored else constant_zero(1 << bits - 1)
    encoding = blocked(Integer(bits=bits), BLOCK, FLOAT32, offset)
    parts = Parts(
        codes=codes,
        scale=Parts(codes=scales(seed)),
        offset=Parts(codes=zeros) if stored else None,
    )
    assert same(encoding, parts, INT8)


@pytest.mark.parametrize(("high", "fits"), [(128, True), (129, False)])
def test_bytes_are_held_where_their_differences_fit(high: int, fits: bool) -> None:
    codes = np.full((1, COLUMNS), 100, np.uint8)
    codes[0, 0] = 100 + high - 1
    encoding = blocked(Integer(bits=8), COLUMNS, FLOAT32, zero_point(8))
    parts = Parts(
        codes=codes,
        scale=Parts(codes=np.ones((1, 1), np.float32)),
        offset=Parts(codes=np.full((1, 1), 100, np.uint8)),
    )
    assert same(encoding, parts, INT8) is fits


@settings(max_examples=40)
@given(st.integers(0, 1000))
def test_signs_turn_but_for_the_lowest_code(seed: int) -> None:
    codes = np.random.default_rng(seed).integers(-7, 8, (ROWS, COLUMNS)).astype(np.int8)
    encoding = blocked(Integer(bits=4, signed=True), BLOCK, FLOAT32)
    made = scales(seed)
    made[0, 0] = -1
    assert same(encoding, Parts(codes=codes, scale=Parts(codes=made)), INT4)
    codes[0, 5] = -8
    parts = Parts(codes=codes, scale=Parts(codes=made))
    assert not same(encoding, parts, INT4)
    assert same(encoding, parts, INT8)


@settings(max_examples=40)
@given(st.integers(0, 1000), st.sampled_from([2, 4, 5]))
def test_what_is_added_stays(seed: int, bits: int) -> None:
    chance = np.random.default_rng(seed)
    offset = Offset(kind=OffsetKind.NEGATIVE_BIAS, encoding=FLOAT16)
    encoding = blocked(Integer(bits=bits), BLOCK, FLOAT32, offset)
    bias = chance.normal(size=(ROWS, COLUMNS // BLOCK)).astype(np.float16)
    parts = Parts(
        codes=chance.integers(0, 1 << bits, (ROWS, COLUMNS)).astype(np.uint8),
        scale=Parts(codes=scales(seed)),
        offset=Parts(codes=bias),
    )
    assert same(encoding, parts, ADDED)
    with pytest.raises(Unreachable):
        taken(encoding, parts, INT8)


@pytest.mark.parametrize("codes", [FP8, FP4])
def test_floats_turn_their_sign(codes: Float) -> None:
    kind = getattr(ml_dtypes, codes.name)
    numbers = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(kind)
    encoding = blocked(codes, BLOCK, FLOAT32)
    for seed in range(5):
        parts = Parts(codes=numbers, scale=Parts(codes=scales(seed)))
        assert same(encoding, parts, form(codes))


def test_no_number_times_zero_is_not_taken_for_zero() -> None:
    numbers = np.full((1, BLOCK), np.nan, np.float32).astype(ml_dtypes.float8_e4m3fn)
    parts = Parts(codes=numbers, scale=Parts(codes=np.zeros((1, 1), np.float32)))
    assert not same(blocked(FP8, BLOCK, FLOAT32), parts, form(FP8))


def test_two_levels_of_scales() -> None:
    small = np.asarray([[1, -2], [0, 3], [4, 0.5]], ml_dtypes.float8_e4m3fn)
    numbers = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(ml_dtypes.float4_e2m1fn)
    want = form(FP4, scale=LEVELS, blocks=(BLOCK,))
    for factor, holds in ((0.25, True), (-0.25, False), (0.0, False)):
        own = Parts(codes=np.full((1, 1), factor, np.float16))
        parts = Parts(codes=numbers, scale=Parts(codes=small, scale=own))
        levels = Encoding(codes=FP8, block=(WHOLE,), scale=FLOAT16)
        assert same(blocked(FP4, BLOCK, levels), parts, want) is holds


@pytest.mark.parametrize(("power", "holds"), [(-15, True), (2, True), (-40, False), (5, False)])
def test_powers_of_two_become_small_floats(power: int, holds: bool) -> None:
    numbers = np.random.default_rng(0).normal(size=(ROWS, COLUMNS)).astype(ml_dtypes.float4_e2m1fn)
    made = np.full((ROWS, COLUMNS // BLOCK), 2.0**power, np.float32)
    parts = Parts(codes=numbers, scale=Parts(codes=made.astype(ml_dtypes.float8_e8m0fnu)))
    encoding = blocked(FP4, BLOCK, Encoding(codes=E8M0))
    assert same(encoding, parts, form(FP4, scale=LEVELS, blocks=(16,))) is holds
    assert same(encoding, parts, form(FP4))


def test_tables_of_small_floats_are_taken_where_it_is_asked_for() -> None:
    doubled = Table(
        name="doubled", values=(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
    )
    halves = Table(name="halves", values=tuple(n / 16 for n in range(16)))
    chance = np.random.default_rng(0)
    parts = Parts(
        codes=chance.integers(0, 16, (ROWS, COLUMNS)).astype(np.uint8),
        scale=Parts(codes=chance.integers(1, 16, (ROWS, COLUMNS // 16)).astype(np.uint8)),
    )
    encoding = blocked(doubled, 16, Encoding(codes=halves))
    assert same(encoding, parts, form(FP4, scale=LEVELS, blocks=(16,), tables=True))
    assert same(encoding, parts, form(FP4, tables=True))
    assert same(encoding, parts, INT8)
    with pytest.raises(Unreachable):
        taken(encoding, parts, form(FP4))


def test_blocks_of_several_rows_become_one_for_each() -> None:
    encoding = Encoding(codes=FP8, block=(2, BLOCK), scale=FLOAT32)
    after = [step.after for step in path(encoding, form(FP8))][-1]
    assert after.block == (BLOCK,)
    upright = Encoding(codes=FP4, block=(BLOCK, 1), scale=FLOAT32)
    assert next(step.after for step in path(upright, form(FP4, blocks=(16,)))).block == (16, 1)
    with pytest.raises(Unreachable):
        list(path(upright, form(FP4, blocks=(24,))))


def test_blocks_fill_their_axes_or_not() -> None:
    assert fills(Encoding(codes=FP8, block=(1, 32), scale=FLOAT32), (5, 64))
    assert not fills(Encoding(codes=FP8, block=(32,), scale=FLOAT32), (5, 100))
    assert not fills(Encoding(codes=FP8, block=(32, 1), scale=FLOAT32), (100, 64))
    assert fills(Encoding(codes=FP8, block=(WHOLE, WHOLE), scale=FLOAT32), (5, 7))
