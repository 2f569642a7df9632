"""Exact rewrites of look-up tables to the small floats whose numbers, or twice or half of them, they hold.

ggml keeps E2M1 and UE4M3 as tables of doubled codes and halved scales (ggml-org/llama.cpp
ggml/src/ggml-common.h, `kvalues_mxfp4`); their products are the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from w2e_bridge.ir.codes import Float, Table
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.negotiation.profile import Form
from w2e_bridge.negotiation.step import Step, Unreachable

E8M0 = Float(name="float8_e8m0fnu")
FACTORS = (1.0, 2.0, 0.5)
POWER = -6
"""Of the factor that stands over scales which are powers of two: E4M3 then holds 2^-15 to 2^2."""


def narrow_table(encoding: Encoding, codes: Table, want: Float) -> Step:
    """Codes of a table to those of a float type, the scales multiplied with what is left."""
    values = codes.array()
    kind = numpy_type(PLAIN[str(want)])
    factor = next((f for f in FACTORS if _all_held(values / np.float32(f), kind)), None)
    scale = encoding.scale
    if factor is None or scale is None or encoding.offset is not None:
        raise Unreachable(f"the values of {codes} are not those of {want}")
    table = (values / np.float32(factor)).astype(kind)
    if (doubled := _times(scale, factor)) is not None:
        after = replace(encoding, codes=want, scale=doubled)
        return Step(
            name=f"{codes} as {want}",
            after=after,
            apply=lambda parts: replace(parts, codes=np.take(table, parts.codes)),
        )

    def apply(parts: Parts) -> Parts:
        assert parts.scale is not None
        numbers = decode(scale, parts.scale) * np.float32(factor)
        return replace(parts, codes=np.take(table, parts.codes), scale=Parts(codes=numbers))

    def holds(parts: Parts) -> bool:
        assert parts.scale is not None
        numbers = decode(scale, parts.scale)
        wide = numbers.astype(np.float64) * factor
        return bool((wide == numbers * np.float32(factor)).all())

    after = replace(encoding, codes=want, scale=FLOAT32)
    return Step(name=f"{codes} as {want}", after=after, apply=apply, holds=holds)


def _times(scale: Encoding, factor: float) -> Encoding | None:
    """Scales of a table as those of another, if no number of it gets too large."""
    codes = scale.codes
    if not isinstance(codes, Table) or scale.scale is not None:
        return None
    values = tuple(value * factor for value in codes.values)
    large = max(map(abs, values)) > float(np.finfo(np.float32).max)
    name = codes.name if factor == 1 else f"{codes.name} × {factor:g}"
    return None if large else replace(scale, codes=Table(name=name, values=values))


def _all_held(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]], kind: object) -> bool:
    narrow = values.astype(np.dtype(kind))  # type: ignore[call-overload]
    return bool((narrow.astype(np.float32) == values).all())


def powers_of_two(encoding: Encoding, form: Form) -> Step | None:
    """Scales in a small float type under one factor, where each is such a number: powers of two mostly are.

    Blocks of zeros may have any scale, and get the factor itself.
    """
    scale, want = encoding.scale, form.scale
    if scale is None or want is None or want.scale != FLOAT32 or not isinstance(want.codes, Float):
        return None
    if scale == want or any(extent != WHOLE for extent in want.block or ()):
        return None
    if scale.scale is not None and scale.codes == want.codes:
        return None  # which `one_factor` is for
    if encoding.offset is not None or not (form.tables or scale.codes == E8M0):
        return None
    kind = numpy_type(PLAIN[str(want.codes)])
    power = max((POWER, 0), key=lambda p: _count_held(scale, np.float32(2.0**p), kind))
    factor = np.float32(2.0**power)

    def apply(parts: Parts) -> Parts:
        assert parts.scale is not None
        small = (decode(scale, parts.scale) / factor).astype(kind)
        own = Parts(codes=np.full((1, 1), factor))
        return replace(parts, scale=Parts(codes=small, scale=own))

    def holds(parts: Parts) -> bool:
        assert parts.scale is not None
        wide = decode(scale, parts.scale) / factor
        with np.errstate(all="ignore"):
            return bool((wide.astype(kind).astype(np.float32) == wide).all())

    name = f"{scale} scales as {want.codes}" + (f" under a factor of 2^{power}" if power else "")
    after = replace(encoding, scale=want)
    return Step(name=name, after=after, apply=apply, holds=holds)


def _count_held(scale: Encoding, factor: np.float32, kind: object) -> int:
    """How many of the numbers that scales of a table can have are held under a factor."""
    if not isinstance(scale.codes, Table):
        return 0
    values = scale.codes.array() / factor
    narrow = values.astype(np.dtype(kind)).astype(np.float32)  # type: ignore[call-overload]
    return int((narrow == values).sum())
