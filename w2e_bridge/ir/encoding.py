"""How numbers are stored: one type for every quantization of every format.

    value = (code_map[code] (- zero point)) * or / scale (+ bias)

Scale and offset are themselves encoded arrays, so two-level schemes (K-quants, NVFP4, double
quantization) are the same type applied again. An encoding says nothing of data, shape or packing: it
hashes, compares and can be a row of a table. Packing is a codec of readers and writers
(`ir.layout.Layout`).

The order of evaluation is part of the meaning: every product and sum is rounded once to float32, in
the order `(float32(code) - zero) * float32(scale) + float32(bias)`, a second level first.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from w2e_bridge.ir.codes import CodeMap, Float, Integer, VectorTable

WHOLE = 0
"""A block extent that covers its whole axis."""


class OffsetKind(enum.Enum):
    """What the offset does.

    ZERO_POINT: an integer of the code's own range is subtracted from the code.
    FLOAT_ZERO: a real number is subtracted from the code.
    BIAS: a real number is added after scaling.
    NEGATIVE_BIAS: a real number is subtracted after scaling (ggml's minimums).
    """

    ZERO_POINT = "zero_point"
    FLOAT_ZERO = "float_zero"
    BIAS = "bias"
    NEGATIVE_BIAS = "negative_bias"

    @property
    def before_scale(self) -> bool:
        """Whether it is taken from the code rather than added to the product."""
        return self in (OffsetKind.ZERO_POINT, OffsetKind.FLOAT_ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offset:
    """The offset of a block.

    Attributes:
        kind: what it does.
        encoding: how the offsets are stored; unused where `constant` is given.
        block: extents of its own blocks where they differ from the scale's, else None.
        constant: the one integer that every zero point has, where the format implies it, so that
            nothing is stored (then `Parts.offset` is None).
    """

    kind: OffsetKind
    encoding: Encoding | None = None
    block: tuple[int, ...] | None = None
    constant: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutation:
    """Columns are stored in another order: column j belongs to group `index[j]`, kept verbatim.

    Attributes:
        axis: the permuted axis.
        tensor: name of the tensor that holds the index (int32).
    """

    axis: int
    tensor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """Something that a consumer of this tensor must apply as well, or the values are wrong.

    Attributes:
        kind: "input_smoothing", "hadamard", "outliers", "sparsity".
        tensor: name of the tensor that holds it.
    """

    kind: str
    tensor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How an array of numbers is stored. Plain types are the case without scale.

    Attributes:
        codes: what a code means.
        block: extents of the blocks that share a scale, for the last `len(block)` axes (`WHOLE` = the
            whole axis; axes not named have extent 1); the last block of an axis may be short. None
            where there is no scale.
        scale: how the scales are stored, None where there are none; sign and zero are kept.
        scale_divides: the number is divided by the scale instead of multiplied.
        offset: zero point, float zero or bias, if any.
        flat: blocks run over the flattened tensor and may cross rows (then `block` has one extent).
        permutation: of columns into groups.
        companions: what consumers must apply too.
        symmetric: declared by the source, never inferred; None = not said.
        narrow_range: likewise: the lowest code of a signed type is not used.
    """

    codes: CodeMap
    block: tuple[int, ...] | None = None
    scale: Encoding | None = None
    scale_divides: bool = False
    offset: Offset | None = None
    flat: bool = False
    permutation: Permutation | None = None
    companions: tuple[Companion, ...] = ()
    symmetric: bool | None = None
    narrow_range: bool | None = None

    @property
    def quantized(self) -> bool:
        """Whether a scale or a code map stands between the codes and the numbers."""
        return self.scale is not None or not isinstance(self.codes, Float | Integer)

    @property
    def plain(self) -> bool:
        """Whether the codes are the numbers."""
        return not self.quantized

    @property
    def row_block(self) -> int | None:
        """The block's extent along the last axis if that is the only blocked axis, else None."""
        if self.flat or not self.block or any(extent != 1 for extent in self.block[:-1]):
            return None
        return self.block[-1]

    def bits_per_weight(self, columns: int) -> float:
        """Bits that a weight costs with its share of scales and offsets, in rows of `columns`."""
        codes = float(self.codes.bits)
        if isinstance(self.codes, VectorTable):
            codes = codes / self.codes.width + self.codes.signs
        if self.scale is None:
            return codes
        group = (self.block or (1,))[-1] or columns
        blocks = -(-columns // group)
        per_block = self.scale.bits_per_weight(blocks)
        if self.offset is not None and self.offset.encoding is not None:
            own = group if self.offset.block is None else (self.offset.block[-1] or columns)
            per_block += self.offset.encoding.bits_per_weight(-(-columns // own)) * group / own
        return codes + per_block / group

    def __str__(self) -> str:
        """Short, for people: `uint4[32] × uint6[8] × float16 − uint6[8] × float16`."""
        if self.scale is None:
            return str(self.codes)
        extents = "flat" if self.flat else ",".join(str(e) if e else ":" for e in self.block or ())
        text = f"{self.codes}[{extents}] {'÷' if self.scale_divides else '×'} {self.scale}"
        if self.offset is None:
            return text
        stored = self.offset.encoding if self.offset.constant is None else self.offset.constant
        match self.offset.kind:
            case OffsetKind.ZERO_POINT:
                return f"{text}, zero point {stored}"
            case OffsetKind.FLOAT_ZERO:
                return f"{text}, float zero {stored}"
            case OffsetKind.BIAS:
                return f"{text} + {stored}"
            case OffsetKind.NEGATIVE_BIAS:
                return f"{text} − {stored}"


FLOAT32 = Encoding(codes=Float(name="float32"))
FLOAT16 = Encoding(codes=Float(name="float16"))
BFLOAT16 = Encoding(codes=Float(name="bfloat16"))
FLOAT64 = Encoding(codes=Float(name="float64"))


def integers(bits: int, *, signed: bool) -> Encoding:
    """Plain integers of a width."""
    return Encoding(codes=Integer(bits=bits, signed=signed))


def blocked(codes: CodeMap, block: int, scale: Encoding, offset: Offset | None = None) -> Encoding:
    """Blocks of `block` along the last axis, each with a scale and perhaps an offset."""
    return Encoding(codes=codes, block=(block,), scale=scale, offset=offset)


def zero_point(bits: int, *, signed: bool = False) -> Offset:
    """Stored integer zero points of the code's own type."""
    return Offset(kind=OffsetKind.ZERO_POINT, encoding=integers(bits, signed=signed))


def constant_zero(value: int) -> Offset:
    """An implied zero point."""
    return Offset(kind=OffsetKind.ZERO_POINT, constant=value)
