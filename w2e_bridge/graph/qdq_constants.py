"""Constants that are codes of a quantization: whole tensors, and single numbers that nodes read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, name_of
from w2e_bridge.graph.planes import GridStorage
from w2e_bridge.graph.qdq_parameters import numbers, small
from w2e_bridge.graph.qdq_weights import base_name, grid_of, matrix_of, shortest
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding, Offset, OffsetKind
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


def rounded_constant(numbers: Tensor, p: ActivationQuantization) -> Tensor:
    """Plain float32 numbers as the codes that `QuantizeLinear` makes of them, rounded when they are read.

    Args:
        numbers: plain, float32.
        p: static, one scale for all or one for each index of an axis.

    Raises:
        Unrecognised: numbers, scales or codes of another kind.
    """
    codes = p.codes
    assert p.scale is not None
    if numbers.encoding != FLOAT32 or numbers.dtype != "float32" or not isinstance(codes, Integer):
        raise Unrecognised("no float32 numbers to integer codes")
    rank = len(numbers.shape)
    extents = (WHOLE,) * max(rank, 1)
    if p.axis is not None:
        axis = p.axis + (rank if p.axis < 0 else 0)
        if not 0 <= axis < rank or p.scale.shape != (numbers.shape[axis],):
            raise Unrecognised("scales along an axis that is not there")
        extents = tuple(1 if a == axis else WHOLE for a in range(rank))
    scale = small("scale", p.scale, str(p.scale.dtype))
    zero = None if p.zero_point is None else small("zero_point", p.zero_point, str(codes))
    grids = [None if t is None else grid_of(t, numbers.shape, extents) for t in (scale, zero)]
    kind = numpy_type(PLAIN[str(codes)])

    def compute(start: int, stop: int) -> Parts:
        rows = np.arange(start, stop)
        steps, points = (None if grid is None else grid.take(rows) for grid in grids)
        assert steps is not None
        with np.errstate(all="ignore"):
            found = np.rint(numbers.storage.parts(start, stop).codes / steps.codes)
            if points is not None:
                found += points.codes.astype(np.float32)
            made = np.clip(found, codes.low, codes.high).astype(kind)
        return Parts(codes=made, scale=steps, offset=points)

    offset = None if zero is None else Offset(kind=OffsetKind.ZERO_POINT, encoding=zero.encoding)
    encoding = Encoding(codes=codes, block=shortest(extents), scale=scale.encoding, offset=offset)
    return replace(numbers, encoding=encoding, storage=ComputedStorage(compute=compute))


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
