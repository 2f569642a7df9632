"""What TensorRT's files hold, as data."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.negotiation.profile import Form, Profile, Role

CONSTANT = frozenset({Role.CONV, Role.OTHER, Role.BIAS})
BLOCKED = frozenset({Role.MATMUL, Role.EMBEDDING})
INT8 = Integer(bits=8, signed=True)


def _codes(name: str, roles: frozenset[Role], blocks: tuple[int, ...]) -> Form:
    return Form(
        name=name, roles=roles, codes=INT8, blocks=blocks,
        positive=True, requantize=True, complete=not blocks,
    )  # fmt: skip


QUANTIZED: tuple[Form, ...] = (
    _codes("DequantizeLinear int8", CONSTANT | BLOCKED, ()),
    _codes("DequantizeLinear int8 blocks", BLOCKED, (128, 64, 32, 16)),
)
"""Symmetric codes, a scale above 0 for a tensor, a channel or a block; float32 scales, since what is
dequantized has the type of its scale and the graph computes in float32."""

PLAIN_FORMS: tuple[Form, ...] = tuple(
    Form(name=name, roles=frozenset(Role), codes=encoding.codes, scale=None, by_values=32)
    for name, encoding in PLAIN.items()
    if isinstance(encoding.codes, Integer | Float)
    and name
    in ("float32", "float16", "bfloat16", "int32", "int64", "bool", "int8", "uint8", "float64")
)

EXPLICIT = Profile(
    name="explicit",
    title="TensorRT 11 and newer (explicit quantization)",
    forms=(*QUANTIZED, *PLAIN_FORMS),
    opset=21,
    layout="NCHW",
    built="parts",
)


def bundles() -> Mapping[str, Profile]:
    """Profiles of the bundle; the first is the default."""
    return {EXPLICIT.name: EXPLICIT}


RANGES = Profile(
    name="ranges",
    title="a table of activation ranges",
    forms=(Form(name="left out", roles=frozenset(Role), codes=None, scale=FLOAT32),),
    needs_graph=False,
)
"""One symmetric range for each value; no weights."""


def ranges() -> Mapping[str, Profile]:
    """Profiles of the files that hold activation ranges only."""
    return {RANGES.name: RANGES}
