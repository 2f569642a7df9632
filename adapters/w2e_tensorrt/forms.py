"""How TensorRT holds quantized weights: a row for each kind of codes, type of numbers, and wish of the user.

Codes are symmetric and scales above 0. What is dequantized has the type of its scale, which has to be that
of the graph; blocks lie along one axis and fill it. NVIDIA, "Working with quantized types"; read off
TensorRT-RTX 1.7.1, which builds float4 for compute capability 12 and newer only.
"""

from __future__ import annotations

from collections.abc import Iterator

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.negotiation.profile import Form, OffsetForm, Role

OPTION, STORED = "weights", "as-stored"
WISHES = (STORED, "int8", "int4", "float8", "mxfp8", "nvfp4")
"""Values of the option: the source's codes in the smallest form that holds them, or codes of one kind."""

ANY = frozenset(Role)
BLOCKED = frozenset({Role.MATMUL, Role.EMBEDDING})
ADDED = BLOCKED | {Role.OTHER}
"""Where additions between the codes and what reads them are accepted: in front of products and look-ups."""

INT4, INT8 = Integer(bits=4, signed=True), Integer(bits=8, signed=True)
FP8, FP4, E8M0 = (Float(name=n) for n in ("float8_e4m3fn", "float4_e2m1fn", "float8_e8m0fnu"))

BLOCKS = (256, 128, 64, 32, 16)
MX_BLOCK, NV_BLOCK = 32, 16
NUMBERS = ("float32", "float16", "bfloat16")
"""Types that graphs compute with; new codes are made for the first."""


def _form(name: str, codes: Integer | Float, *wishes: str, **other: object) -> Form:
    """A form of a name for the source's own codes and for those who wish for it."""
    asked = frozenset((STORED, *wishes))
    row: dict[str, object] = {"roles": ANY, "asked": asked, **other}
    return Form(name=name, codes=codes, positive=True, whole_blocks=True, **row)  # type: ignore[arg-type]


def _wished(name: str, codes: Integer | Float, wish: str, **other: object) -> Form:
    """A form of new codes for those who wish for it, of matrices."""
    new = {"requantize": True, "complete": True, "asked": frozenset({wish}), "roles": ADDED}
    return _form(name, codes, **{**new, "tables": True, **other})


def _levels(factor: Encoding) -> Encoding:
    """Scales of NVFP4: small floats under one factor."""
    return Encoding(codes=FP8, block=(WHOLE, WHOLE), scale=factor)


def _rows(dtype: str) -> Iterator[Form]:
    """The forms of a graph that computes with a type, for codes that are there."""
    own: dict[str, object] = {"scale": PLAIN[dtype], "dtype": dtype}
    new = PLAIN[dtype] == FLOAT32
    yield _form("DequantizeLinear int8", INT8, "int8", **own, requantize=new, complete=new)
    if new:
        yield _form(
            "DequantizeLinear int8 blocks", INT8, "int8", **own,
            roles=BLOCKED, blocks=BLOCKS[1:], requantize=True,
        )  # fmt: skip
    # No engine of a Conv of int8 values with int4 weights; products of both compute with int8 anyway.
    yield _form("DequantizeLinear int4", INT4, "int4", **own, weight_only=True)
    yield _form("DequantizeLinear float8", FP8, "float8", **own)
    yield _form("DequantizeLinear float4", FP4, "nvfp4", **own)
    levels = {**own, "scale": _levels(PLAIN[dtype])}
    yield _form("DequantizeLinear NVFP4", FP4, "nvfp4", **levels, blocks=(NV_BLOCK,))
    for kind, codes in (("int4", INT4), ("int8", INT8)):
        yield _form(
            f"DequantizeLinear {kind} + Add", codes, kind, **own,
            roles=ADDED, offset=OffsetForm.BIAS, blocks=BLOCKS,
        )  # fmt: skip


MXFP8: dict[str, object] = {"blocks": (MX_BLOCK,), "scale": Encoding(codes=E8M0)}
"""Its operator says the type of its result itself."""

NEW: tuple[Form, ...] = (
    _wished("DequantizeLinear int4", INT4, "int4", blocks=BLOCKS[1:], dtype=NUMBERS[0]),
    _wished("DequantizeLinear float8", FP8, "float8", dtype=NUMBERS[0], roles=ANY),
    _wished("TRT_MXFP8DequantizeLinear", FP8, "mxfp8", **MXFP8, dtype=NUMBERS[0]),
    _wished(
        "DequantizeLinear NVFP4", FP4, "nvfp4", blocks=(NV_BLOCK,), scale=_levels(FLOAT32),
        dtype=NUMBERS[0],
    ),
    _form(
        "DequantizeLinear int8", INT8, dtype=NUMBERS[0], requantize=True, roles=ANY - BLOCKED,
        asked=frozenset(WISHES) - {STORED, "int8", "float8"},
    ),
)  # fmt: skip
"""For those who wish for codes of one kind; what is no matrix stays int8, or becomes it."""

QUANTIZED: tuple[Form, ...] = (
    *(row for dtype in NUMBERS for row in _rows(dtype)),
    _form("TRT_MXFP8DequantizeLinear", FP8, "mxfp8", **MXFP8),
    *NEW,
)
"""Nearest first: what has no exact form becomes codes of the first that takes new ones."""
