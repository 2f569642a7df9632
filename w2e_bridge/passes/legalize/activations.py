"""Activations that kernels do not have, of those that they have."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule
from w2e_bridge.passes.legalize.series import erf

SELU_ALPHA, SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
"""Defaults of Selu: onnx/onnx docs/Operators.md."""

ROOT_HALF = math.sqrt(0.5)
BOUNDS = {(0.0, 6.0), (-1.0, 1.0), (0.0, 1.0)}
"""Clips that are kernels."""


def clip(place: Place) -> bool:
    """Clip with any bounds.

    before: Clip(x, low, high).
    after: Min(Max(x, low), high); Relu where low is 0 and there is no high.
    why exact: onnx/onnx docs/Operators.md, Clip: low first, then high.
    """
    low, high = place.scalar(place.input(1)), place.scalar(place.input(2))
    if (low, high) in BOUNDS and place.dtype(place.need(0)) == ir.DataType.FLOAT:
        return False
    value = place.need(0)
    if low == 0.0 and place.input(2) is None and place.dtype(value) == ir.DataType.FLOAT:
        return place.replace(place.add("Relu", value))
    for slot, op in ((1, "Max"), (2, "Min")):
        bound = place.input(slot)
        if bound is not None:
            value = place.add(op, value, bound)
    if value is place.need(0):
        return place.replace(place.add("Identity", value))
    return place.replace(value)


def of(parts: Callable[[Place, ir.Value], ir.Value]) -> Rule:
    """An activation by its formula.

    before: y = f(x).
    after: the operators of the formula that defines f.
    why exact: onnx/onnx docs/Operators.md defines f so.
    """

    def rule(place: Place) -> bool:
        return place.replace(parts(place, place.need(0)))

    return rule


def _scaled(place: Place, x: ir.Value, factor: float, more: float = 0.0) -> ir.Value:
    """Factor * x + more, nothing where that is x."""
    if factor != 1.0:
        x = place.add("Mul", x, place.like(factor, x))
    return x if more == 0.0 else place.add("Add", x, place.like(more, x))


def _hard_sigmoid(place: Place, x: ir.Value) -> ir.Value:
    alpha, beta = place.number("alpha", 0.2), place.number("beta", 0.5)
    low, high = place.constant(np.float32(0)), place.constant(np.float32(1))
    return place.add("Clip", _scaled(place, x, alpha, beta), low, high)


def _exponential(place: Place, x: ir.Value, alpha: float, gamma: float, width: float) -> ir.Value:
    """Gamma * (max(x, 0) + alpha * (exp(min(x, 0) / width) - 1))."""
    negative = place.add("Min", x, place.constant(np.float32(0)))
    grown = place.add("Exp", _scaled(place, negative, 1 / width))
    below = _scaled(place, _scaled(place, grown, 1.0, -1.0), alpha)
    return _scaled(place, place.add("Add", place.add("Relu", x), below), gamma)


def _selu(place: Place, x: ir.Value) -> ir.Value:
    alpha, gamma = place.number("alpha", SELU_ALPHA), place.number("gamma", SELU_GAMMA)
    return _exponential(place, x, alpha, gamma, 1.0)


def _celu(place: Place, x: ir.Value) -> ir.Value:
    alpha = place.number("alpha", 1.0)
    return _exponential(place, x, alpha, 1.0, alpha)


def elu(place: Place) -> bool:
    """Elu with a factor; without one it is a kernel.

    before: Elu(x, alpha).
    after: max(x, 0) + alpha · (exp(min(x, 0)) - 1).
    why exact: its definition.
    """
    alpha = place.number("alpha", 1.0)
    return alpha != 1.0 and place.replace(_exponential(place, place.need(0), alpha, 1.0, 1.0))


def softplus(place: Place, x: ir.Value) -> ir.Value:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which never overflows."""
    small = place.add("Exp", place.add("Neg", place.add("Abs", x)))
    return place.add("Add", place.add("Relu", x), place.add("Log", _scaled(place, small, 1.0, 1.0)))


def _mish(place: Place, x: ir.Value) -> ir.Value:
    return place.add("Mul", x, place.add("Tanh", softplus(place, x)))


def _softsign(place: Place, x: ir.Value) -> ir.Value:
    return place.add("Div", x, _scaled(place, place.add("Abs", x), 1.0, 1.0))


def _swish(place: Place, x: ir.Value) -> ir.Value:
    alpha = place.number("alpha", 1.0)
    return place.add("Mul", x, place.add("Sigmoid", _scaled(place, x, alpha)))


def _quick_gelu(place: Place, x: ir.Value) -> ir.Value:
    alpha = place.number("alpha", 1.702)
    return place.add("Mul", x, place.add("Sigmoid", _scaled(place, x, alpha)))


def _thresholded(place: Place, x: ir.Value) -> ir.Value:
    alpha = place.like(place.number("alpha", 1.0), x)
    zero = place.like(0.0, x)
    return place.add("Where", place.add("Greater", x, alpha), x, zero)


def _shrink(place: Place, x: ir.Value) -> ir.Value:
    bias, bound = place.number("bias", 0.0), place.number("lambd", 0.5)
    zero = place.like(0.0, x)
    low = place.add("Less", x, place.like(-bound, x))
    high = place.add("Greater", x, place.like(bound, x))
    raised = _scaled(place, x, 1.0, bias)
    return place.add(
        "Where", low, raised, place.add("Where", high, _scaled(place, x, 1.0, -bias), zero)
    )


def hard_swish(place: Place) -> bool:
    """X · HardSigmoid(x) with the numbers of HardSwish is a kernel; leave it.

    before: HardSigmoid(x, alpha, beta).
    after: Clip(alpha · x + beta, 0, 1), but where the kernel is recognised.
    why exact: its definition.
    """
    alpha, beta = place.number("alpha", 0.2), place.number("beta", 0.5)
    users = [user for user, _ in place.output.uses()]
    product = len(users) == 1 and users[0].op_type == "Mul" and place.need(0) in users[0].inputs
    if product and math.isclose(alpha, 1 / 6, rel_tol=1e-5) and beta == 0.5:
        return False
    return place.replace(_hard_sigmoid(place, place.need(0)))


def error_function(place: Place) -> bool:
    """The error function, but where it is part of a GELU.

    before: Erf(x).
    after: a rational function of x between -1 and 1, by which common runtimes compute it.
    why exact: to 3 units of the last place of float32; there is no kernel of it.
    """
    adds = [user for user, _ in place.output.uses()]
    if len(adds) == 1 and adds[0].op_type == "Add" and _in_gelu(place):
        return False
    return place.replace(erf(place, place.need(0)))


def _in_gelu(place: Place) -> bool:
    made = place.need(0).producer()
    if made is None or made.op_type not in ("Div", "Mul"):
        return False
    factor = place.scalar(made.inputs[1])
    wanted = math.sqrt(2.0) if made.op_type == "Div" else ROOT_HALF
    return factor is not None and math.isclose(factor, wanted, rel_tol=1e-5)


def along_last(place: Place) -> bool:
    """Softmax and its kin along another axis than the last.

    before: Softmax(x, axis).
    after: Transpose(Softmax(Transpose(x))), the axis last in between.
    why exact: a Transpose moves numbers. The layout pass takes out what Transposes it can.
    """
    rank = place.rank(place.need(0))
    if rank is None or place.integer("axis", -1) % rank == rank - 1:
        return False
    axis = place.integer("axis", -1) % rank
    perm = [a for a in range(rank) if a != axis] + [axis]
    back = [perm.index(a) for a in range(rank)]
    x = place.add("Transpose", place.need(0), attributes={"perm": perm})
    attributes = {n: a.value for n, a in place.node.attributes.items()} | {"axis": -1}
    made = place.add(place.node.op_type, x, attributes=attributes)
    return place.replace(place.add("Transpose", made, attributes={"perm": back}))


def hardmax(place: Place) -> bool:
    """Hardmax is one where the first of the largest stands.

    before: Hardmax(x), along the last axis.
    after: OneHot(ArgMax(x)).
    why exact: its definition.
    """
    shape = place.shape(place.need(0))
    if (
        not shape
        or not isinstance(shape[-1], int)
        or place.integer("axis", -1) % len(shape) != len(shape) - 1
    ):
        return False
    found = place.add("ArgMax", place.need(0), attributes={"axis": len(shape) - 1, "keepdims": 0})
    depth, values = place.constant([shape[-1]]), place.constant(np.array([0, 1], np.float32))
    return place.replace(place.add("OneHot", found, depth, values, attributes={"axis": -1}))


def prelu(place: Place) -> bool:
    """A slope of one number for all is a leaky rectifier.

    before: PRelu(x, one number).
    after: LeakyRelu(x, alpha).
    why exact: the same function.
    """
    slope = place.scalar(place.input(1))
    if slope is None or place.quantized(place.need(0)):
        return False
    return place.replace(place.add("LeakyRelu", place.need(0), attributes={"alpha": slope}))


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Clip": (clip,),
    "HardSigmoid": (hard_swish,),
    "Elu": (elu,),
    "Selu": (of(_selu),),
    "Celu": (of(_celu),),
    "Softplus": (of(softplus),),
    "Mish": (of(_mish),),
    "Softsign": (of(_softsign),),
    "Swish": (of(_swish),),
    "com.microsoft::QuickGelu": (of(_quick_gelu),),
    "ThresholdedRelu": (of(_thresholded),),
    "Shrink": (of(_shrink),),
    "Erf": (error_function,),
    "PRelu": (prelu,),
    "Softmax": (along_last,),
    "LogSoftmax": (along_last,),
    "Hardmax": (along_last, hardmax),
}
