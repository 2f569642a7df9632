"""What TensorRT's files hold, as data."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.negotiation.profile import Form, Profile, Role
from w2e_tensorrt.forms import OPTION, QUANTIZED, STORED

PLAIN_FORMS: tuple[Form, ...] = tuple(
    Form(name=name, roles=frozenset(Role), codes=encoding.codes, scale=None, by_values=32)
    for name, encoding in PLAIN.items()
    if isinstance(encoding.codes, Integer | Float)
    and name
    in (
        "float32", "float16", "bfloat16", "int32", "int64", "bool", "int8", "uint8", "float64",
        "int4", "float8_e4m3fn", "float4_e2m1fn",
    )
)  # fmt: skip

EXPLICIT = Profile(
    name="explicit",
    title="TensorRT 11 and newer (explicit quantization)",
    forms=(*QUANTIZED, *PLAIN_FORMS),
    opset=21,
    layout="NCHW",
    built="parts",
    options={OPTION: STORED},
)

WEAKLY_TYPED = frozenset({"float32", "int32", "int64", "bool", "int8", "uint8"})
"""One type of floats: flags choose what a network without codes computes with."""

WEAK = Form(
    name="a network whose codes TensorRT makes itself",
    roles=frozenset(Role), encoding=FLOAT32, cost=2.0,
)  # fmt: skip
"""Holds what "float32" holds already: its name is the reason why codes become floats."""

TRT10 = Profile(
    name="trt10",
    title="TensorRT 10 (JetPack 6; implicit quantization)",
    forms=(
        *(f for f in PLAIN_FORMS if f.name in WEAKLY_TYPED),
        WEAK,
    ),
    opset=19,
    layout="NCHW",
    built="parts",
)


def bundles() -> Mapping[str, Profile]:
    """Profiles of the bundle; the first is the default."""
    return {profile.name: profile for profile in (EXPLICIT, TRT10)}


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
