"""Four-bit floats with eight-bit float scales: MXFP4 and NVFP4.

Structs: ggml-org/llama.cpp ggml/src/ggml-common.h (`block_mxfp4`, …); order of the bits and values:
ggml/src/ggml-quants.c (`dequantize_row_mxfp4`, …) and ggml/src/ggml-impl.h.

The bits are those of float4_e2m1fn, float8_e8m0fnu and float8_e4m3fn. ggml reads a few of them in its
own way (E2M1 code 8 is +0, E8M0 255 is a number, UE4M3 has no sign and 0x7F is 0), and it doubles the
codes and halves the scales. The tables say just that: every byte decodes as ggml decodes it, and the
codes unroll into integers.
"""

from __future__ import annotations

from w2e_bridge.ir.codes import Table
from w2e_gguf.blocks.codec import Codec, Columns, field
from w2e_gguf.blocks.columns import Planes
from w2e_gguf.blocks.fields import struct


def _ue4m3_half(code: int) -> float:
    exponent, mantissa = code >> 3 & 15, code & 7
    if code == 0x7F:
        return 0.0
    if exponent == 0:
        return mantissa * 2.0**-10
    return (1 + mantissa / 8) * 2.0 ** (exponent - 8)


E2M1_DOUBLED = Table(
    name="e2m1_doubled", values=(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
)
"""Twice the number of an E2M1 code (`kvalues_mxfp4`)."""

E8M0_HALF = Table(name="e8m0_half", values=tuple(2.0 ** (code - 128) for code in range(256)))
"""Half the number of an E8M0 code (`ggml_e8m0_to_fp32_half`); the first two are subnormal."""

UE4M3_HALF = Table(name="ue4m3_half", values=tuple(_ue4m3_half(code) for code in range(256)))
"""Half the number of an unsigned E4M3 code (`ggml_ue4m3_to_fp32`)."""

MXFP4 = Codec(
    struct=struct(e="u1", qs="16u1"),
    columns=Columns(codes=Planes("qs", 4, 16), scale=field("e")),
)

# Four sub-blocks of 16 codes in 8 bytes.
NVFP4 = Codec(
    struct=struct(d="4u1", qs="32u1"),
    columns=Columns(codes=Planes("qs", 4, 8), scale=field()),
)
