"""Operators of floats that read integer weights: the floats are rounded at run time, then everything is real.

Without a dynamic quantization the floats stay as they are. With one, a kernel rounds each row, or each sample, to codes of 8 bits, multiplies integers and scales the sums. The
body rounds in the same way, to whole numbers times a scale, and computes with floats: that differs from
the kernel by float32's last places only. Three ways to round:

- XNNPACK: scale 255 / (max - min) in float32, halves to even (src/xnnpack/quantization.h,
  src/f32-qs8-vcvt). Its zero point decides only where the largest number is cut off.
- asymmetric kernels: scale (max - min) / 255 in float32, halves away from zero, then the zero point added
  (tensorflow/lite/kernels/internal/optimized/neon_tensor_utils.cc, which x86 runs too).
- symmetric kernels: 127 / max(|x|) in float32, halves away from zero (ibidem).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.build import ACTIVATIONS as BOUNDS
from w2e_bridge.kernels.hybrid import ASYMMETRIC, KINDS
from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert.call import Call, Dimension, Quantized, Slot
from w2e_onnx.lowering.litert.fallback import plain
from w2e_onnx.lowering.litert.rules import NotHere
from w2e_onnx.lowering.litert.scaling import ACTIVATIONS

TINY = np.float32(1e-36)
"""Stands for the range of a row of zeros, so that it can be divided by."""
NARROW_WEIGHTS = {"int4": 2, "int2": 4}
"""How many codes share a byte; XNNPACK wants whole bytes in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounding:
    """What a way of rounding works with.

    Attributes:
        call: whose body it is.
        x: the floats.
        axes: what shares a scale.
    """

    call: Call
    x: ir.Value
    axes: tuple[int, ...]

    def add(self, op: str, *inputs: ir.Value) -> ir.Value:
        """Append a node."""
        return self.call.add(op, list(inputs))

    def number(self, number: float, dtype: type[np.floating] = np.float32) -> ir.Value:
        """A constant."""
        return self.call.literal(dtype(number), "number")

    def reduced(self, op: str, x: ir.Value) -> ir.Value:
        """The extreme of what shares a scale."""
        axes = self.call.literal(np.asarray(self.axes, np.int64), "axes")
        return self.call.add(op, [x, axes])

    def ends(self) -> tuple[ir.Value, ir.Value]:
        """The range, zero within."""
        low = self.add("Min", self.reduced("ReduceMin", self.x), self.number(0))
        return low, self.add(
            "Max", self.reduced("ReduceMax", self.x), self.call.literal(TINY, "tiny")
        )

    def away(self, x: ir.Value) -> ir.Value:
        """C's roundf: halves away from zero."""
        nearly = self.call.literal(np.nextafter(np.float32(0.5), np.float32(0)), "half")
        whole = self.add("Floor", self.add("Add", self.add("Abs", x), nearly))
        return self.add("Mul", whole, self.add("Sign", x))


def even(r: Rounding) -> ir.Value:
    """XNNPACK's way."""
    low, high = r.ends()
    scale = r.add("Div", r.number(255), r.add("Sub", high, low))
    codes = r.add("Round", r.add("Mul", r.x, scale))
    # Codes reach from the least one, at -128, to 255 over it: where both ends are ties, one less than rounded.
    most = r.add("Add", r.add("Round", r.add("Mul", low, scale)), r.number(255))
    return r.add("Div", r.add("Min", codes, most), scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounded:
    """Codes of 8 bits, unsigned, with their one scale and zero point."""

    codes: ir.Value
    scale: ir.Value
    zero: ir.Value


SHORT = 256
"""A row of so many numbers is rounded by ONNX Runtime's own operator: one node instead of seven, where nodes
are what takes time. It divides by the scale where XNNPACK multiplies, so of 100,000 codes one is another."""


def is_short(call: Call, weights: Slot) -> bool:
    """Whether a row is short."""
    depth = sums.extent(weights, 1)
    return call.operation.kind == "fully_connected" and depth is not None and depth <= SHORT


def even_codes(call: Call, x: ir.Value, *, short: bool = False) -> Rounded:
    """XNNPACK's way where all numbers share a scale, in few nodes.

    DynamicQuantizeLinear finds the range: its scale is range / 255 in float32, and times 255 that is the
    range again, but for 0.3% of them, which come out one place beside it. Its codes divide where XNNPACK
    multiplies, and its zero point differs where the ends are equally far from zero: neither is used.
    """
    codes, scale, zero = call.add_many("DynamicQuantizeLinear", [x], count=3)
    if short:
        return Rounded(codes=codes, scale=scale, zero=zero)
    full = call.literal(np.float32(255), "full")
    factor = call.add("Div", [full, call.add("Mul", [scale, full])])
    scaled = call.add("Mul", [x, factor])
    least = call.add("ReduceMin", [scaled], {"keepdims": 0})
    # Cut off at 0 where no number is below it.
    turned, none = call.literal(np.float32(-1), "turned"), call.literal(np.uint8(0), "none")
    zero = call.add("QuantizeLinear", [least, turned, none])
    codes = call.add("QuantizeLinear", [scaled, call.literal(np.float32(1), "one"), zero])
    return Rounded(codes=codes, scale=scale, zero=zero)


def asymmetric(r: Rounding) -> ir.Value:
    """With a zero point, which is added to what is rounded."""
    low, high = r.ends()
    scale = r.add("Div", r.add("Sub", high, low), r.number(255))
    steps = r.away(r.add("Mul", r.x, r.add("Reciprocal", scale)))
    # Where both ends are ties, there are 256 steps: the lower end loses one.
    least = r.add("Sub", r.reduced("ReduceMax", steps), r.number(255))
    return r.add("Mul", r.add("Max", steps, least), scale)


def symmetric(r: Rounding) -> ir.Value:
    """Without one."""
    most = r.add("Max", r.reduced("ReduceMax", r.add("Abs", r.x)), r.call.literal(TINY, "tiny"))
    scaled = r.add("Mul", r.x, r.add("Div", r.number(127), most))
    codes = r.add("Clip", r.away(scaled), r.number(-127), r.number(127))
    return r.add("Mul", codes, r.add("Div", most, r.number(127)))


Way = Callable[[Rounding], ir.Value]


def is_hybrid(call: Call) -> bool:
    """Whether floats are multiplied with constant codes."""
    kind = KINDS.get(call.operation.kind)
    x = None if kind is None else call.optional(kind.x)
    weights = None if kind is None else call.optional(kind.weights)
    if x is None or weights is None or x.type != "float32" or weights.quantized is None:
        return False
    return x.dynamic is not None or weights.tensor is not None


def hybrid(call: Call) -> Sequence[ir.Value]:
    """The rule of all of them."""
    kind = KINDS[call.operation.kind]
    x, weights = call.operand(kind.x), call.operand(kind.weights)
    if call.operation.text("fused_activation_function") not in ACTIVATIONS:
        raise NotHere(call.operation.text("fused_activation_function"))
    narrow = x.dynamic is not None and not call.reference
    real = {kind.weights: _plain(weights, real_numbers(call, weights, narrow=narrow))}
    if x.dynamic is not None:
        real[kind.x] = replace(x, value=_rounded(call, x, weights), dynamic=None)
    formal = call.operands
    call.operands = tuple(real.get(index, slot) for index, slot in enumerate(formal))
    try:
        return plain(call)
    finally:
        call.operands = formal


def real_numbers(call: Call, weights: Slot, *, narrow: bool = False) -> ir.Value:
    """The real numbers of constant codes, folded at load.

    Args:
        call: whose body it is.
        weights: the codes.
        narrow: round scales of blocks to bfloat16, as XNNPACK keeps them
            (src/operators/fully-connected-nc.c).

    Not by DequantizeLinear: ONNX Runtime makes MatMulNBits of that before a MatMul, which rounds the other
    factor to 8 bits (onnxruntime/core/optimizer/qdq_transformer/selectors_actions, DQMatMulToMatMulNBits).
    """
    quantized, shape = weights.quantized, weights.shape
    assert quantized is not None
    assert weights.value is not None
    assert weights.scale is not None
    assert weights.zero_point is not None
    assert shape is not None
    codes, scale = call.cast(weights.value, "float32"), weights.scale
    zero = call.cast(weights.zero_point, "float32")
    if quantized.blocks:
        if narrow:
            scale = call.cast(scale, "bfloat16")
        return _of_blocks(call, codes, (call.cast(scale, "float32"), zero), quantized, shape)
    if quantized.axis is not None:
        extents = [-1 if axis == quantized.axis else 1 for axis in range(len(shape))]
        along = call.literal(np.asarray(extents, np.int64), "extents")
        scale, zero = (call.add("Reshape", [v, along]) for v in (scale, zero))
    return call.add("Mul", [call.add("Sub", [codes, zero]), scale])


def _of_blocks(
    call: Call,
    codes: ir.Value,
    parameters: tuple[ir.Value, ir.Value],
    quantized: Quantized,
    shape: tuple[Dimension, ...],
) -> ir.Value:
    split = call.literal(np.asarray([*quantized.scale.shape, -1], np.int64), "blocks")
    last = call.literal(np.asarray([-1], np.int64), "last")
    scale, zero = (call.add("Unsqueeze", [v, last]) for v in parameters)
    shifted = call.add("Sub", [call.add("Reshape", [codes, split]), zero])
    whole = call.literal(np.asarray(shape, np.int64), "whole")
    return call.add("Reshape", [call.add("Mul", [shifted, scale]), whole])


def activated(call: Call, x: ir.Value) -> ir.Value:
    """Real numbers through the fused activation."""
    said = call.operation.text("fused_activation_function")
    ends = BOUNDS.get(said)
    if ends is not None:
        low, high = (call.literal(np.float32(end), "end") for end in ends)
        return call.add("Clip", [x, low, high])
    return call.add("Relu", [x]) if said == "RELU" else x


def is_single(call: Call, x: Slot, weights: Slot) -> bool:
    """Whether XNNPACK gives all numbers one scale: one sample, or one row."""
    if call.reference or x.dynamic is None or not _delegated(call, weights):
        return False
    if call.operation.kind == "batch_matmul" or x.shape is None:
        return False
    rows = call.operation.kind == "fully_connected" or _pointwise(call, weights)
    shared = (-1,) if rows else (1, 2, 3)
    extents = [
        d for a, d in enumerate(x.shape) if a not in shared and a - len(x.shape) not in shared
    ]
    same = call.operation.kind != "fully_connected" or x.shape[-1] == sums.extent(weights, 1)
    return same and all(extent == 1 for extent in extents)


def _rounded(call: Call, x: Slot, weights: Slot) -> ir.Value:
    """The floats that the kernel multiplies with."""
    assert x.value is not None
    if is_single(call, x, weights):
        made = even_codes(call, x.value, short=is_short(call, weights))
        return call.add("DequantizeLinear", [made.codes, made.scale, made.zero])
    value, axes = _shared(call, x, weights)
    return _way(call, weights)(Rounding(call=call, x=value, axes=axes))


def _plain(slot: Slot, value: ir.Value) -> Slot:
    """A slot as one of real numbers."""
    return Slot(type="float32", carried="float32", shape=slot.shape, value=value)


def _shared(call: Call, x: Slot, weights: Slot) -> tuple[ir.Value, tuple[int, ...]]:
    """The floats, in rows where they are not, and the axes that share a scale."""
    assert x.value is not None
    if call.operation.kind == "batch_matmul":
        return x.value, (-2,) if call.operation.integer("adj_x") else (-1,)
    if call.operation.kind != "fully_connected":
        return x.value, (-1,) if _pointwise(call, weights) else (1, 2, 3)
    depth = sums.extent(weights, 1)
    if sums.extent(x, -1) == depth:
        return x.value, (-1,)
    if depth is None:
        raise NotHere("weights of a shape known at run time only")
    rows = call.literal(np.asarray([-1, depth], np.int64), "rows")
    return call.add("Reshape", [x.value, rows]), (-1,)


def _way(call: Call, weights: Slot) -> Way:
    kind = call.operation.kind
    if not call.reference and _delegated(call, weights):
        return even
    if kind in ("fully_connected", "batch_matmul"):
        return asymmetric if call.operation.integer(ASYMMETRIC) else symmetric
    if kind == "conv_2d" and not _channels_differ(weights) and _groups(call, weights) == 1:
        return symmetric
    return asymmetric


def _delegated(call: Call, weights: Slot) -> bool:
    """Whether XNNPACK takes the node (tflite/delegates/xnnpack/xnnpack_delegate.cc, Visit…Node)."""
    kind = call.operation.kind
    if weights.tensor is None or kind == "depthwise_conv_2d":
        return False
    if kind == "fully_connected":
        depth = sums.extent(weights, 1) or 1
        if weights.type == "int2" and not of_channels(weights):
            return False
        return depth % NARROW_WEIGHTS.get(weights.type, 1) == 0
    return weights.type == "int8"


def _pointwise(call: Call, weights: Slot) -> bool:
    """Whether XNNPACK makes a product of rows of a convolution, so that each pixel has a scale of its own.

    Measured against ai-edge-litert 2.3.0: it does so of windows of 1×1 in steps of 1, without groups.
    """
    operation, shape = call.operation, weights.shape
    if call.reference or operation.kind != "conv_2d" or not _delegated(call, weights):
        return False
    steps = (operation.integer("stride_h", 1), operation.integer("stride_w", 1))
    small = shape is not None and tuple(shape[1:3]) == (1, 1)
    return small and steps == (1, 1) and _groups(call, weights) == 1


def of_channels(weights: Slot) -> bool:
    """Whether there are as many scales as rows of weights."""
    return weights.quantized is not None and weights.quantized.scale.size == sums.extent(weights, 0)


def _channels_differ(weights: Slot) -> bool:
    """Whether the kernel for channels is taken: scales of channels that are not all the same."""
    assert weights.quantized is not None
    return np.unique(weights.quantized.scale).size > 1


def _groups(call: Call, weights: Slot) -> int:
    depth, channels = sums.extent(weights, 3), sums.extent(call.operand(0), 3)
    return channels // depth if depth and channels else 1
