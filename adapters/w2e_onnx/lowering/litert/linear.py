"""FULLY_CONNECTED and BATCH_MATMUL of codes.

`scaling` says how the kernels round, with two exceptions: FULLY_CONNECTED's reference kernels, which are
also the default ones of 16-bit activations with a bias of 64 bits, scale in double precision and round
halves away from zero; and BATCH_MATMUL's own kernels are the same in both sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.kernels.linear import SPARSE, swapped
from w2e_bridge.numerics.fixed_point import NUDGE, is_nudged, quantize_multiplier
from w2e_onnx.lowering.litert import accumulator as sums
from w2e_onnx.lowering.litert import fixed_point
from w2e_onnx.lowering.litert.call import MICROSOFT, Call, Slot
from w2e_onnx.lowering.litert.hybrid import (
    NARROW_WEIGHTS,
    activated,
    even_codes,
    hybrid,
    is_hybrid,
    is_short,
    is_single,
    of_channels,
)
from w2e_onnx.lowering.litert.rules import NotHere, Rule
from w2e_onnx.lowering.litert.scaling import check, clipped, finished, multipliers


def fully_connected(call: Call) -> Sequence[ir.Value]:
    """The rule of FULLY_CONNECTED."""
    x, weights, bias = call.operand(0), call.operand(1), call.optional(2)
    if is_hybrid(call):
        single = is_single(call, x, weights) and not _in_blocks(weights)
        return [_single(call, x, weights, bias)] if single else hybrid(call)
    check(call, (x, weights, bias), axis=0, symmetric=False)
    if weights.type not in ("int8", "uint8", "int4", "int2"):
        raise NotHere(f"weights of {weights.type}")
    if x.type == "int16":
        return [_wide(call, x, weights, bias)]
    rows = flattened(call, x, weights)
    if not call.reference and not call.operation.integer(SPARSE) and delegated(x, weights, bias):
        made = _fused(call, rows, x, weights, bias)
    else:
        made = _scaled(call, _product(call, rows, x, weights, bias), x, weights, bias)
    return [restored(call, made, x)]


def _single(call: Call, x: Slot, weights: Slot, bias: Slot | None) -> ir.Value:
    """One row of floats rounded at run time, multiplied as codes."""
    row = flattened(call, x, weights)
    codes, zero = _turned(call, weights, one=False)
    added = None if bias is None else bias.value
    if is_short(call, weights):
        inputs = [row, codes, weights.scale, zero, added]
        product = call.add("DynamicQuantizeMatMul", inputs, domain=MICROSOFT)
    else:
        made = even_codes(call, row)
        inputs = [made.codes, codes, made.scale, weights.scale, made.zero, zero, added]
        product = call.add("MatMulIntegerToFloat", inputs, domain=MICROSOFT)
    return activated(call, restored(call, product, x))


def _in_blocks(weights: Slot) -> bool:
    return weights.quantized is not None and weights.quantized.blocks


def delegated(x: Slot, weights: Slot, bias: Slot | None) -> bool:
    """Whether XNNPACK takes the node (tflite/delegates/xnnpack/xnnpack_delegate.cc, VisitFullyConnectedNode)."""
    if bias is not None and (bias.quantized is None or bias.tensor is None or bias.type != "int32"):
        return False
    depth, quantized = sums.extent(weights, 1), weights.quantized
    if weights.tensor is None or depth is None or quantized is None:
        return False
    if x.type == "uint8":
        return weights.type == "uint8"
    if quantized.zero_point.any():
        return False
    if weights.type == "int2" and not of_channels(weights):
        return False
    return depth % NARROW_WEIGHTS.get(weights.type, 1) == 0


def keeps(call: Call, x: Slot) -> bool:
    """Whether the output has all of x's dimensions but the last one."""
    return bool(call.operation.integer("keep_num_dims")) and (x.shape is None or len(x.shape) != 2)


def flattened(call: Call, x: Slot, weights: Slot) -> ir.Value:
    """The activation as a matrix."""
    assert x.value is not None
    depth = sums.extent(weights, 1)
    if x.shape is not None and len(x.shape) == 2 and x.shape[1] == depth:
        return x.value
    if depth is None:
        raise NotHere("weights of a shape known at run time only")
    rows = call.literal(np.asarray([-1, depth], np.int64), "rows")
    return call.add("Reshape", [x.value, rows])


def restored(call: Call, rows: ir.Value, x: Slot) -> ir.Value:
    """A matrix of outputs in the shape that the operation says."""
    if not keeps(call, x):
        return rows
    assert x.value is not None
    units = sums.extent(call.operand(1), 0) or -1
    if x.shape is not None and sum(not isinstance(d, int) for d in x.shape[:-1]) <= 1:
        shape = [d if isinstance(d, int) else -1 for d in x.shape[:-1]]
        return call.add(
            "Reshape", [rows, call.literal(np.asarray([*shape, units], np.int64), "shape")]
        )
    front = call.add("Shape", [x.value], {"end": -1})
    last = call.literal(np.asarray([units], np.int64), "units")
    return call.add("Reshape", [rows, call.add("Concat", [front, last], {"axis": 0})])


def _turned(call: Call, weights: Slot, *, one: bool = True) -> tuple[ir.Value, ir.Value]:
    codes, zero = sums.factor(call, weights, one=one)
    return call.add("Transpose", [codes], {"perm": (1, 0)}), zero


def _fused(call: Call, rows: ir.Value, x: Slot, weights: Slot, bias: Slot | None) -> ir.Value:
    """XNNPACK's rule: QGemm, and a Clip where the activation cuts codes off."""
    # QGemm wants as many zero points as scales.
    output, (codes, zero) = call.outputs[0], _turned(call, weights, one=False)
    inputs = [rows, x.scale, x.zero_point, codes, weights.scale, zero]
    inputs += [None if bias is None else bias.value, output.scale, output.zero_point]
    return clipped(call, call.add("QGemm", inputs, domain=MICROSOFT))


def _product(call: Call, rows: ir.Value, x: Slot, weights: Slot, bias: Slot | None) -> ir.Value:
    """The accumulator as float64."""
    codes, zero = _turned(call, weights)
    sum_ = call.add("MatMulInteger", [rows, codes, x.zero_point, zero])
    if bias is not None and bias.value is not None:
        sum_ = call.add("Add", [sum_, bias.value])
    return call.cast(sum_, "float64")


def _scaled(call: Call, sum_: ir.Value, x: Slot, weights: Slot, bias: Slot | None) -> ir.Value:
    sparse = bool(call.operation.integer(SPARSE))
    if call.reference and not sparse:
        return _precise(call, sum_, x, weights)
    real = multipliers(x, weights, call.outputs[0], exact=_exact(weights))
    number, shift = quantize_multiplier(real)
    most = sums.bound(x, weights, bias, 0)
    scaled = fixed_point.multiply(call, sum_, number, shift, bound=most, up=not sparse)
    return finished(call, scaled)


def _exact(weights: Slot) -> bool:
    """Whether the kernel multiplies scales in double precision: where each channel has its own."""
    return weights.quantized is not None and weights.quantized.scale.size > 1


def _precise(call: Call, sum_: ir.Value, x: Slot, weights: Slot) -> ir.Value:
    """Scaled in double precision."""
    real = multipliers(x, weights, call.outputs[0], exact=True)
    if is_nudged(real):
        product = call.add("Mul", [sum_, call.constant("multiplier", real * NUDGE)])
        return finished(call, call.add("Round", [product]))
    product = call.add("Mul", [sum_, call.constant("multiplier", real)])
    return finished(call, fixed_point.round_away(call, product))


LARGE = 2**15
"""So many weights are multiplied as bytes: in float64 they take eight times the room."""


def _halved(call: Call, x: Slot, weights: Slot, bias: Slot | None) -> ir.Value:
    """16-bit activations as rows of upper and of lower bytes: 256 * (upper - 128) + lower."""
    high, low = sums.halves(call, flattened(call, x, weights))
    codes, zero = _turned(call, weights)
    rows = call.add("Concat", [high, low], {"axis": 0})
    product = call.add("MatMulInteger", [rows, codes, None, zero])
    upper, lower = call.add_many("Split", [product], {"axis": 0, "num_outputs": 2}, count=2)
    centred = call.add("Sub", [call.cast(v, "float64") for v in (codes, zero)])
    columns = call.literal(np.asarray([0], np.int64), "columns")
    total = call.add("ReduceSum", [centred, columns], {"keepdims": 0})
    offset = call.add("Mul", [total, call.literal(np.float64(-(2.0**15)), "middle")])
    if bias is not None and bias.value is not None:
        offset = call.add("Add", [offset, call.cast(bias.value, "float64")])
    sum_ = call.add("Add", [sums.joined(call, upper, lower), offset])
    return restored(call, _wide_codes(call, sum_, x, weights, bias), x)


def _wide(call: Call, x: Slot, weights: Slot, bias: Slot | None) -> ir.Value:
    """16-bit activations: a product of float64, in which every sum is exact."""
    if weights.tensor is not None and weights.tensor.elements >= LARGE:
        return _halved(call, x, weights, bias)
    codes, zero = (call.cast(v, "float64") for v in _turned(call, weights))
    turned = call.add("Sub", [codes, zero])
    added = None if bias is None or bias.value is None else call.cast(bias.value, "float64")
    if keeps(call, x) and sums.extent(x, -1) == sums.extent(weights, 1):
        assert x.value is not None
        sum_ = call.add("MatMul", [call.cast(x.value, "float64"), turned])
        if added is not None:
            sum_ = call.add("Add", [sum_, added])
        return _wide_codes(call, sum_, x, weights, bias)
    rows = flattened(call, x, weights)
    sum_ = call.add("Gemm", [call.cast(rows, "float64"), turned, added])
    return restored(call, _wide_codes(call, sum_, x, weights, bias), x)


def _wide_codes(call: Call, sum_: ir.Value, x: Slot, weights: Slot, bias: Slot | None) -> ir.Value:
    said = call.operation.text("quantized_bias_type", "FLOAT32")
    if call.reference or said == "INT64" or (bias is not None and bias.type == "int64"):
        return _precise(call, sum_, x, weights)
    number, shift = quantize_multiplier(
        multipliers(x, weights, call.outputs[0], exact=_exact(weights))
    )
    return finished(call, fixed_point.multiply(call, sum_, number, shift, up=True))


def batch_matmul(call: Call) -> Sequence[ir.Value]:
    """The rule of BATCH_MATMUL."""
    if is_hybrid(call):
        return hybrid(call)
    x, y, output = call.operand(0), call.operand(1), call.outputs[0]
    if x.quantized is None or y.quantized is None or output.quantized is None:
        raise NotHere("real numbers among codes")
    if y.quantized.axis is not None or x.type != output.type:
        raise NotHere("scales of channels")
    if (x.type, y.type) not in (("int8", "int8"), ("int16", "int16"), ("int16", "int8")):
        raise NotHere(f"{x.type} by {y.type}")
    if x.type == "int16":
        return [_wide_batch(call, x, y)]
    factors = [_adjoint(call, slot, name) for slot, name in ((x, "adj_x"), (y, "adj_y"))]
    if not call.reference and not y.quantized.zero_point.any():
        return [_fused_batch(call, factors, x, y)]
    sum_ = call.cast(_integer_product(call, factors, x, y), "float64")
    number, shift = quantize_multiplier(multipliers(x, y, output, exact=False))
    return [finished(call, fixed_point.multiply(call, sum_, number, shift))]


def _adjoint(call: Call, slot: Slot, name: str, value: ir.Value | None = None) -> ir.Value:
    """A factor's codes, or numbers made of them, transposed where the operation says so."""
    value = value or slot.value
    assert value is not None
    if not call.operation.integer(name):
        return value
    if slot.shape is None:
        raise NotHere("a factor of unknown rank")
    return call.add("Transpose", [value], {"perm": swapped(len(slot.shape))})


def _middles(call: Call, factors: list[ir.Value], x: Slot, y: Slot) -> list[ir.Value | None]:
    """Factors and zero points as uint8; constants of int8 are shifted."""
    second, zero = factors[1], y.zero_point
    if y.carried == "int8":
        assert zero is not None
        second, zero = sums.shifted(call, second), sums.shifted(call, zero)
    return [factors[0], second, x.zero_point, zero]


def _integer_product(call: Call, factors: list[ir.Value], x: Slot, y: Slot) -> ir.Value:
    return call.add("MatMulInteger", _middles(call, factors, x, y))


def _fused_batch(call: Call, factors: list[ir.Value], x: Slot, y: Slot) -> ir.Value:
    """XNNPACK's rule; QLinearMatMul rounds as QLinearConv does."""
    output = call.outputs[0]
    first, second, _, zero = _middles(call, factors, x, y)
    inputs = [first, x.scale, x.zero_point, second, y.scale, zero]
    return call.add("QLinearMatMul", [*inputs, output.scale, output.zero_point])


def _wide_batch(call: Call, x: Slot, y: Slot) -> ir.Value:
    factors = [
        _adjoint(call, slot, name, call.centred(slot, "float64"))
        for slot, name in ((x, "adj_x"), (y, "adj_y"))
    ]
    sum_ = call.add("MatMul", factors)
    depth = sums.extent(x, -2 if call.operation.integer("adj_x") else -1)
    most = (2**15 if y.type == "int16" else 2**7) * 2**15 * (depth or 2**15)
    number, shift = quantize_multiplier(multipliers(x, y, call.outputs[0], exact=False))
    if most > 2**45 or shift.max() > 6:
        raise NotHere("sums too long for float64")
    return finished(call, fixed_point.multiply_wide(call, sum_, number, shift, bound=most))


RULES: Mapping[str, Rule] = {"fully_connected": fully_connected, "batch_matmul": batch_matmul}
