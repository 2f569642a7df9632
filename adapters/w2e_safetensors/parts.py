"""Which arrays an encoding needs, and how each lies in a file: read by the writer and the reader alike.

A tensor `t` is stored as `t` (its codes), `t.scale` and `t.offset`, recursively (`t.scale.scale`), and
`t.signs` of a vector table. Scales are stored once for each block, as they lie on all axes. Types of whole
bytes are arrays of that type; the others are U8, every row packed low bits first and padded to whole bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.planes import blocks, padded
from w2e_bridge.ir.codes import CodeMap, Float, Integer, VectorTable
from w2e_bridge.ir.encoding import WHOLE, Encoding

SIGNS, SCALE, OFFSET = ".signs", ".scale", ".offset"

DTYPES: Mapping[str, str] = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64",
}  # fmt: skip
"""Code types of whole bytes to the element types of safetensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One array of a tensor.

    Attributes:
        path: suffix of its name: "" = the codes.
        codes: what its numbers are; None of signs.
        leading: extents of the leading axes of what it belongs to (of the codes: of the tensor itself).
        extents: of the blocks on those axes, 1 for the codes.
        columns: numbers in a row.
        bits: of a number.
        dtype: element type in the file.
    """

    path: str
    codes: CodeMap | None
    leading: tuple[int, ...]
    extents: tuple[int, ...]
    columns: int
    bits: int
    dtype: str

    @property
    def lead(self) -> tuple[int, ...]:
        """Extents of its own leading axes."""
        return blocks(self.leading, self.extents)

    @property
    def rows(self) -> int:
        """Rows of numbers."""
        return math.prod(self.lead)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return -(-self.columns * self.bits // 8)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the file."""
        whole = self.dtype != "U8" or self.bits == 8
        return (*self.lead, self.columns if whole else self.row_bytes)

    @property
    def nbytes(self) -> int:
        """Length in the file."""
        return self.rows * self.row_bytes


def parts_of(shape: tuple[int, ...], encoding: Encoding) -> Iterator[Part]:
    """The arrays of a tensor, codes first.

    Raises:
        UnsupportedError: an encoding that does not go with the shape.
    """
    whole = _matrix(shape, encoding) if encoding.flat else shape or (1,)
    ones = (1,) * (len(whole) - 1)
    yield from _parts(encoding, whole, (whole[:-1], ones), "")


def _parts(
    encoding: Encoding,
    shape: tuple[int, ...],
    place: tuple[tuple[int, ...], tuple[int, ...]],
    path: str,
) -> Iterator[Part]:
    yield from _codes(encoding.codes, shape[-1], place, path)
    if encoding.scale is None:
        return
    if encoding.flat and len(shape) > 2:
        raise UnsupportedError("flat blocks of scales of more than two axes")
    block = _flat_block(encoding, shape) if encoding.flat else encoding.block
    yield from _grid(encoding.scale, shape, block, path + SCALE)
    offset = encoding.offset
    if offset is not None and offset.encoding is not None:
        own = block if offset.block is None else offset.block
        yield from _grid(offset.encoding, shape, own, path + OFFSET)


def _grid(
    encoding: Encoding, shape: tuple[int, ...], block: tuple[int, ...] | None, path: str
) -> Iterator[Part]:
    extents = padded(block, len(shape))
    yield from _parts(encoding, blocks(shape, extents), (shape[:-1], extents[:-1]), path)


def _codes(
    codes: CodeMap, columns: int, place: tuple[tuple[int, ...], tuple[int, ...]], path: str
) -> Iterator[Part]:
    leading, extents = place
    if isinstance(codes, VectorTable):
        if columns % codes.width or columns % 8:
            raise UnsupportedError(f"rows of {columns} weights for {codes}")
        columns //= codes.width
    yield Part(
        path=path,
        codes=codes,
        leading=leading,
        extents=extents,
        columns=columns,
        bits=codes.bits,
        dtype=_dtype(codes),
    )
    if isinstance(codes, VectorTable) and codes.signs:
        count = columns * codes.width // 8
        yield Part(
            path=path + SIGNS,
            codes=None,
            leading=leading,
            extents=extents,
            columns=count,
            bits=8,
            dtype="U8",
        )


def _dtype(codes: CodeMap) -> str:
    if isinstance(codes, Integer | Float):
        return DTYPES.get(str(codes), "U8")
    return "U16" if codes.bits == 16 else "U8"


def _matrix(shape: tuple[int, ...], encoding: Encoding) -> tuple[int, ...]:
    columns = shape[-1] if shape else 1
    _flat_block(encoding, (1, columns))
    return (math.prod(shape[:-1]), columns)


def _flat_block(encoding: Encoding, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks over a flattened tensor as blocks of its matrix: several in a row, or several rows in one."""
    (extent,), columns = encoding.block or (0,), shape[-1]
    if not extent or not columns:
        return (WHOLE, WHOLE)
    if columns % extent == 0:
        return (1, extent)
    if extent % columns:
        raise UnsupportedError(f"blocks of {extent} that cross rows of {columns} weights")
    return (extent // columns, WHOLE)
