"""The arrays of a matrix in MatMulNBits' layout: where they lie and how rows become their bytes.

Layout: microsoft/onnxruntime docs/ContribOperators.md, com.microsoft.MatMulNBits and
GatherBlockQuantized: codes (rows, blocks, block * bits / 8), lowest bits first; zero points packed
likewise, every row padded to whole bytes; scales float32 (rows, blocks).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.formats.output import Buffer
from w2e_bridge.graph.data import DataFile, Region
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import Encoding, OffsetKind
from w2e_bridge.ir.parts import Parts
from w2e_bridge.negotiation.decision import Decision
from w2e_bridge.numerics.bits import pack_rows, packed_bytes

HALF = 4
"""Bits of each half of an 8-bit code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """A matrix (rows, columns) of block-quantized codes.

    Attributes:
        name: base name of its arrays.
        bits: of a code as it is stored.
        block: columns that share a scale.
        rows: output features. columns: input features.
        codes, scale: arrays in the file.
        zeros: packed zero points in the file, (rows, bytes), or None where all blocks share `zero`.
        zero: the zero point that all blocks share.
        minimums: what is added to every weight of a block, (rows, blocks), or None.
    """

    name: str
    bits: int
    block: int
    rows: int
    columns: int
    codes: Region
    scale: Region
    zeros: Region | None = None
    zero: int = 0
    minimums: Region | None = None

    @property
    def attributes(self) -> dict[str, int]:
        """Attributes of MatMulNBits."""
        return {"K": self.columns, "N": self.rows, "bits": self.bits, "block_size": self.block}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plane:
    """Which bits of the source's codes an array of codes holds.

    Attributes:
        suffix: of the arrays' names.
        bits: stored bits of a code.
        take: the source's codes (or zero points) to this plane's.
        factor: of the scale.
    """

    suffix: str
    bits: int
    take: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    factor: float = 1.0


def _whole(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return codes


def _high(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return codes >> np.uint8(HALF)


def _low(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return codes & np.uint8(0x0F)


HALVES = (
    _Plane(suffix=".high", bits=HALF, take=_high, factor=float(1 << HALF)),
    _Plane(suffix=".low", bits=HALF, take=_low),
)
"""An 8-bit code u with zero point z as two of 4 bits, exactly: s * (u - z) =
16 s * (u >> 4 - z >> 4) + s * (u & 15 - z & 15)."""


def place(
    data: DataFile, name: str, decisions: Sequence[Decision], *, halves: bool
) -> list[Blocks]:
    """Lay out a matrix and plan its writing; one `Blocks`, or the high and the low half.

    Args:
        data: the data file.
        name: base name of the arrays.
        decisions: the tensors whose rows follow one another in it, all in one encoding.
        halves: split 8-bit codes into two halves of 4 bits.
    """
    encoding = decisions[0].tensor.encoding
    assert isinstance(encoding.codes, Integer)
    planes = HALVES if halves else (_Plane(suffix="", bits=encoding.codes.bits, take=_whole),)
    return [
        _place_plane(data, name, decisions, plane, first=p == 0) for p, plane in enumerate(planes)
    ]


def _place_plane(
    data: DataFile, name: str, decisions: Sequence[Decision], plane: _Plane, *, first: bool
) -> Blocks:
    tensors = [decision.tensor for decision in decisions]
    encoding, columns = tensors[0].encoding, tensors[0].columns
    block = encoding.row_block
    assert block
    rows, blocks = sum(tensor.rows for tensor in tensors), -(-columns // block)
    base = name + plane.suffix
    shape = (rows, blocks, packed_bytes(block, plane.bits))
    codes = data.region(f"{base}.codes", ir.DataType.UINT8, shape)
    scale = data.region(f"{base}.scale", ir.DataType.FLOAT, (rows, blocks))
    regions, packs = [codes, scale], [_codes(plane, block), _scale(plane)]
    constant, zeros = _constant_zero(encoding), None
    if constant is None:
        zeros = data.region(
            f"{base}.zero_point", ir.DataType.UINT8, (rows, packed_bytes(blocks, plane.bits))
        )
        regions.append(zeros)
        packs.append(_zero_points(plane))
    minimums = None
    if first and encoding.offset is not None and encoding.offset.kind is OffsetKind.BIAS:
        minimums = data.region(f"{name}.bias", ir.DataType.FLOAT, (rows, blocks))
        regions.append(minimums)
        packs.append(_minimums)
    row = 0
    for tensor in tensors:
        data.fill(tensor, regions, _all(packs), first_row=row)
        row += tensor.rows
    return Blocks(
        name=base,
        bits=plane.bits,
        block=block,
        rows=rows,
        columns=columns,
        codes=codes,
        scale=scale,
        zeros=zeros,
        zero=0 if constant is None else int(plane.take(np.array([constant], np.uint8))[0]),
        minimums=minimums,
    )


def _constant_zero(encoding: Encoding) -> int | None:
    """The zero point that all blocks share; 0 beside a bias; None where each has its own."""
    if encoding.offset is None or encoding.offset.kind is OffsetKind.BIAS:
        return 0
    return encoding.offset.constant


def zero_points(data: DataFile, blocks: Blocks, shared: int | None = None) -> ir.Value:
    """Zero points of a matrix, always explicit since providers disagree on the default.

    Args:
        data: the data file.
        blocks: the matrix.
        shared: the zero point of every block, where it is not the matrix's own.
    """
    if blocks.zeros is not None:
        return blocks.zeros.value
    value = blocks.zero if shared is None else shared
    count = -(-blocks.columns // blocks.block)
    # One array serves all matrices of a shape.
    name = f"zero_point.{value}.uint{blocks.bits}.{blocks.rows}x{count}"
    row = pack_rows(np.full((1, count), value, np.uint8), blocks.bits)
    return data.constant(name, np.repeat(row, blocks.rows, axis=0))


PackOne = Callable[[Parts], Buffer]


def _all(packs: Sequence[PackOne]) -> Callable[[Parts], Sequence[Buffer]]:
    return lambda parts: [pack(parts) for pack in packs]


def _codes(plane: _Plane, block: int) -> PackOne:
    def pack(parts: Parts) -> Buffer:
        codes = plane.take(parts.codes)
        spare = -codes.shape[-1] % block
        return pack_rows(np.pad(codes, ((0, 0), (0, spare))) if spare else codes, plane.bits)

    return pack


def _scale(plane: _Plane) -> PackOne:
    def pack(parts: Parts) -> Buffer:
        assert parts.scale is not None
        scale = parts.scale.codes
        full = np.broadcast_to(scale, (parts.codes.shape[0], scale.shape[-1]))
        return np.ascontiguousarray(full if plane.factor == 1 else full * np.float32(plane.factor))

    return pack


def _zero_points(plane: _Plane) -> PackOne:
    def pack(parts: Parts) -> Buffer:
        assert parts.offset is not None
        return pack_rows(plane.take(parts.offset.codes), plane.bits)

    return pack


def _minimums(parts: Parts) -> Buffer:
    assert parts.offset is not None
    return np.ascontiguousarray(parts.offset.codes, np.float32)
