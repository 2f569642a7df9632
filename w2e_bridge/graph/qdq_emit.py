"""Tensors with an encoding to plain constants and `DequantizeLinear`: the inverse of `qdq_weights`.

What the operator can say: onnx/onnx docs/Operators.md and docs/Changelog.md, DequantizeLinear 10 to 28.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.graph.planes import blocks, padded
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import WHOLE, Encoding, Offset, OffsetKind, constant_zero
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import ComputedStorage, Tensor

OPSETS: Mapping[str, int] = {
    "int8": 10, "uint8": 10, "int32": 10,
    "float8_e4m3fn": 19, "float8_e4m3fnuz": 19, "float8_e5m2": 19, "float8_e5m2fnuz": 19,
    "int16": 21, "uint16": 21, "int4": 21, "uint4": 21,
    "float4_e2m1fn": 23,
    "int2": 25, "uint2": 25,
}  # fmt: skip
"""Types that can be dequantized, and the operator set from which on."""

E8M0 = "float8_e8m0fnu"
"""The one type of scales that may differ from the output's."""

SCALE_OPSETS: Mapping[str, int] = {
    "float32": 10, "float16": 19, "bfloat16": 19, E8M0: 24
}  # fmt: skip
"""Types of scales, and the operator set from which on."""

BLOCKED_OPSET = 21
PER_AXIS_OPSET = 13

Pick = Callable[[Parts], Parts | None]
"""Takes scales or offsets out of the parts of some rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the blocks of an encoding lie on a tensor.

    Attributes:
        axis: the one axis with more than one block, or None.
        block: extent of a block on it; 0 where each index has its own scale and nothing else does.
        opset: from which on DequantizeLinear can say it.
    """

    axis: int | None
    block: int
    opset: int


def spread_of(encoding: Encoding, shape: tuple[int, ...]) -> Spread:
    """The blocks of an encoding in DequantizeLinear's words, or `UnsupportedError`."""
    rank = len(shape)
    extents = padded(encoding.block, rank)
    if all(e == WHOLE or e >= n for e, n in zip(extents, shape, strict=True)):
        return Spread(axis=None, block=0, opset=10)
    single = [a for a, e in enumerate(extents) if e == 1]
    if len(single) == 1 and all(e == WHOLE for a, e in enumerate(extents) if a != single[0]):
        return Spread(axis=single[0], block=0, opset=PER_AXIS_OPSET)
    wide = [a for a, e in enumerate(extents) if e != 1]
    if len(wide) > 1 or encoding.flat:
        raise UnsupportedError("DequantizeLinear has blocks along one axis only")
    axis = wide[0] if wide else rank - 1
    block = extents[axis] or shape[axis]
    return Spread(axis=axis, block=block, opset=BLOCKED_OPSET)


def opset_of(encoding: Encoding, shape: tuple[int, ...], dtype: str = "float32") -> int:
    """The first operator set whose DequantizeLinear says an encoding.

    Args:
        encoding: of a tensor.
        shape: of the tensor.
        dtype: that the graph computes with.

    Raises:
        UnsupportedError: none does; the message says why.
    """
    scale, offset, codes = encoding.scale, encoding.offset, str(encoding.codes)
    problem = next((reason for wrong, reason in _WRONG if wrong(encoding)), None)
    if problem is not None or scale is None or codes not in OPSETS:
        raise UnsupportedError(f"DequantizeLinear has no {problem or 'codes of ' + codes}")
    spread = spread_of(encoding, shape)
    found = [OPSETS[codes], spread.opset]
    for level in (scale, *_biases(offset)):
        if level.scale is not None and not spread.block:
            raise UnsupportedError("DequantizeLinear has second levels of blocked scales only")
        if level.scale is not None:
            found.append(opset_of(level, _grid_shape(encoding, shape)))
        elif str(level.codes) not in (dtype, E8M0) or str(level.codes) not in SCALE_OPSETS:
            raise UnsupportedError(f"DequantizeLinear has no scales of {level} for {dtype}")
        else:
            found.append(SCALE_OPSETS[str(level.codes)])
    return max(found)


_WRONG: tuple[tuple[Callable[[Encoding], bool], str], ...] = (
    (lambda e: e.scale_divides, "divided scales"),
    (lambda e: bool(e.companions or e.permutation), "companions"),
    (lambda e: not isinstance(e.codes, Integer | Float), "look-up tables"),
    (
        lambda e: e.offset is not None and e.offset.kind is OffsetKind.FLOAT_ZERO,
        "float zero points",
    ),
    (
        lambda e: (
            e.offset is not None
            and e.offset.kind is OffsetKind.ZERO_POINT
            and e.offset.block not in (None, e.block)
        ),
        "zero points in other blocks than the scales",
    ),
)


def _biases(offset: Offset | None) -> tuple[Encoding, ...]:
    if offset is None or offset.kind.before_scale or offset.encoding is None:
        return ()
    return (offset.encoding,)


def _grid_shape(encoding: Encoding, shape: tuple[int, ...]) -> tuple[int, ...]:
    return blocks(shape, padded(encoding.block, len(shape)))


def unfold_weight(value: ir.Value, editor: Editor) -> None:
    """Replace the stub of a tensor with an encoding by the nodes that compute it from plain constants.

    before: W, a stub.
    after:  W = DequantizeLinear(W.codes, W.scale, W.zero_point), of plain tensors; with a bias,
        W = Add(that, DequantizeLinear(ConstantOfShape(1), W.bias)).
    why exact: the operator computes what the encoding says, in its order.

    Raises:
        UnsupportedError: the operator can't say it.
    """
    graph, tensor = value.graph, editor.constant(value)
    assert isinstance(graph, ir.Graph)
    opset_of(tensor.encoding, tensor.shape, tensor.dtype)
    placeholder = ir.Value(name="", type=value.type, shape=value.shape)
    value.replace_all_uses_with(placeholder, replace_graph_outputs=True)
    del graph.initializers[name_of(value)], editor.tensors[tensor.name]
    made: list[ir.Node] = []
    result = _Emitter(editor=editor, graph=graph, nodes=made).tensor(tensor)
    result.name = tensor.name
    placeholder.replace_all_uses_with(result, replace_graph_outputs=True)
    if len(graph):
        graph.insert_before(graph.node(0), made)
    else:
        graph.extend(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Emitter:
    """Appends the nodes of one weight."""

    editor: Editor
    graph: ir.Graph
    nodes: list[ir.Node]

    def tensor(self, tensor: Tensor) -> ir.Value:
        """The value of a tensor: a stub, or the output of the nodes that compute it."""
        encoding = tensor.encoding
        if encoding.scale is None:
            return self.editor.register(self.graph, tensor)
        spread = spread_of(encoding, tensor.shape)
        codes = self.editor.register(self.graph, codes_of(tensor))
        inputs: list[ir.Value] = [codes, self.tensor(scales_of(tensor))]
        zeros = zeros_of(tensor)
        if zeros is not None:
            inputs.append(self.editor.register(self.graph, zeros))
        product = self.dequantize(inputs, spread, tensor.name + ".product", tensor.dtype)
        offset = encoding.offset
        if offset is None or offset.kind.before_scale:
            return product
        return self.biased(product, tensor, offset)

    def dequantize(self, inputs: list[ir.Value], spread: Spread, name: str, dtype: str) -> ir.Value:
        """Append a DequantizeLinear."""
        attributes = {} if spread.axis is None else {"axis": spread.axis}
        if spread.block:
            attributes["block_size"] = spread.block
        if inputs[1].dtype == DTYPES[E8M0]:
            attributes["output_dtype"] = int(DTYPES[dtype])
        return self.add("DequantizeLinear", inputs, name, attributes)

    def biased(self, product: ir.Value, tensor: Tensor, offset: Offset) -> ir.Value:
        """Append the addition or subtraction of a bias."""
        own = replace(tensor.encoding, block=offset.block or tensor.encoding.block)
        spread = spread_of(own, tensor.shape)
        assert offset.encoding is not None
        biased = replace(tensor, encoding=own)
        bias = self.tensor(per_block(biased, ".bias", offset.encoding, lambda parts: parts.offset))
        shape = self.editor.free(tensor.name + ".shape")
        data = ir.tensor(np.array(tensor.shape, np.int64), name=shape)
        extents = ir.Value(name=shape, type=ir.TensorType(data.dtype), const_value=data)
        self.graph.register_initializer(extents)
        one = ir.tensor(np.ones(1, np.int8))
        ones = self.add("ConstantOfShape", [extents], tensor.name + ".ones", {"value": one})
        spread_bias = self.dequantize([ones, bias], spread, tensor.name + ".spread", tensor.dtype)
        op = "Add" if offset.kind is OffsetKind.BIAS else "Sub"
        return self.add(op, [product, spread_bias], tensor.name + ".sum", {})

    def add(
        self, op: str, inputs: list[ir.Value], name: str, attributes: Mapping[str, object]
    ) -> ir.Value:
        """Append a node."""
        node = ir.node(op, inputs, attributes)  # type: ignore[arg-type]
        node.outputs[0].name = self.editor.free(name)
        self.nodes.append(node)
        return node.outputs[0]


def codes_of(tensor: Tensor) -> Tensor:
    """The codes of a tensor as a plain tensor."""

    def compute(start: int, stop: int) -> Parts:
        return Parts(codes=tensor.storage.parts(start, stop).codes)

    dtype = str(tensor.encoding.codes)
    storage = ComputedStorage(compute=compute)
    name = f"{tensor.name}.codes"
    return replace(tensor, name=name, dtype=dtype, encoding=PLAIN[dtype], storage=storage)


def scales_of(tensor: Tensor) -> Tensor:
    """The scales of a tensor as a tensor: as DequantizeLinear wants them."""
    scale = tensor.encoding.scale
    assert scale is not None
    return per_block(tensor, ".scale", scale, lambda parts: parts.scale)


def zeros_of(tensor: Tensor) -> Tensor | None:
    """Zero points as the operator wants them: of the codes' type, one for each scale; None for none.

    Without blocks, those of a byte are written out even where all are 0: ONNX Runtime takes a product for one
    of integers only so (1.32, Gemm between DequantizeLinear and QuantizeLinear).
    """
    offset, codes = tensor.encoding.offset, tensor.encoding.codes
    if offset is not None and not offset.kind.before_scale:
        return None
    if offset is None or offset.constant == 0:
        byte = isinstance(codes, Integer) and codes.bits == 8
        if not byte or spread_of(tensor.encoding, tensor.shape).block:
            return None
        offset = constant_zero(0)
    own = PLAIN[str(codes)]

    def pick(parts: Parts) -> Parts | None:
        if offset.constant is None or parts.scale is None:
            return parts.offset
        value = np.full(parts.scale.codes.shape, offset.constant, numpy_type(own))
        return Parts(codes=value)

    return per_block(tensor, ".zero_point", own, pick)


def per_block(tensor: Tensor, suffix: str, encoding: Encoding, pick: Pick) -> Tensor:
    """What there is one of for each block, as a tensor of its own; per axis and per tensor without other axes."""
    shape = tensor.shape or (1,)
    extents = padded(tensor.encoding.block, len(shape))
    whole = blocks(shape, extents)
    spread = spread_of(tensor.encoding, tensor.shape)
    own = whole if spread.block else () if spread.axis is None else (whole[spread.axis],)

    def compute(start: int, stop: int) -> Parts:
        if spread.block:
            return grid_rows(tensor, pick, start, stop)
        parts = grid_rows(tensor, pick, 0, math.prod(whole[:-1]))
        return Parts(codes=parts.codes.reshape(1, -1))

    return Tensor(
        name=tensor.name + suffix,
        shape=own,
        dtype="float32" if encoding.scale is not None else str(encoding.codes),
        encoding=encoding,
        storage=ComputedStorage(compute=compute),
    )


def grid_rows(tensor: Tensor, pick: Pick, start: int, stop: int) -> Parts:
    """What there is one of for each block, for rows [start, stop) of blocks, each from its first row."""
    leading = tensor.shape[:-1]
    extents = padded(tensor.encoding.block, max(len(tensor.shape), 1))[:-1]
    shape = blocks(leading, extents)
    if shape == leading:
        return _picked(tensor, pick, start, stop)
    place = np.unravel_index(np.arange(start, stop), shape)
    first = [at * extent for at, extent in zip(place, extents, strict=True)]
    rows = np.ravel_multi_index(first, leading) if leading else np.zeros(1, np.int64)
    return _stacked([_picked(tensor, pick, int(row), int(row) + 1) for row in rows])


def _picked(tensor: Tensor, pick: Pick, start: int, stop: int) -> Parts:
    parts = pick(tensor.storage.parts(start, stop))
    assert parts is not None
    return repeated(parts, stop - start)


def repeated(parts: Parts, rows: int) -> Parts:
    """The same with a row for each, where one stood for all."""
    return Parts(
        codes=np.broadcast_to(parts.codes, (rows, parts.codes.shape[1])),
        scale=None if parts.scale is None else repeated(parts.scale, rows),
        offset=None if parts.offset is None else repeated(parts.offset, rows),
    )


def _stacked(parts: list[Parts]) -> Parts:
    scales = [part.scale for part in parts if part.scale is not None]
    offsets = [part.offset for part in parts if part.offset is not None]
    return Parts(
        codes=np.concatenate([part.codes for part in parts]),
        scale=_stacked(scales) if scales else None,
        offset=_stacked(offsets) if offsets else None,
    )
