"""`DequantizeLinear` of constants to tensors with an encoding.

Semantics: onnx/onnx docs/Operators.md, DequantizeLinear: y = (x - zero point) * scale, per tensor, along
one axis, or in blocks along one axis. Everything is described, nothing of the weights is read but a zero point
or one for each channel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import FormatError
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, integer, is_op, needed
from w2e_bridge.graph.planes import ArrayRange, Grid, GridStorage, Matrix, padded
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import WHOLE, Encoding, Offset, OffsetKind
from w2e_bridge.ir.tensor import PackedStorage, Tensor

SUFFIXES = (".codes", "_quantized")
"""What tools put behind a weight's name for its codes: ours, onnxruntime.quantization."""

_SMALL = 1 << 16


def fold_weight(node: ir.Node, editor: Editor) -> ir.Value:
    """Make one tensor of the constants that a `DequantizeLinear` reads, and put it in the node's place.

    Returns:
        The tensor's stub.

    Raises:
        Unrecognised: the node doesn't read constants, or the model has no word for how.
    """
    codes, scale = editor.constant(needed(node, 0)), editor.constant(needed(node, 1))
    zeros = given(node, 2)
    offset = None if zeros is None else editor.constant(zeros)
    extents = extents_of(node, codes, scale)
    if offset is not None and not same_extents(offset, scale):
        raise Unrecognised("zero points of another shape than the scales")
    if offset is not None and _all_zero(offset):
        offset = None
    tensor = Tensor(
        name=base_name(codes.name),
        shape=codes.shape,
        dtype=_dtype(node, scale),
        encoding=Encoding(
            codes=_codes(codes),
            block=shortest(extents),
            scale=scale.encoding,
            offset=None
            if offset is None
            else Offset(kind=OffsetKind.ZERO_POINT, encoding=offset.encoding),
        ),
        storage=GridStorage(
            codes=matrix_of(codes, codes.columns),
            scale=grid_of(scale, codes.shape, extents),
            offset=None if offset is None else grid_of(offset, codes.shape, extents),
        ),
    )
    return editor.put(node, tensor)


def _all_zero(offset: Tensor) -> bool:
    """Whether zero points change nothing, which many writers write out; those of small blocks are not read."""
    if len(offset.shape) > 1 or offset.elements > _SMALL:
        return False
    try:
        return not offset.storage.parts(0, offset.rows).codes.astype(np.float32).any()
    except FormatError:  # its file is missing
        return False


def fold_bias(node: ir.Node, editor: Editor) -> None:
    """Add the offset to a tensor: `Add` or `Sub` of a folded weight and dequantized ones.

    before: W = Add(weight without offset, DequantizeLinear(ConstantOfShape(1), m)).
    after:  W, a tensor with the bias m.
    why exact: (1 - 0) * m is m.

    Raises:
        Unrecognised: it is not that pattern.
    """
    value, other = needed(node, 0), needed(node, 1).producer()
    if not is_op(other, "DequantizeLinear") or other is None or given(other, 2) is not None:
        raise Unrecognised("no dequantized ones")
    if not _ones(needed(other, 0).producer()):
        raise Unrecognised("no ones")
    base, bias = editor.constant(value), editor.constant(needed(other, 1))
    if base.encoding.scale is None or base.encoding.offset is not None:
        raise Unrecognised("no weight without offset")
    if not isinstance(base.storage, GridStorage):
        raise Unrecognised("no weight of a file")
    extents = extents_of(other, base, bias)
    same = shortest(extents) == base.encoding.block
    kind = OffsetKind.BIAS if node.op_type == "Add" else OffsetKind.NEGATIVE_BIAS
    offset = Offset(kind=kind, encoding=bias.encoding, block=None if same else shortest(extents))
    storage = replace(base.storage, offset=grid_of(bias, base.shape, extents))
    encoding = replace(base.encoding, offset=offset)
    name = editor.wanted.get(base.name, base.name)
    editor.put(node, replace(base, name=name, encoding=encoding, storage=storage))


def _ones(node: ir.Node | None) -> bool:
    if node is None or not is_op(node, "ConstantOfShape"):
        return False
    value = node.attributes.get("value")
    if value is None or value.is_ref() or value.type != ir.AttributeType.TENSOR:
        return False
    tensor = value.as_tensor()
    return tensor.dtype in (ir.DataType.INT8, ir.DataType.UINT8) and bool(
        (tensor.numpy() == 1).all()
    )


def base_name(codes: str) -> str:
    """The weight's name from that of its codes."""
    suffix = next((s for s in SUFFIXES if codes.endswith(s) and codes != s), "")
    return codes.removesuffix(suffix)


def _codes(tensor: Tensor) -> Integer | Float:
    codes = tensor.encoding.codes
    if tensor.encoding.quantized or not isinstance(codes, Integer | Float):
        raise Unrecognised("codes that are no plain numbers")
    return codes


def _dtype(node: ir.Node, scale: Tensor) -> str:
    wanted = integer(node, "output_dtype", 0)
    if not wanted:
        return scale.dtype
    if wanted not in DTYPE_NAMES:
        raise Unrecognised(f"output type {wanted}")
    return DTYPE_NAMES[ir.DataType(wanted)]


def extents_of(node: ir.Node, codes: Tensor, scale: Tensor) -> tuple[int, ...]:
    """Extents of the blocks that share a scale, on all axes."""
    rank = len(codes.shape)
    block = integer(node, "block_size", 0)
    if scale.elements == 1 and len(scale.shape) <= 1 and not block:
        return (WHOLE,) * max(rank, 1)
    axis = integer(node, "axis", 1)
    axis += rank if axis < 0 else 0
    if not 0 <= axis < rank:
        raise Unrecognised(f"axis {axis} of {rank}")
    if not block:
        if scale.shape != (codes.shape[axis],):
            raise Unrecognised(
                f"scales of shape {scale.shape} along an axis of {codes.shape[axis]}"
            )
        return tuple(1 if a == axis else WHOLE for a in range(rank))
    wanted = tuple(-(-n // block) if a == axis else n for a, n in enumerate(codes.shape))
    if block < 0 or scale.shape != wanted:
        raise Unrecognised(f"scales of shape {scale.shape} for blocks of {block}")
    return tuple(block if a == axis else 1 for a in range(rank))


def same_extents(a: Tensor, b: Tensor) -> bool:
    """Whether scales and zero points go together; one number may have an axis or none (ORT mixes them)."""
    return a.shape == b.shape or (a.elements == b.elements == 1 and len(a.shape + b.shape) <= 1)


def shortest(extents: tuple[int, ...]) -> tuple[int, ...]:
    """The same block without the leading axes of extent 1, which need not be named."""
    first = next((a for a, extent in enumerate(extents) if extent != 1), len(extents) - 1)
    return extents[first:]


def matrix_of(tensor: Tensor, columns: int) -> Matrix:
    """The numbers of a plain tensor of a file in rows of another length."""
    storage = tensor.storage
    if isinstance(storage, PackedStorage):
        source, width = storage.source, 8 * storage.layout.bytes
    elif isinstance(storage, GridStorage):
        source, width = storage.codes.source, storage.codes.width or storage.codes.codes.bits
    else:  # nothing in it
        source, width = ArrayRange(data=np.empty(0, np.uint8)), 8
    return Matrix(
        source=source,
        codes=tensor.encoding.codes,
        columns=columns,
        row_bits=columns * width,
        width=width,
    )


def grid_of(tensor: Tensor, shape: tuple[int, ...], extents: tuple[int, ...]) -> Grid:
    """A tensor of scales or offsets as the grid of an array of `shape` in blocks of `extents`.

    Raises:
        Unrecognised: the scales have scales of their own whose blocks don't go with these.
    """
    rank = len(shape) or 1
    extents = padded(extents, rank)
    last = 1 if extents[-1] == WHOLE else -(-((shape or (1,))[-1]) // extents[-1])
    grid = Grid(matrix=matrix_of(tensor, last), leading=shape[:-1], extents=extents[:-1])
    if tensor.encoding.scale is None:
        return grid
    own = tensor.storage
    if tensor.shape[:-1] != grid.shape or not isinstance(own, GridStorage):
        raise Unrecognised("scales of scales in other blocks")
    return replace(grid, scale=own.scale, offset=own.offset)
