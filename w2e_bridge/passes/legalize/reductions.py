"""Reductions that kernels do not have, of those that they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule

Step = Callable[[Place, ir.Value], ir.Value]


def around(op: str, before: Step | None = None, after: Step | None = None) -> Rule:
    """A reduction between two functions of each element.

    before: ReduceL2(x) and its kin.
    after: Sqrt(ReduceSum(x · x)): `after(op(before(x)))`.
    why exact: it is their definition (onnx/onnx docs/Operators.md).
    """

    def rule(place: Place) -> bool:
        x = place.need(0)
        value = x if before is None else before(place, x)
        attributes = {n: a.value for n, a in place.node.attributes.items()}
        rest = [v for v in place.node.inputs[1:] if v is not None]
        made = place.add(op, value, *rest, attributes=attributes)
        return place.replace(made if after is None else after(place, made))

    return rule


def _square(place: Place, x: ir.Value) -> ir.Value:
    return place.add("Mul", x, x)


def _unary(op: str) -> Step:
    return lambda place, x: place.add(op, x)


def log_sum_exp(place: Place) -> bool:
    """The logarithm of a sum of exponentials, the largest taken out.

    before: ReduceLogSumExp(x).
    after: Log(ReduceSum(Exp(x - m))) + m, m = ReduceMax(x).
    why exact: exp(x - m) = exp(x) / exp(m); without m, large numbers overflow.
    """
    x, axes = place.need(0), [v for v in place.node.inputs[1:] if v is not None]
    keep = {n: a.value for n, a in place.node.attributes.items()}
    most = place.add("ReduceMax", x, *axes, attributes={**keep, "keepdims": 1})
    total = place.add(
        "ReduceSum", place.add("Exp", place.add("Sub", x, most)), *axes, attributes=keep
    )
    if not place.integer("keepdims", 1):
        most = place.add("ReduceMax", x, *axes, attributes=keep)
    return place.replace(place.add("Add", place.add("Log", total), most))


def arg(op: str) -> Rule:
    """The place of an extreme, the axis kept.

    before: ArgMax(x, keepdims=1).
    after: Unsqueeze(ArgMax(x, keepdims=0)).
    why exact: an axis of extent 1 is put back.
    """

    def rule(place: Place) -> bool:
        rank = place.rank(place.need(0))
        if not place.integer("keepdims", 1) or rank is None or place.integer("select_last_index"):
            return False
        axis = place.integer("axis", 0) % rank
        attributes = {"axis": axis, "keepdims": 0}
        found = place.add(op, place.need(0), attributes=attributes)
        return place.replace(place.add("Unsqueeze", found, place.constant([axis])))

    return rule


def running(place: Place) -> bool:
    """A running sum whose axis is a vector of one number.

    before: CumSum(x, [axis]).
    after: CumSum(x, axis).
    why exact: ONNX allows both.
    """
    axis = place.array(place.input(1))
    if axis is None or axis.ndim == 0:
        return False
    place.node.replace_input_with(1, place.constant(np.asarray(axis.reshape(()), np.int64)))
    return True


RULES: Mapping[str, tuple[Rule, ...]] = {
    "ReduceL1": (around("ReduceSum", _unary("Abs")),),
    "ReduceL2": (around("ReduceSum", _square, _unary("Sqrt")),),
    "ReduceSumSquare": (around("ReduceSum", _square),),
    "ReduceLogSum": (around("ReduceSum", None, _unary("Log")),),
    "ReduceLogSumExp": (log_sum_exp,),
    "ArgMax": (arg("ArgMax"),),
    "ArgMin": (arg("ArgMin"),),
    "CumSum": (running,),
}
