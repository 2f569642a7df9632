"""What ONNX Runtime's CPU provider holds, as data.

Sizes and speeds behind the rows: `MatMulNBits` has kernels for 4 and 8 bits at every block and for 2
bits at blocks of 32 to 128 when activations are rounded to 8 bits (accuracy_level 4); with float32
activations for 4 bits only, so wider codes become two halves of 4 bits and narrower ones widen.
"""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.negotiation.profile import Form, OffsetForm, Profile, Role

MATRIX = frozenset({Role.MATMUL, Role.EMBEDDING})
TABLE = frozenset({Role.EMBEDDING})
ANY = frozenset(Role)
INT8, FLOAT = frozenset({"int8"}), frozenset({"float"})
BOTH = INT8 | FLOAT
BLOCKS = (256, 128, 64, 32, 16)
BLOCKS_2 = (128, 64, 32)

_HALVES_OVERHEAD = 1.25
"""A second scale and zero point for every block of 32."""


def _blocks(
    name: str,
    bits: int,
    *,
    roles: frozenset[Role] = MATRIX,
    activations: frozenset[str] = BOTH,
    blocks: tuple[int, ...] = BLOCKS,
    overhead: float = 0.0,
) -> tuple[Form, Form]:
    """A form with zero points and its twin with minimums."""
    codes = Integer(bits=bits)
    return tuple(  # type: ignore[return-value]
        Form(
            name=name + suffix,
            roles=roles,
            codes=codes,
            blocks=blocks,
            offset=offset,
            overhead=overhead,
            activations=activations,
        )
        for suffix, offset in (("", OffsetForm.ZERO_POINT), (" + minimums", OffsetForm.BIAS))
    )


QUANTIZED: tuple[Form, ...] = (
    *_blocks("MatMulNBits 4", 4),
    *_blocks("MatMulNBits 8", 8, activations=INT8),
    *_blocks("MatMulNBits 2", 2, activations=INT8, blocks=BLOCKS_2),
    *_blocks("MatMulNBits 4+4", 8, activations=FLOAT, overhead=_HALVES_OVERHEAD),
    *_blocks("GatherBlockQuantized 8", 8, roles=TABLE),
    *_blocks("GatherBlockQuantized 2", 2, roles=TABLE),
)

PLAIN_FORMS: tuple[Form, ...] = tuple(
    Form(name=name, roles=ANY, codes=encoding.codes, scale=None)
    for name, encoding in PLAIN.items()
    if isinstance(encoding.codes, Float | Integer) and encoding.codes.bits >= 8
)

INTEGER = Form(
    name="initializer",
    roles=ANY,
    anything=True,
    numerics=frozenset({"litert", "litert-reference"}),
)
"""Of a model of integer kernels every constant keeps its codes, scales and zero points as they are."""

LINEAR = Form(name="DequantizeLinear", roles=ANY, anything=True, numerics=frozenset({"ort"}))
"""Of a model of Q/DQ likewise."""

ORT_CPU = Profile(
    name="ort-cpu",
    title="ONNX Runtime (CPU)",
    forms=(*QUANTIZED, *PLAIN_FORMS, INTEGER, LINEAR),
    opset=21,
    channels_last=INTEGER.numerics,
    options={"activations": "int8"},
)


PORTABLE = Profile(
    name="portable",
    title="ONNX (operators of the standard)",
    forms=(Form(name="DequantizeLinear", roles=ANY, anything=True),),
    opset=21,
    layout="NCHW",
)


def profiles() -> Mapping[str, Profile]:
    """Profiles by name; the first is the default."""
    return {profile.name: profile for profile in (ORT_CPU, PORTABLE)}
