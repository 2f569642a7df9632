"""Constants that are codes of a quantization: whole tensors, and single numbers that nodes read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, integer, name_of, needed
from w2e_bridge.graph.planes import GridStorage, padded
from w2e_bridge.graph.qdq_parameters import (
    DEQUANTIZE,
    code_type,
    is_linear,
    nonzero,
    numbers,
    small,
)
from w2e_bridge.graph.qdq_weights import base_name, extents_of, grid_of, matrix_of, shortest
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import CodeMap, Float, Integer
from w2e_bridge.ir.encoding import WHOLE, Encoding, Offset, OffsetKind
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import ComputedStorage, Tensor


def quantized_constant(codes: Tensor, p: ActivationQuantization) -> Tensor:
    """Plain codes as a tensor with the encoding that a quantization is.

    Args:
        codes: plain numbers of a file.
        p: static, one scale for all.
    """
    assert p.scale is not None
    extents = (WHOLE,) * max(len(codes.shape), 1)
    scale = small("scale", p.scale.reshape(()), str(p.scale.dtype))
    zero = None if p.zero_point is None else small("zero_point", p.zero_point, str(p.codes))
    return Tensor(
        name=base_name(codes.name),
        shape=codes.shape,
        dtype=str(p.scale.dtype),
        encoding=Encoding(
            codes=codes.encoding.codes,
            block=extents,
            scale=scale.encoding,
            offset=None
            if zero is None
            else Offset(kind=OffsetKind.ZERO_POINT, encoding=zero.encoding),
        ),
        storage=GridStorage(
            codes=matrix_of(codes, codes.columns),
            scale=grid_of(scale, codes.shape, extents),
            offset=None if zero is None else grid_of(zero, codes.shape, extents),
        ),
    )


def rounded_constant(real: Tensor, p: ActivationQuantization) -> Tensor:
    """Plain numbers as the codes that `QuantizeLinear` makes of them, rounded when they are read.

    Args:
        real: plain floats.
        p: static, one scale for all or one for each index of an axis.

    Raises:
        Unrecognised: numbers, scales or codes of another kind.
    """
    assert p.scale is not None
    rank = len(real.shape)
    extents = (WHOLE,) * max(rank, 1)
    if p.axis is not None:
        axis = p.axis + (rank if p.axis < 0 else 0)
        if not 0 <= axis < rank or p.scale.shape != (real.shape[axis],):
            raise Unrecognised("scales along an axis that is not there")
        extents = tuple(1 if a == axis else WHOLE for a in range(rank))
    scale = small("scale", p.scale, str(p.scale.dtype))
    zero = None if p.zero_point is None else small("zero_point", p.zero_point, str(p.codes))
    return rounded(real, p.codes, scale, zero, extents)


def rounded(
    real: Tensor, codes: CodeMap, scale: Tensor, zero: Tensor | None, extents: tuple[int, ...]
) -> Tensor:
    """Plain numbers divided by scales in blocks, rounded to codes and clipped.

    The quotient has the numbers' own type, which is that of the scales (onnx/onnx docs/Operators.md,
    QuantizeLinear, attribute `precision`).

    Raises:
        Unrecognised: numbers, scales or codes of another kind.
    """
    plain = real.encoding.plain and isinstance(real.encoding.codes, Float)
    same = str(real.encoding) == real.dtype == scale.dtype == str(scale.encoding)
    known = isinstance(codes, Integer) or (isinstance(codes, Float) and codes.bits <= 8)
    if not plain or not same or not known or not isinstance(codes, Integer | Float):
        raise Unrecognised("no floats that are rounded to codes")
    grids = [None if t is None else grid_of(t, real.shape, extents) for t in (scale, zero)]
    whole = real.storage
    last = padded(extents, max(len(real.shape), 1))[-1]

    def compute(start: int, stop: int) -> Parts:
        rows = np.arange(start, stop)
        steps, points = (None if grid is None else grid.take(rows) for grid in grids)
        assert steps is not None
        values = whole.parts(start, stop).codes
        with np.errstate(all="ignore"):
            found = values / spread(steps.codes, last, values.shape[-1])
            zeros = None if points is None else spread(points.codes, last, values.shape[-1])
            return Parts(codes=_rounded(found, zeros, codes), scale=steps, offset=points)

    offset = None if zero is None else Offset(kind=OffsetKind.ZERO_POINT, encoding=zero.encoding)
    encoding = Encoding(codes=codes, block=shortest(extents), scale=scale.encoding, offset=offset)
    return replace(real, encoding=encoding, storage=ComputedStorage(compute=compute))


def _rounded(found: AnyArray, zeros: AnyArray | None, codes: Integer | Float) -> AnyArray:
    """Numbers in steps to codes, half to even; what is out of range to its end."""
    kind = numpy_type(PLAIN[str(codes)])
    if isinstance(codes, Float):
        return np.clip(found.astype(np.float32), -codes.high, codes.high).astype(kind)
    whole = np.rint(found.astype(np.float32))
    if zeros is not None:
        whole += zeros.astype(np.float32)
    return np.clip(whole, codes.low, codes.high).astype(kind)


def fold_rounding(node: ir.Node, editor: Editor) -> None:
    """Make a tensor of a constant that is rounded in blocks when the model runs.

    before: DequantizeLinear(QuantizeLinear(W, scales), the same scales), in blocks.
    after:  W, a tensor with that encoding, whose codes are made when they are read.
    why exact: they are what the operator makes.

    Raises:
        Unrecognised: it is not that pattern; values that are rounded without blocks are `qdq_values`' matter.
    """
    if not integer(node, "block_size", 0) or integer(node, "precision", 0):
        raise Unrecognised("no blocks")
    real, scale = editor.constant(needed(node, 0)), editor.constant(needed(node, 1))
    third = given(node, 2)
    zero = None if third is None else editor.constant(third)
    codes, extents = code_type(node, zero), extents_of(node, real, scale)
    if zero is not None and nonzero(numbers(zero, whole=False)) is None:
        zero = None
    tensor = rounded(real, codes, scale, zero, extents)
    users = [user for user, _ in node.outputs[0].uses()]
    if not users or not all(_undoes(user, node, editor) for user in users):
        raise Unrecognised("codes that something else reads")
    for user in users:
        editor.put(user, tensor)


def _undoes(user: ir.Node, node: ir.Node, editor: Editor) -> bool:
    """Whether a node dequantizes what another one quantizes."""
    same = ("axis", "block_size")
    if not is_linear(user, DEQUANTIZE) or any(
        integer(user, name, 1) != integer(node, name, 1) for name in same
    ):
        return False
    return all(_equal(given(user, index), given(node, index), editor) for index in (1, 2))


def _equal(a: ir.Value | None, b: ir.Value | None, editor: Editor) -> bool:
    """Whether two inputs are the same, or constants of the same numbers."""
    if a is b or a is None or b is None:
        return a is b
    one, other = editor.constant(a), editor.constant(b)
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    first, second = (numbers(t, whole=False).astype(np.float64) for t in (one, other))
    return np.array_equal(first, second)


def spread(grid: AnyArray, extent: int, columns: int) -> AnyArray:
    """What there is one of for each block, for each column; one for a whole row stays one."""
    return grid if grid.shape[-1] == 1 else np.repeat(grid, extent, axis=-1)[:, :columns]


def number_of(
    node: ir.Node, index: int, default: int | None, p: ActivationQuantization, editor: Editor
) -> None:
    """Replace an input that is one code by the number that it stands for."""
    assert p.scale is not None
    value = given(node, index)
    if value is None and default is None:
        return
    code: AnyArray = np.asarray(default)
    name = f"{name_of(node.outputs[0])}.number"
    if value is not None:
        tensor = editor.constant(value)
        code, name = numbers(tensor, whole=True), name_of(value)
    zero = 0 if p.zero_point is None else int(p.zero_point)
    real = (np.float32(int(code) - zero) * p.scale.astype(np.float32)).astype(p.scale.dtype)
    if value is None and not real:
        return  # what the operator means without it
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    stub = editor.register(graph, small(name, real.reshape(()), str(p.scale.dtype)))
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, stub)
