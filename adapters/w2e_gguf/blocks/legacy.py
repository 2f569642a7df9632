"""Blocks of 32 with one scale and perhaps a minimum: Q4_0 to Q8_1.

Structs: ggml-org/llama.cpp ggml/src/ggml-common.h (`block_q4_0`, …); order of the bits:
ggml/src/ggml-quants.c (`dequantize_row_q4_0`, …).
"""

from __future__ import annotations

import numpy as np

from w2e_bridge.ir.parts import Parts
from w2e_gguf.blocks.codec import Codec, Columns, field
from w2e_gguf.blocks.columns import Field, Planes, Slices, joined
from w2e_gguf.blocks.fields import AnyArray, struct

_NIBBLES = Planes("qs", 4, 16)  # byte j: code j low, code j + 16 high
_FIFTH_BITS = Slices("qh", 1, (0, 1, 2, 3, 4, 5, 6, 7))  # bit i of the 32 belongs to code i

Q4_0 = Codec(
    struct=struct(d="<f2", qs="16u1"),
    columns=Columns(codes=joined(_NIBBLES, low=-8), scale=field()),
)

Q4_1 = Codec(
    struct=struct(d="<f2", m="<f2", qs="16u1"),
    columns=Columns(codes=_NIBBLES, scale=field(), offset=field("m")),
)

Q5_0 = Codec(
    struct=struct(d="<f2", qh="4u1", qs="16u1"),
    columns=Columns(codes=joined(_NIBBLES, _FIFTH_BITS, low=-16), scale=field()),
)

Q5_1 = Codec(
    struct=struct(d="<f2", m="<f2", qh="4u1", qs="16u1"),
    columns=Columns(codes=joined(_NIBBLES, _FIFTH_BITS), scale=field(), offset=field("m")),
)

Q8_0 = Codec(
    struct=struct(d="<f2", qs="32i1"),
    columns=Columns(codes=Field("qs"), scale=field()),
)


def _scaled_sums(parts: Parts) -> AnyArray:
    """The sum of a block's codes times its scale in float32, (n, 1)."""
    assert parts.scale is not None
    sums: AnyArray = parts.codes.sum(axis=1, dtype=np.int32, keepdims=True).astype(np.float32)
    with np.errstate(all="ignore"):
        return np.multiply(sums, parts.scale.codes)


# For activations, never in a file. The size is gguf-py's (gguf/constants.py, 4 + 4 + 32 bytes), when d
# and s were float32; ggml has made halves of them since.
Q8_1 = Codec(
    struct=struct(d="<f4", s="<f4", qs="32i1"),
    columns=Columns(codes=Field("qs"), scale=field()),
    derived=(("s", _scaled_sums),),
)
