"""Types without blocks: a number is its own block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from w2e_gguf.blocks.codec import Codec, Columns
from w2e_gguf.blocks.columns import Column, Field
from w2e_gguf.blocks.fields import AnyArray, Content, Fields, struct, take


@dataclass(frozen=True, slots=True)
class BFloat16:
    """A field of words that are the bits of bfloat16, which numpy itself doesn't know."""

    name: str

    def unpack(self, fields: Fields) -> AnyArray:
        """The numbers, (n,)."""
        import ml_dtypes

        return take(fields, self.name).view(ml_dtypes.bfloat16)

    def pack(self, values: AnyArray) -> Content:
        """Their bits."""
        return {self.name: np.ascontiguousarray(values).view(np.uint16)}


def _plain(kind: str, column: Column | None = None) -> Codec:
    return Codec(struct=struct(x=kind), columns=Columns(codes=column or Field("x")))


F32 = _plain("<f4")
F16 = _plain("<f2")
BF16 = _plain("<u2", BFloat16("x"))
F64 = _plain("<f8")
I8 = _plain("i1")
I16 = _plain("<i2")
I32 = _plain("<i4")
I64 = _plain("<i8")
