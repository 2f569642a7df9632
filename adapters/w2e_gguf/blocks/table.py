"""Every ggml type, one row each: what its numbers mean and how its blocks are packed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from w2e_bridge.ir.codes import Integer, VectorTable
from w2e_bridge.ir.encoding import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    Encoding,
    Offset,
    OffsetKind,
    blocked,
    constant_zero,
    integers,
)
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.parts import Parts
from w2e_gguf.blocks import iquant, kquant, legacy, micro, plain, ternary
from w2e_gguf.blocks.codebooks import codebook
from w2e_gguf.blocks.codec import Codec
from w2e_gguf.blocks.fields import Bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class GgmlType:
    """A type of tensor in a GGUF file.

    Attributes:
        id: its number in the file (`enum ggml_type`).
        name: its name there.
        elements: weights in a block.
        codec: how a block is packed.
        form: its encoding, or what makes it where a codebook must be loaded first.
        redundant: several blocks mean the same: sums beside the codes, or more bytes than trits.
    """

    id: int
    name: str
    elements: int
    codec: Codec
    form: Encoding | Callable[[], Encoding]
    redundant: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of a block."""
        return self.codec.struct.itemsize

    @cached_property
    def layout(self) -> Layout:
        """The encoding and its packing, as the core knows them."""
        encoding = self.form if isinstance(self.form, Encoding) else self.form()
        width = encoding.codes.width if isinstance(encoding.codes, VectorTable) else 1

        def pack(parts: Parts) -> Bytes:
            return self.codec.pack(parts, self.elements // width)

        return Layout(
            name=f"ggml.{self.name.lower()}",
            label=self.name,
            encoding=encoding,
            elements=self.elements,
            bytes=self.bytes,
            unpack=self.codec.unpack,
            pack=pack,
            redundant=self.redundant,
        )


def _type(
    number: int, name: str, elements: int, codec: Codec, form: Encoding | Callable[[], Encoding]
) -> GgmlType:
    return GgmlType(id=number, name=name, elements=elements, codec=codec, form=form)


def _redundant(row: GgmlType) -> GgmlType:
    return replace(row, redundant=True)


def _signed(bits: int, block: int, scale: Encoding = FLOAT16) -> Encoding:
    return blocked(Integer(bits=bits, signed=True), block, scale)


def _affine(bits: int, block: int, kind: OffsetKind, scale: Encoding = FLOAT16) -> Encoding:
    return blocked(Integer(bits=bits), block, scale, Offset(kind=kind, encoding=scale))


def _from_minus_one(block: int) -> Encoding:
    # Not int2: the code 3, which no quantizer writes but a file may hold, reads as 2 there.
    return blocked(Integer(bits=2), block, FLOAT16, constant_zero(1))


def _grid(
    name: str, block: int, scale: Encoding, offset: Offset | None = None
) -> Callable[[], Encoding]:
    return lambda: blocked(codebook(name, signs=offset is None), block, scale, offset)


def _shift(block: int) -> Offset:
    encoding = Encoding(codes=iquant.IQ1_SHIFT)
    return Offset(kind=OffsetKind.FLOAT_ZERO, encoding=encoding, block=(block,))


_BIAS, _MINIMUM = OffsetKind.BIAS, OffsetKind.NEGATIVE_BIAS
_E8M0, _UE4M3 = Encoding(codes=micro.E8M0_HALF), Encoding(codes=micro.UE4M3_HALF)

# Scales of the blocks of a super-block, by how many there are.
_UINT4_16 = blocked(Integer(bits=4), 16, FLOAT16)
_UINT6_8 = blocked(Integer(bits=6), 8, FLOAT16)
_INT6_8 = blocked(Integer(bits=6, signed=True), 8, FLOAT16)
_INT6_16 = blocked(Integer(bits=6, signed=True), 16, FLOAT16)
_INT8_16 = blocked(Integer(bits=8, signed=True), 16, FLOAT16)
_IQ1_8 = blocked(iquant.IQ1_SCALE, 8, FLOAT16)
_IQ1_16 = blocked(iquant.IQ1_SCALE, 16, FLOAT16)
_IQ2_8 = blocked(iquant.IQ2_SCALE, 8, FLOAT16)
_IQ2_16 = blocked(iquant.IQ2_SCALE, 16, FLOAT16)
_IQ3_XXS_8 = blocked(iquant.IQ3_XXS_SCALE, 8, FLOAT16)
_IQ3_S_8 = blocked(iquant.IQ3_S_SCALE, 8, FLOAT16)

_ROWS = (
    _type(0, "F32", 1, plain.F32, FLOAT32),
    _type(1, "F16", 1, plain.F16, FLOAT16),
    _type(2, "Q4_0", 32, legacy.Q4_0, _signed(4, 32)),
    _type(3, "Q4_1", 32, legacy.Q4_1, _affine(4, 32, _BIAS)),
    _type(6, "Q5_0", 32, legacy.Q5_0, _signed(5, 32)),
    _type(7, "Q5_1", 32, legacy.Q5_1, _affine(5, 32, _BIAS)),
    _type(8, "Q8_0", 32, legacy.Q8_0, _signed(8, 32)),
    _redundant(_type(9, "Q8_1", 32, legacy.Q8_1, _signed(8, 32, FLOAT32))),
    _type(10, "Q2_K", 256, kquant.Q2_K, _affine(2, 16, _MINIMUM, _UINT4_16)),
    _type(11, "Q3_K", 256, kquant.Q3_K, _signed(3, 16, _INT6_16)),
    _type(12, "Q4_K", 256, kquant.Q4_K, _affine(4, 32, _MINIMUM, _UINT6_8)),
    _type(13, "Q5_K", 256, kquant.Q5_K, _affine(5, 32, _MINIMUM, _UINT6_8)),
    _type(14, "Q6_K", 256, kquant.Q6_K, _signed(6, 16, _INT8_16)),
    _redundant(_type(15, "Q8_K", 256, kquant.Q8_K, _signed(8, 256, FLOAT32))),
    _type(16, "IQ2_XXS", 256, iquant.IQ2_XXS, _grid("iq2_xxs", 32, _IQ2_8)),
    _type(17, "IQ2_XS", 256, iquant.IQ2_XS, _grid("iq2_xs", 16, _IQ2_16)),
    _type(18, "IQ3_XXS", 256, iquant.IQ3_XXS, _grid("iq3_xxs", 32, _IQ3_XXS_8)),
    _type(19, "IQ1_S", 256, iquant.IQ1_S, _grid("iq1", 32, _IQ1_8, _shift(32))),
    _type(20, "IQ4_NL", 32, iquant.IQ4_NL, blocked(iquant.IQ4_VALUES, 32, FLOAT16)),
    _type(21, "IQ3_S", 256, iquant.IQ3_S, _grid("iq3_s", 32, _IQ3_S_8)),
    _type(22, "IQ2_S", 256, iquant.IQ2_S, _grid("iq2_s", 16, _IQ2_16)),
    _type(23, "IQ4_XS", 256, iquant.IQ4_XS, blocked(iquant.IQ4_VALUES, 32, _INT6_8)),
    _type(24, "I8", 1, plain.I8, integers(8, signed=True)),
    _type(25, "I16", 1, plain.I16, integers(16, signed=True)),
    _type(26, "I32", 1, plain.I32, integers(32, signed=True)),
    _type(27, "I64", 1, plain.I64, integers(64, signed=True)),
    _type(28, "F64", 1, plain.F64, FLOAT64),
    _type(29, "IQ1_M", 256, iquant.IQ1_M, _grid("iq1", 16, _IQ1_16, _shift(8))),
    _type(30, "BF16", 1, plain.BF16, BFLOAT16),
    _redundant(_type(34, "TQ1_0", 256, ternary.TQ1_0, _signed(2, 256))),
    _type(35, "TQ2_0", 256, ternary.TQ2_0, _from_minus_one(256)),
    _type(39, "MXFP4", 32, micro.MXFP4, blocked(micro.E2M1_DOUBLED, 32, _E8M0)),
    _type(40, "NVFP4", 64, micro.NVFP4, blocked(micro.E2M1_DOUBLED, 16, _UE4M3)),
    _type(41, "Q1_0", 128, ternary.Q1_0, blocked(ternary.PLUS_MINUS, 128, FLOAT16)),
    _type(42, "Q2_0", 64, ternary.Q2_0, _from_minus_one(64)),
)

TYPES: dict[int, GgmlType] = {row.id: row for row in _ROWS}
"""Number of a type in a file to its row. Layouts are made, and codebooks loaded, when asked for."""
