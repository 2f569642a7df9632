"""Two, three and four levels: Q1_0, TQ1_0, TQ2_0, Q2_0.

Structs: ggml-org/llama.cpp ggml/src/ggml-common.h (`block_tq1_0`, …); order of the bits:
ggml/src/ggml-quants.c (`quantize_row_tq1_0_ref`, …).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from w2e_bridge.ir.codes import Table
from w2e_gguf.blocks.codec import Codec, Columns, field
from w2e_gguf.blocks.columns import Planes, SideBySide, Slices
from w2e_gguf.blocks.fields import AnyArray, Content, Fields, struct, take

PLUS_MINUS = Table(name="plus_minus", values=(-1, 1))
"""What the bits of Q1_0 mean."""


@dataclass(frozen=True, slots=True)
class Trits:
    """Codes -1, 0, 1 as digits of base 3 in planes: plane i holds digit i of every byte.

    Five digits are a number t below 243 and are stored as the fraction t / 243 in 256ths, rounded up,
    of which each multiplication by 3 brings one digit above the point, highest first. So 13 of the 256
    bytes are never written; they read as their neighbours do and come back as them.

    Attributes:
        name: the field, of bytes.
        digits: how many of the five are in use, the others being 0.
    """

    name: str
    digits: int

    def unpack(self, fields: Fields) -> AnyArray:
        """The codes, (n, digits * bytes)."""
        fraction = take(fields, self.name).copy()  # (n, bytes), in 256ths
        codes = np.empty((len(fraction), self.digits, fraction.shape[1]), np.int8)
        for index in range(self.digits):
            # the digit is fraction * 3 >> 8; comparing stays within 8 bits
            codes[:, index] = (fraction > 170).view(np.int8) - (fraction < 86).view(np.int8)
            fraction *= np.uint8(3)  # modulo 256: what is left below the point
        return codes.reshape(len(codes), self.digits * fraction.shape[1])

    def pack(self, values: AnyArray) -> Content:
        """The bytes."""
        planes = np.asarray(values).reshape(len(values), self.digits, -1) + 1
        number = np.zeros((len(planes), planes.shape[2]), np.uint16)
        for index in range(5):
            number *= np.uint16(3)
            if index < self.digits:
                number += planes[:, index].astype(np.uint16)
        return {self.name: (number * np.uint16(256) + np.uint16(242)) // np.uint16(243)}


# qs, byte j: codes 8j to 8j + 7, lowest bit first.
Q1_0 = Codec(
    struct=struct(d="<f2", qs="16u1"),
    columns=Columns(codes=Slices("qs", 1, (0, 1, 2, 3, 4, 5, 6, 7)), scale=field()),
)

# qs, byte j: codes 4j to 4j + 3, lowest bits first.
Q2_0 = Codec(
    struct=struct(d="<f2", qs="16u1"),
    columns=Columns(codes=Slices("qs", 2, (0, 2, 4, 6)), scale=field()),
)

# qs32 and qs16 (`qs` in ggml): 5 planes of 32 codes, then 5 of 16. qh: 4 planes of 4.
TQ1_0 = Codec(
    struct=struct(qs32="32u1", qs16="16u1", qh="4u1", d="<f2"),
    columns=Columns(
        codes=SideBySide((Trits("qs32", 5), Trits("qs16", 5), Trits("qh", 4)), (160, 80, 16)),
        scale=field(),
    ),
)

TQ2_0 = Codec(
    struct=struct(qs="64u1", d="<f2"),
    columns=Columns(codes=Planes("qs", 2, 32), scale=field()),
)
