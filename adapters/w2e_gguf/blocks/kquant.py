"""Super-blocks of 256 with quantized scales: Q2_K to Q8_K.

Structs: ggml-org/llama.cpp ggml/src/ggml-common.h (`block_q2_K`, …); order of the bits:
ggml/src/ggml-quants.c (`dequantize_row_q2_K`, …).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from w2e_bridge.ir.parts import Parts
from w2e_gguf.blocks.codec import Codec, Columns, field, scaled
from w2e_gguf.blocks.columns import Field, Planes, SideBySide, Slices, joined
from w2e_gguf.blocks.fields import AnyArray, Content, Fields, struct

# scales, byte j: scale j low, minimum j high.
Q2_K = Codec(
    struct=struct(scales="16u1", qs="64u1", d="<f2", dmin="<f2"),
    columns=Columns(
        codes=Planes("qs", 2, 32),
        scale=scaled(Slices("scales", 4, (0,)), "d"),
        offset=scaled(Slices("scales", 4, (4,)), "dmin"),
    ),
)

# hmask: a bit is set where 4 is *not* subtracted, so it is the third bit of code + 4.
# scales_l and scales_h (`scales` in ggml): low nibbles and high two bits of scale + 32.
Q3_K = Codec(
    struct=struct(hmask="32u1", qs="64u1", scales_l="8u1", scales_h="4u1", d="<f2"),
    columns=Columns(
        codes=joined(Planes("qs", 2, 32), Planes("hmask", 1, 32), low=-4),
        scale=scaled(joined(Planes("scales_l", 4, 8), Planes("scales_h", 2, 4), low=-32)),
    ),
)


@dataclass(frozen=True, slots=True)
class SixBits:
    """Eight 6-bit scales (or minimums) in the 12 bytes that both share (`get_scale_min_k4`).

    scales[j]  bits 0-5: scale j               bits 6-7: high bits of scale j + 4     ggml: j
    mins[j]    bits 0-5: minimum j             bits 6-7: high bits of minimum j + 4   ggml: j + 4
    both[j]    bits 0-3: low of scale j + 4    bits 4-7: low of minimum j + 4         ggml: j + 8

    Attributes:
        name: "scales" or "mins".
        nibble: which bits of `both` are theirs.
    """

    name: str
    nibble: int

    def unpack(self, fields: Fields) -> AnyArray:
        """The eight numbers, (n, 8) uint8."""
        # Four bytes at a time: the bytes of a word never reach into each other here.
        own, both = (fields[n].view("<u4")[:, 0] for n in (self.name, "both"))
        out = np.empty((len(own), 2), "<u4")
        out[:, 0] = own & np.uint32(0x3F3F3F3F)
        low, high = both >> np.uint32(self.nibble), own >> np.uint32(2)
        out[:, 1] = (low & np.uint32(0x0F0F0F0F)) | (high & np.uint32(0x30303030))
        return out.view(np.uint8)

    def pack(self, values: AnyArray) -> Content:
        """Their bits of the bytes, zero where the others have theirs."""
        second = joined(Slices("both", 4, (self.nibble,)), Slices(self.name, 2, (6,)))
        return SideBySide((Slices(self.name, 6), second), (4, 4)).pack(values)


def _six_bits(name: str, nibble: int, above: str) -> Columns:
    return scaled(SixBits(name, nibble), above)


Q4_K = Codec(
    struct=struct(d="<f2", dmin="<f2", scales="4u1", mins="4u1", both="4u1", qs="128u1"),
    columns=Columns(
        codes=Planes("qs", 4, 32),
        scale=_six_bits("scales", 0, "d"),
        offset=_six_bits("mins", 4, "dmin"),
    ),
)

Q5_K = Codec(
    struct=struct(d="<f2", dmin="<f2", scales="4u1", mins="4u1", both="4u1", qh="32u1", qs="128u1"),
    columns=Columns(
        codes=joined(Planes("qs", 4, 32), Planes("qh", 1, 32)),
        scale=_six_bits("scales", 0, "d"),
        offset=_six_bits("mins", 4, "dmin"),
    ),
)

Q6_K = Codec(
    struct=struct(ql="128u1", qh="64u1", scales="16i1", d="<f2"),
    columns=Columns(
        codes=joined(Planes("ql", 4, 64), Planes("qh", 2, 32), low=-32),
        scale=scaled(Field("scales")),
    ),
)


def _sums_of_16(parts: Parts) -> AnyArray:
    """The sum of every 16 codes of a block, (n, 16)."""
    sums: AnyArray = parts.codes.reshape(-1, 16, 16).sum(axis=2, dtype=np.int16)
    return sums


# For activations, never in a file. ggml leaves `bsums` unset in a block of zeros
# (`quantize_row_q8_K_ref`); here they are zero.
Q8_K = Codec(
    struct=struct(d="<f4", qs="256i1", bsums="16<i2"),
    columns=Columns(codes=Field("qs"), scale=field()),
    derived=(("bsums", _sums_of_16),),
)
