"""Exact rewrites of blocks, and of the levels of their scales."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.negotiation.profile import Form
from w2e_bridge.negotiation.step import Step, Unreachable


def one_factor(encoding: Encoding, form: Form) -> Step | None:
    """Scales with one factor for all of them, said as the form says it: the factor in float32."""
    scale, want = encoding.scale, form.scale
    if scale is None or want is None or want.scale is None or scale == want:
        return None
    factor = scale.scale
    if factor is None or factor.scale is not None or scale.codes != want.codes:
        return None
    if (
        scale.scale_divides
        or scale.offset is not None
        or any(e != WHOLE for e in scale.block or ())
    ):
        return None

    def apply(parts: Parts) -> Parts:
        assert parts.scale is not None
        assert parts.scale.scale is not None
        wide = Parts(codes=decode(factor, parts.scale.scale))
        return replace(parts, scale=replace(parts.scale, scale=wide))

    name = "" if factor == FLOAT32 else f"{factor} factor widened"
    return Step(name=name, after=replace(encoding, scale=want), apply=apply)


def one_axis(encoding: Encoding, form: Form) -> Step | None:
    """Blocks over several axes to blocks along the last one: each row repeats the scales that it shares."""
    block = encoding.block or ()
    if not form.whole_blocks or encoding.flat or encoding.scale is None:
        return None
    wide = [extent for extent in block if extent != 1]
    channels = block.count(1) == 1 and all(extent == WHOLE for extent in wide)
    if len(wide) < 2 or channels or all(extent == WHOLE for extent in block):
        return None

    def apply(parts: Parts) -> Parts:
        return parts

    after = replace(encoding, block=block[-1:])
    return Step(name="blocks of several rows as one for each", after=after, apply=apply)


def split_blocks(encoding: Encoding, form: Form) -> Step | None:
    """Blocks to the largest extent that the form permits: a scale repeated is the same scale."""
    if not form.blocks or encoding.scale is None:
        return None
    have = encoding.row_block
    if have is None and form.whole_blocks:
        return _split_rows(encoding, form)
    if have is None:
        raise Unreachable(f"{form.name} has blocks along rows only")
    if have in form.blocks:
        return None
    want = next((b for b in form.blocks if b and have and have % b == 0), None)
    if want is None:
        raise Unreachable(f"{form.name} has no blocks of {have or 'a whole row'}")
    times = have // want

    def apply(parts: Parts) -> Parts:
        assert parts.scale is not None
        offset = parts.offset
        return replace(
            parts,
            scale=replace(parts.scale, codes=np.repeat(parts.scale.codes, times, axis=-1)),
            offset=None if offset is None else Parts(codes=np.repeat(offset.codes, times, axis=-1)),
        )

    after = replace(encoding, block=(want,))
    return Step(name=f"blocks of {have} as {want}", after=after, apply=apply)


def _split_rows(encoding: Encoding, form: Form) -> Step | None:
    """Blocks of several rows of one column each: rows say their scales one by one, so that nothing moves."""
    block = encoding.block or ()
    have = next((extent for extent in block if extent != 1), 1)
    if sum(extent != 1 for extent in block) > 1 or have in form.blocks:
        return None
    want = next((b for b in form.blocks if b and have and have % b == 0), None)
    if want is None:
        raise Unreachable(f"{form.name} has no blocks of {have or 'a whole axis'}")

    def apply(parts: Parts) -> Parts:
        return parts

    after = replace(encoding, block=tuple(want if extent != 1 else 1 for extent in block))
    return Step(name=f"blocks of {have} as {want}", after=after, apply=apply)
