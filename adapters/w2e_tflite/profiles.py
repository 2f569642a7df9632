"""What a TensorFlow Lite file holds, as data."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT16, FLOAT32, WHOLE, Encoding, zero_point
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.negotiation.profile import Form, OffsetForm, Profile, Role
from w2e_tflite.quant import type_number

ANY = frozenset(Role)

QUANTIZED: tuple[Form, ...] = tuple(
    Form(
        name=f"{codes.upper()}{' with zero points' if offset is OffsetForm.ZERO_POINT else ''}",
        roles=ANY,
        codes=PLAIN[codes].codes,  # type: ignore[arg-type]
        offset=offset,
    )
    for codes in ("int8", "int4", "int2", "int16", "int32", "int64")
    for offset in (OffsetForm.NONE, OffsetForm.ZERO_POINT)
)
"""Codes with a scale for all or for each slice of one axis."""

_UINT8 = PLAIN["uint8"].codes
_MOST_AXES = 6

UNSIGNED: tuple[Form, ...] = tuple(
    Form(
        name="UINT8",
        roles=ANY,
        encoding=Encoding(codes=_UINT8, block=(WHOLE,) * rank, scale=FLOAT32, offset=offset),
        cost=0.5,  # before the same codes shifted to INT8, which old kernels do not mix
    )
    for rank in range(1, _MOST_AXES + 1)
    for offset in (None, zero_point(8))
)
"""Codes of the first quantizers: one scale for all, and a zero point."""

BLOCKS: tuple[Form, ...] = tuple(
    Form(
        name=f"{codes.upper()} in blocks",
        roles=ANY,
        codes=PLAIN[codes].codes,  # type: ignore[arg-type]
        blocks=(256, 128, 64, 32),
        scale=scale,
    )
    for codes in ("int4", "int8")
    for scale in (FLOAT16, FLOAT32)
)
"""Codes with a scale for each block of a row (`BlockwiseQuantization`)."""

PLAIN_FORMS: tuple[Form, ...] = tuple(
    Form(name=name.upper(), roles=ANY, codes=encoding.codes, scale=None)
    for name, encoding in PLAIN.items()
    if isinstance(encoding.codes, Float | Integer) and type_number(name) is not None
)

TFLITE = Profile(
    name="litert",
    title="TensorFlow Lite (LiteRT)",
    forms=UNSIGNED + QUANTIZED + BLOCKS + PLAIN_FORMS,
    layout="NHWC",
)


def profiles() -> Mapping[str, Profile]:
    """Profiles by name; the first is the default."""
    return {TFLITE.name: TFLITE}
