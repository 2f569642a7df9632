"""Codebooks: IQ1_S to IQ4_XS.

Structs: ggml-org/llama.cpp ggml/src/ggml-common.h (`block_iq2_xxs`, …); order of the bits:
ggml/src/ggml-quants.c (`dequantize_row_iq2_xxs`, …). Where ggml's `qs` holds several things it is
split here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from w2e_bridge.ir.codes import Table
from w2e_gguf.blocks.codec import Codec, Columns, field, scaled
from w2e_gguf.blocks.columns import Field, Planes, Slices, joined
from w2e_gguf.blocks.fields import AnyArray, Bytes, Content, Fields, struct, take


def _steps(name: str, count: int, first: float, step: float) -> Table:
    return Table(name=name, values=tuple(first + step * code for code in range(count)))


IQ1_SCALE = _steps("iq1_scale", 8, 1, 2)
IQ2_SCALE = _steps("iq2_scale", 16, 0.125, 0.25)
IQ3_XXS_SCALE = _steps("iq3_xxs_scale", 16, 0.25, 0.5)
IQ3_S_SCALE = _steps("iq3_s_scale", 16, 1, 2)

IQ1_SHIFT = Table(name="iq1_shift", values=(-0.125, 0.125))
"""What is subtracted from the grid; ggml adds `IQ1S_DELTA` where the bit is clear."""

IQ4_VALUES = Table(
    name="iq4_nl",
    values=(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
)
"""`kvalues_iq4nl`."""

_EVEN = np.array([code | (code.bit_count() & 1) << 7 for code in range(128)], np.uint8)
_NIBBLES = np.array([0, 4, 8, 12], np.uint16)


@dataclass(frozen=True, slots=True)
class EvenSigns:
    """Signs of eight weights in seven bits: the number of negative ones is even (`ksigns_iq2xs`)."""

    seven: Slices

    def unpack(self, fields: Fields) -> Bytes:
        """A byte of signs for eight weights, (n, weights / 8)."""
        return np.take(_EVEN, self.seven.unpack(fields))

    def pack(self, values: AnyArray) -> Content:
        """The lower seven of each eight."""
        return self.seven.pack(values & np.uint8(0x7F))


@dataclass(frozen=True, slots=True)
class ScatteredHalf:
    """A float16 in the high nibbles of four 16-bit words, its lowest bits first."""

    name: str

    def unpack(self, fields: Fields) -> AnyArray:
        """The number, (n,)."""
        nibbles = take(fields, self.name) >> np.uint16(12)  # (n, 4)
        bits: AnyArray = np.bitwise_or.reduce(nibbles << _NIBBLES, axis=1)
        return bits.view(np.float16)

    def pack(self, values: AnyArray) -> Content:
        """The words, zero but for the nibbles."""
        bits = np.ascontiguousarray(values, np.float16).view(np.uint16).reshape(-1, 1)
        return {self.name: (bits >> _NIBBLES << np.uint16(12)).reshape(-1)}


# qh, a word for 32 weights: high bits of four grid indices, scale, shift.
IQ1_S = Codec(
    struct=struct(d="<f2", qs="32u1", qh="8<u2"),
    columns=Columns(
        codes=joined(Slices("qs", 8), Slices("qh", 3, (0, 3, 6, 9))),
        scale=scaled(Slices("qh", 3, (12,))),
        offset=Columns(codes=Slices("qh", 1, (15,))),
    ),
)

# qh, a nibble for 8 weights: high bits of the grid index, shift.
# scales, a word for 64 weights: four scales, a nibble of d.
IQ1_M = Codec(
    struct=struct(qs="32u1", qh="16u1", scales="4<u2"),
    columns=Columns(
        codes=joined(Slices("qs", 8), Slices("qh", 3, (0, 4))),
        scale=Columns(
            codes=Slices("scales", 3, (0, 3, 6, 9)),
            scale=Columns(codes=ScatteredHalf("scales")),
        ),
        offset=Columns(codes=Slices("qh", 1, (3, 7))),
    ),
)

# of32, for 32 weights: four grid indices, then a word of four times seven signs and a scale.
IQ2_XXS = Codec(
    struct=struct(d="<f2", of32=(struct(qs="4u1", signs="<u4"), 8)),
    columns=Columns(
        codes=Field("of32.qs"),
        signs=EvenSigns(Slices("of32.signs", 7, (0, 7, 14, 21))),
        scale=scaled(Slices("of32.signs", 4, (28,))),
    ),
)

# qs, a word for 8 weights: grid index, seven signs.
IQ2_XS = Codec(
    struct=struct(d="<f2", qs="32<u2", scales="8u1"),
    columns=Columns(
        codes=Slices("qs", 9),
        signs=EvenSigns(Slices("qs", 7, (9,))),
        scale=scaled(Slices("scales", 4, (0, 4))),
    ),
)

IQ2_S = Codec(
    struct=struct(d="<f2", qs="32u1", signs="32u1", qh="8u1", scales="8u1"),
    columns=Columns(
        codes=joined(Slices("qs", 8), Slices("qh", 2, (0, 2, 4, 6))),
        signs=Field("signs"),
        scale=scaled(Slices("scales", 4, (0, 4))),
    ),
)

# signs, a word for 32 weights: four times seven signs, a scale.
IQ3_XXS = Codec(
    struct=struct(d="<f2", qs="64u1", signs="8<u4"),
    columns=Columns(
        codes=Field("qs"),
        signs=EvenSigns(Slices("signs", 7, (0, 7, 14, 21))),
        scale=scaled(Slices("signs", 4, (28,))),
    ),
)

IQ3_S = Codec(
    struct=struct(d="<f2", qs="64u1", qh="8u1", signs="32u1", scales="4u1"),
    columns=Columns(
        codes=joined(Slices("qs", 8), Slices("qh", 1, (0, 1, 2, 3, 4, 5, 6, 7))),
        signs=Field("signs"),
        scale=scaled(Slices("scales", 4, (0, 4))),
    ),
)

IQ4_NL = Codec(
    struct=struct(d="<f2", qs="16u1"),
    columns=Columns(codes=Planes("qs", 4, 16), scale=field()),
)

# scales_h, scales_l: high two bits and low nibbles of scale + 32.
IQ4_XS = Codec(
    struct=struct(d="<f2", scales_h="2u1", scales_l="4u1", qs="128u1"),
    columns=Columns(
        codes=Planes("qs", 4, 16),
        scale=scaled(
            joined(Slices("scales_l", 4, (0, 4)), Slices("scales_h", 2, (0, 2, 4, 6)), low=-32)
        ),
    ),
)
