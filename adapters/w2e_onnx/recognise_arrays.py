"""The constants behind a block-quantized matrix as one tensor: shapes checked, nothing read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, integer, needed
from w2e_bridge.graph.planes import Grid, GridStorage, Matrix
from w2e_bridge.graph.qdq_weights import matrix_of
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import Encoding, Offset, OffsetKind, constant_zero, zero_point
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.tensor import Storage, Tensor

SCALES = ("float32", "float16", "bfloat16")
WIDTHS = range(2, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """Where the constants of nodes are looked up.

    Attributes:
        editor: the model.
        path: of the file, for messages.
    """

    editor: Editor
    path: str

    def of(self, value: ir.Value | None) -> Tensor:
        """The plain tensor behind a value, or `Unrecognised`."""
        tensor = self.editor.constant(value)
        if tensor.encoding.quantized:
            raise Unrecognised("a constant that is quantized itself")
        return tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Extents of a matrix and its blocks.

    Attributes:
        rows: output features, or entries of the table. columns: input features, or width of an entry.
        bits: of a stored code. block: columns that share a scale.
        packed: whether codes are packed in bytes, rather than of a type of their own.
        signed: two's complement.
    """

    rows: int
    columns: int
    bits: int
    block: int
    packed: bool = True
    signed: bool = False

    @property
    def blocks(self) -> int:
        """Blocks of a row."""
        return -(-self.columns // self.block)


def described(
    node: ir.Node,
    planes: Sequence[tuple[int, int, int]],
    minimums: int | None,
    arrays: Arrays,
) -> Tensor:
    """The matrix that a node reads, (rows, columns), under the name of its codes.

    Args:
        node: of a known kind.
        planes: inputs (codes, scale, zero point) of each part of a code, high bits first.
        minimums: input of what is added after scaling, or None.
        arrays: where constants are.

    Raises:
        Unrecognised: not constant, or of shapes that don't go together.
    """
    codes = arrays.of(needed(node, planes[0][0]))
    grid = _extents(node, codes)
    found = [_plane(node, plane, grid, arrays) for plane in planes]
    encoding = found[-1][0]
    storage: Storage = found[-1][1]
    where = Where(path=arrays.path, tensor=codes.name)
    if len(found) > 1:
        encoding = _joined(encoding, grid.bits * len(found))
        storage = HalvesStorage(high=found[0][1], low=storage, bits=grid.bits, where=where)
    if minimums is not None:
        least = _per_block(_minimums(arrays.of(needed(node, minimums)), grid), grid)
        centre = _centre(node)
        kind = Offset(kind=OffsetKind.BIAS, encoding=arrays.of(needed(node, minimums)).encoding)
        encoding = replace(encoding, offset=kind)
        storage = MinimumsStorage(inner=storage, minimums=least, centre=centre, where=where)
    dtype = arrays.of(needed(node, planes[-1][1])).dtype
    shape = (grid.rows, grid.columns)
    return Tensor(name=codes.name, shape=shape, dtype=dtype, encoding=encoding, storage=storage)


def _extents(node: ir.Node, codes: Tensor) -> _Grid:
    block, own = integer(node, "block_size"), codes.encoding.codes
    packed = codes.dtype == "uint8"
    if not packed and not (isinstance(own, Integer) and own.bits == 4):
        raise Unrecognised(f"codes of type {codes.dtype}")
    bits = integer(node, "bits", 4) if packed else 4
    signed = not packed and isinstance(own, Integer) and own.signed
    if block < 1 or bits not in WIDTHS or not codes.elements:
        raise Unrecognised(f"blocks of {block}, {bits} bits")
    if node.op_type.startswith("MatMul"):
        rows, columns = integer(node, "N"), integer(node, "K")
    else:
        if integer(node, "gather_axis", 0) or integer(node, "quantize_axis", 1) not in (1, -1):
            raise Unrecognised("other axes than those of a table")
        rows, columns = codes.shape[0], codes.elements // codes.shape[0]
        columns = columns * 8 // bits if packed else columns
    grid = _Grid(rows=rows, columns=columns, bits=bits, block=block, packed=packed, signed=signed)
    width = codes.elements // rows if rows > 0 else 0
    wanted = (grid.blocks * block * bits // 8, -(-columns * bits // 8)) if packed else (columns,)
    if rows < 1 or columns < 1 or width * rows != codes.elements or width not in wanted:
        raise Unrecognised(f"codes of shape {codes.shape} for a matrix of {rows} x {columns}")
    return grid


def _plane(
    node: ir.Node, plane: tuple[int, int, int], grid: _Grid, arrays: Arrays
) -> tuple[Encoding, GridStorage]:
    """One part of the codes with its scales and zero points."""
    codes, scale = arrays.of(needed(node, plane[0])), arrays.of(needed(node, plane[1]))
    if scale.dtype not in SCALES or scale.elements != grid.rows * grid.blocks:
        raise Unrecognised(f"scales of shape {scale.shape}")
    if _extents(node, codes) != grid:
        raise Unrecognised("parts of different shapes")
    kind = Integer(bits=grid.bits, signed=grid.signed)
    flat = matrix_of(codes, codes.elements // grid.rows)
    offset, zeros = _zeros(node, plane[2], grid, arrays)
    storage = GridStorage(
        codes=replace(flat, codes=kind, columns=grid.columns, width=grid.bits),
        scale=_per_block(matrix_of(scale, grid.blocks), grid),
        offset=None if zeros is None else _per_block(zeros, grid),
    )
    block = (grid.block,)
    return Encoding(codes=kind, block=block, scale=scale.encoding, offset=offset), storage


def _zeros(
    node: ir.Node, index: int, grid: _Grid, arrays: Arrays
) -> tuple[Offset | None, Matrix | None]:
    """The zero points: implied, packed like codes, of a type of their own, or floats."""
    value = given(node, index)
    if value is None:  # the middle of the range for packed codes, 0 for codes of their own type
        return (constant_zero(1 << (grid.bits - 1)) if grid.packed else None), None
    zeros = arrays.of(value)
    if isinstance(zeros.encoding.codes, Float):
        if zeros.dtype not in SCALES or zeros.elements != grid.rows * grid.blocks:
            raise Unrecognised(f"zero points of shape {zeros.shape}")
        offset = Offset(kind=OffsetKind.FLOAT_ZERO, encoding=zeros.encoding)
        return offset, matrix_of(zeros, grid.blocks)
    row = -(-grid.blocks * grid.bits // 8) if grid.packed else grid.blocks
    if zeros.elements != grid.rows * row or (zeros.dtype == "uint8") is not grid.packed:
        raise Unrecognised(f"zero points of shape {zeros.shape}")
    kind = Integer(bits=grid.bits, signed=grid.signed)
    matrix = replace(matrix_of(zeros, row), codes=kind, columns=grid.blocks, width=grid.bits)
    return zero_point(grid.bits, signed=grid.signed), matrix


def _per_block(matrix: Matrix, grid: _Grid) -> Grid:
    return Grid(matrix=matrix, leading=(grid.rows,), extents=(1,))


def _joined(encoding: Encoding, bits: int) -> Encoding:
    """The encoding of codes that are stored as two halves, from that of the low one."""
    offset = encoding.offset
    if offset is not None and offset.encoding is None:
        middle = offset.constant or 0
        half = bits // 2
        offset = replace(offset, constant=(middle << half) | middle)
    elif offset is not None:
        offset = zero_point(bits)
    return replace(encoding, codes=Integer(bits=bits), offset=offset)


def _minimums(minimums: Tensor, grid: _Grid) -> Matrix:
    if minimums.dtype not in SCALES or minimums.elements != grid.rows * grid.blocks:
        raise Unrecognised(f"minimums of shape {minimums.shape}")
    return matrix_of(minimums, grid.blocks)


def _centre(node: ir.Node) -> int:
    """The code that a product with minimums is centred at, which the function adds back; else 0."""
    centre = node.attributes.get("centre")
    if centre is None:
        return 0
    if centre.is_ref() or centre.type != ir.AttributeType.FLOAT:
        raise Unrecognised("a centre that is no number")
    if not centre.as_float().is_integer():
        raise Unrecognised(f"a centre of {centre.as_float()}")
    return int(centre.as_float())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HalvesStorage:
    """Codes whose high and low bits are two matrices, the scales of the high one 2^bits as large.

    Attributes:
        high: the high bits. low: the low bits, with the scales of the whole.
        bits: of the low part.
        where: for messages.
    """

    high: Storage
    low: Storage
    bits: int
    where: Where
    layout: Layout | None = field(default=None, init=False)

    def parts(self, start: int, stop: int) -> Parts:
        """The arrays of rows [start, stop)."""
        high, low = self.high.parts(start, stop), self.low.parts(start, stop)
        assert high.scale is not None
        assert low.scale is not None
        with np.errstate(all="ignore"):
            scaled = low.scale.codes * low.scale.codes.dtype.type(1 << self.bits)
        if not np.array_equal(high.scale.codes, scaled, equal_nan=True):
            raise FormatError(self.where, "the scales of the two halves of the codes don't match")
        offset = None
        if high.offset is not None and low.offset is not None:
            offset = Parts(codes=self.joined(high.offset.codes, low.offset.codes))
        return replace(low, codes=self.joined(high.codes, low.codes), offset=offset)

    def joined(self, high: AnyArray, low: AnyArray) -> AnyArray:
        """Two halves as one code."""
        return high << np.uint8(self.bits) | low

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Never called: there is no layout."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MinimumsStorage:
    """Codes with minimums; their zero points must all be the centre, which is no part of the meaning.

    Attributes:
        inner: the codes.
        minimums: what is added after scaling.
        centre: see `lowering.functions`, MatMulMinimums.
        where: for messages.
    """

    inner: Storage
    minimums: Grid
    centre: int
    where: Where
    layout: Layout | None = field(default=None, init=False)

    def parts(self, start: int, stop: int) -> Parts:
        """The arrays of rows [start, stop)."""
        parts = self.inner.parts(start, stop)
        if parts.offset is not None and bool(np.any(parts.offset.codes != self.centre)):
            raise FormatError(self.where, f"zero points beside minimums: expected {self.centre}")
        return replace(parts, offset=self.minimums.take(np.arange(start, stop)))

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Never called: there is no layout."""
        raise NotImplementedError
