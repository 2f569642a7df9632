"""Normalizations by means, differences and roots."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import Tensor, plain_tensor
from w2e_bridge.loss import Grade, TensorLoss
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule


def batch(place: Place) -> bool:
    """Batch normalization with known statistics is a product and a sum.

    before: BatchNormalization(x, scale, bias, mean, var).
    after: x · (scale / sqrt(var + epsilon)) + (bias - mean · that), a number for each channel.
    why exact: the formula multiplied out, its constants computed in float64 and rounded once.
    """
    rank = place.rank(place.need(0))
    parameters = [_numbers(place, slot) for slot in range(1, 5)]
    if (
        rank is None
        or rank < 2
        or any(p is None for p in parameters)
        or place.integer("training_mode")
    ):
        return False
    scale, bias, mean, var = (p.astype(np.float64) for p in parameters if p is not None)
    factor = scale / np.sqrt(var + place.number("epsilon", 1e-5))
    if place.work.folds and folded(place, factor, bias - mean * factor):
        return True
    shape = (-1, *(1,) * (rank - 2))
    made = place.add("Mul", place.need(0), _parameter(place, factor.reshape(shape)))
    return place.replace(
        place.add("Add", made, _parameter(place, (bias - mean * factor).reshape(shape)))
    )


def folded(place: Place, factor: AnyArray, more: AnyArray) -> bool:
    """A product and a sum for each channel as part of the convolution before them.

    before: Conv(x, W, b) · factor + more, W and b real numbers.
    after: Conv(x, W · factor, b · factor + more).
    why exact: a convolution is linear; the weights are rounded once more, which is graded.
    """
    conv = place.inside(place.need(0), "Conv")
    weights = None if conv is None else place.tensor(conv.inputs[1])
    if conv is None or weights is None or weights.encoding.quantized:
        return False
    held = conv.inputs[2] if len(conv.inputs) > 2 else None
    bias = place.tensor(held)
    if held is not None and (bias is None or bias.encoding.quantized):
        return False
    inputs = [conv.inputs[0], _scaled_weights(place, weights, factor)]
    added = np.zeros_like(factor) if bias is None else bias.dequantize().astype(np.float64)
    name = f"{name_of(place.output)}.bias" if bias is None else bias.name
    inputs.append(place.weight(plain_tensor(name, (added * factor + more).astype(np.float32))))
    if bias is not None and added.any():
        place.work.losses.append(_rounded(bias, "a batch normalization went into it"))
    made = place.add("Conv", *inputs, attributes={n: a.value for n, a in conv.attributes.items()})
    return place.replace(made)


def _scaled_weights(place: Place, weights: Tensor, factor: AnyArray) -> ir.Value:
    values = weights.dequantize().astype(np.float64)
    after = (values * factor.reshape(-1, *(1,) * (values.ndim - 1))).astype(np.float32)
    place.work.losses.append(_rounded(weights, "a batch normalization went into it"))
    return place.weight(plain_tensor(weights.name, after))


def _rounded(tensor: Tensor, reason: str) -> TensorLoss:
    return TensorLoss(
        name=tensor.name,
        source_encoding=str(tensor.encoding),
        encoding="float32",
        grade=Grade.ROUNDING,
        reason=reason,
    )


def _numbers(place: Place, slot: int) -> AnyArray | None:
    """The numbers of a vector of real numbers."""
    value = place.input(slot)
    tensor = place.tensor(value)
    if tensor is not None and not tensor.encoding.quantized and len(tensor.shape) <= 1:
        return tensor.dequantize().reshape(-1)
    return place.array(value)


def _parameter(place: Place, array: AnyArray) -> ir.Value:
    return place.constant(array.astype(np.float32))


def normalized(place: Place, x: ir.Value, axes: list[int], epsilon: float) -> ir.Value:
    """(x - mean) / sqrt(variance + epsilon) over axes."""
    at = place.constant(axes)
    mean = place.add("ReduceMean", x, at, attributes={"keepdims": 1})
    difference = place.add("Sub", x, mean)
    square = place.add("Mul", difference, difference)
    variance = place.add("ReduceMean", square, at, attributes={"keepdims": 1})
    return place.add("Mul", difference, _inverse_root(place, variance, epsilon))


def _inverse_root(place: Place, square: ir.Value, epsilon: float) -> ir.Value:
    bounded = place.add("Add", square, place.constant(np.float32(epsilon)))
    return place.add("Reciprocal", place.add("Sqrt", bounded))


def _trailing(place: Place, axis: int) -> list[int] | None:
    """Axes from one on."""
    rank = place.rank(place.need(0))
    return None if rank is None else list(range(axis % rank, rank))


def _scaled(place: Place, value: ir.Value, *slots: int) -> ir.Value:
    """Multiplied by the first of some inputs, the second added; each where it is given."""
    for slot, op in zip(slots, ("Mul", "Add"), strict=False):
        parameter = place.input(slot)
        if parameter is not None:
            value = place.add(op, value, parameter)
    return value


def layer(place: Place) -> bool:
    """Layer normalization.

    before: LayerNormalization(x, scale, bias).
    after: (x - mean) / sqrt(variance + epsilon) · scale + bias.
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    axes = _trailing(place, place.integer("axis", -1))
    if axes is None or any(o.uses() or o.is_graph_output() for o in place.node.outputs[1:]):
        return False
    made = normalized(place, place.need(0), axes, place.number("epsilon", 1e-5))
    return place.replace(_scaled(place, made, 1, 2))


def root_mean_square(place: Place) -> bool:
    """Normalization by the root of the mean square.

    before: RMSNormalization(x, scale).
    after: x / sqrt(mean(x · x) + epsilon) · scale.
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    axes, x = _trailing(place, place.integer("axis", -1)), place.need(0)
    if axes is None or len(place.node.outputs) > 1:
        return False
    square = place.add(
        "ReduceMean", place.add("Mul", x, x), place.constant(axes), attributes={"keepdims": 1}
    )
    made = place.add("Mul", x, _inverse_root(place, square, place.number("epsilon", 1e-5)))
    return place.replace(_scaled(place, made, 1))


def instance(place: Place) -> bool:
    """Instance normalization: each channel of each image by itself.

    before: InstanceNormalization(x, scale, bias).
    after: (x - mean) / sqrt(variance + epsilon) · scale + bias over the axes of space.
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    rank = place.rank(place.need(0))
    if rank is None or rank < 3:
        return False
    made = normalized(place, place.need(0), list(range(2, rank)), place.number("epsilon", 1e-5))
    return place.replace(_by_channel(place, made, rank))


def _by_channel(place: Place, value: ir.Value, rank: int) -> ir.Value:
    """Multiplied by the second input and the third added, a number for each channel."""
    for slot, op in ((1, "Mul"), (2, "Add")):
        parameter = place.need(slot)
        wide = place.add("Reshape", parameter, place.constant([-1, *(1,) * (rank - 2)]))
        value = place.add(op, value, wide)
    return value


def group(place: Place) -> bool:
    """Group normalization: channels in groups.

    before: GroupNormalization(x: (n, c, …), scale, bias, num_groups).
    after: Reshape(x: (n, groups, c / groups, …)), normalized over all but the first two axes, and back.
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    shape, groups = place.shape(place.need(0)), place.integer("num_groups")
    if shape is None or len(shape) < 3 or not groups or not isinstance(shape[1], int):
        return False
    extents = [n if isinstance(n, int) else None for n in shape[2:]]
    if None in extents or shape[1] % groups:
        return False
    space = [n for n in extents if n is not None]
    first = shape[0] if isinstance(shape[0], int) else -1
    split = place.add(
        "Reshape", place.need(0), place.constant([first, groups, shape[1] // groups, *space])
    )
    axes = list(range(2, len(space) + 3))
    made = normalized(place, split, axes, place.number("epsilon", 1e-5))
    parameters = place.static(place.input(1))
    if (
        parameters == (groups,) and groups != shape[1]
    ):  # versions before 21: a number for each group
        made = _by_channel(place, made, len(space) + 3)
        return place.replace(place.add("Reshape", made, place.constant([first, shape[1], *space])))
    whole = place.add("Reshape", made, place.constant([first, shape[1], *space]))
    return place.replace(_by_channel(place, whole, len(shape)))


def mean_variance(place: Place) -> bool:
    """Normalization without parameters.

    before: MeanVarianceNormalization(x, axes).
    after: (x - mean) / (sqrt(variance) + 1e-9).
    why exact: the body of its function (onnx/onnx docs/Operators.md).
    """
    axes, x = place.constant(place.integers("axes") or [0, 2, 3]), place.need(0)
    keep = {"keepdims": 1}
    mean = place.add("ReduceMean", x, axes, attributes=keep)
    difference = place.add("Sub", x, mean)
    square = place.add("Mul", difference, difference)
    deviation = place.add("Sqrt", place.add("ReduceMean", square, axes, attributes=keep))
    least = place.add("Add", deviation, place.constant(np.float32(1e-9)))
    return place.replace(place.add("Div", difference, least))


def lp(place: Place) -> bool:
    """Normalization by a sum of magnitudes, or by the root of a sum of squares along any axis.

    before: LpNormalization(x, p, axis).
    after: x / ReduceL1(x), x / max(ReduceL2(x), least); of p = 2 along the last axis it is a kernel.
    why exact: its definition; where a norm is 0 the quotient is 0 by the least norm of the kernel.
    """
    p, rank, x = place.integer("p", 2), place.rank(place.need(0)), place.need(0)
    if rank is None or p not in (1, 2):
        return False
    axis = place.integer("axis", -1) % rank
    if p == 2 and axis == rank - 1:
        return False
    op = "ReduceL1" if p == 1 else "ReduceL2"
    norm = place.add(op, x, place.constant([axis]), attributes={"keepdims": 1})
    bounded = place.add("Max", norm, place.constant(np.float32(1e-12)))
    return place.replace(place.add("Div", x, bounded))


RULES: Mapping[str, tuple[Rule, ...]] = {
    "BatchNormalization": (batch,),
    "LayerNormalization": (layer,),
    "RMSNormalization": (root_mean_square,),
    "SimplifiedLayerNormalization": (root_mean_square,),
    "InstanceNormalization": (instance,),
    "GroupNormalization": (group,),
    "MeanVarianceNormalization": (mean_variance,),
    "LpNormalization": (lp,),
}
