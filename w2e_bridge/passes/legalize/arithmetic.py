"""Arithmetic and comparison that kernels have in other words."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import onnx_ir as ir

from w2e_bridge.kernels.special import atan2, floor_mod
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule

REALS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


def chain(op: str) -> Rule:
    """An operator of many operands as one of two, again and again.

    before: Max(a, b, c, …).
    after: Max(Max(a, b), c) …
    why exact: it is associative; of a sum, this is the order of the standard's own reference.
    """

    def rule(place: Place) -> bool:
        inputs = [value for value in place.node.inputs if value is not None]
        if len(inputs) == 2 and op == place.node.op_type:
            return False
        if len(inputs) == 1:
            return place.replace(place.add("Identity", inputs[0]))
        value = inputs[0]
        for other in inputs[1:]:
            value = place.add(op, value, other)
        return place.replace(value)

    return rule


def mean(place: Place) -> bool:
    """The mean of several values.

    before: Mean(a, b, c).
    after: (a + b + c) · 1/3.
    why exact: its definition, the division as a product.
    """
    inputs = [value for value in place.node.inputs if value is not None]
    value = inputs[0]
    for other in inputs[1:]:
        value = place.add("Add", value, other)
    return place.replace(place.add("Div", value, place.like(float(len(inputs)), value)))


def summed(place: Place) -> bool:
    """A sum of values of unlike shapes, or of one.

    before: Sum(a, b, c).
    after: Add(Add(a, b), c); of values of one shape it is a kernel.
    why exact: see `chain`.
    """
    shapes = {place.shape(value) for value in place.node.inputs if value is not None}
    if len(place.node.inputs) > 2 and len(shapes) == 1 and None not in shapes:
        return False
    return chain("Add")(place)


def reciprocal(place: Place) -> bool:
    """1 / x; of a root it is a kernel.

    before: Reciprocal(x).
    after: Div(1, x).
    why exact: its definition.
    """
    if place.inside(place.need(0), "Sqrt") is not None:
        return False
    x = place.need(0)
    return place.replace(place.add("Div", place.like(1.0, x), x))


def remainder(place: Place) -> bool:
    """The remainder that has the dividend's sign, of real numbers.

    before: Mod(a, b, fmod=1).
    after: Sign(a) · FloorMod(|a|, |b|).
    why exact: the remainder of the magnitudes, with the sign of a (C's fmod).
    """
    a, b = place.need(0), place.need(1)
    if not place.integer("fmod") or place.dtype(a) not in REALS:
        return False
    rest = place.call(floor_mod(), place.add("Abs", a), place.add("Abs", b))
    return place.replace(place.add("Mul", place.add("Sign", a), rest))


def division(place: Place) -> bool:
    """Division of integers, which drops the remainder.

    before: Div(a, b), of integers.
    after: (a - m) / b, m = Mod(a, b), which is FloorDiv; one more where it is negative and m is not 0.
        Of 64 bits it is computed with 32 (tensorflow/lite/kernels/floor_div.cc has no others).
    why exact: dropping the remainder is rounding down, but of negative quotients up. Extents and indices,
        which these are, fit into 32 bits.
    """
    a, b = place.need(0), place.need(1)
    if place.dtype(a) not in (ir.DataType.INT32, ir.DataType.INT64) or _is_floor(place):
        return False
    if place.dtype(a) == ir.DataType.INT64:
        narrow = [place.cast(value, ir.DataType.INT32) for value in (a, b)]
        return place.replace(place.cast(place.add("Div", *narrow), ir.DataType.INT64))
    rest = place.add("Mod", a, b)
    down = place.add("Div", place.add("Sub", a, rest), b)
    if _counts(place, a) and _counts(place, b):
        return place.replace(down)
    zero = place.like(0.0, a)
    # Mod reads its operands again: a node of its own, since the first vanishes inside of FloorDiv.
    again = place.add("Mod", a, b)
    uneven = place.add("Not", place.add("Equal", again, zero))
    signs = [place.cast(place.add("Less", v, zero), ir.DataType.INT32) for v in (a, b)]
    negative = place.add("Not", place.add("Equal", *signs))
    more = place.cast(place.add("And", uneven, negative), place.dtype(a))
    return place.replace(place.add("Add", down, more))


def _is_floor(place: Place) -> bool:
    """Whether it is FloorDiv as kernels are recognised: Div(Sub(a, Mod(a, b)), b)."""
    whole = place.need(0).producer()
    if whole is None or whole.op_type != "Sub" or len(whole.inputs) != 2 or whole.inputs[1] is None:
        return False
    rest = whole.inputs[1].producer()
    return rest is not None and rest.op_type == "Mod" and rest.inputs[1] is place.need(1)


def _counts(place: Place, value: ir.Value, depth: int = 8) -> bool:
    """Whether integers are extents or other numbers that are never negative."""
    array = place.array(value)
    if array is not None:
        return bool((array >= 0).all())
    made = value.producer()
    if made is None or depth == 0:
        return False
    if made.op_type in ("Shape", "Size", "Abs", "ArgMax", "ArgMin", "NonZero"):
        return True
    if made.op_type in ("Gather", "Slice", "Squeeze", "Unsqueeze", "Cast", "Reshape", "Identity"):
        first = made.inputs[0]
        return first is not None and _counts(place, first, depth - 1)
    if made.op_type in ("Add", "Mul", "Div", "Max", "Concat"):
        return all(v is not None and _counts(place, v, depth - 1) for v in made.inputs)
    return False


def power(place: Place) -> bool:
    """Powers of constants that are products and roots.

    before: Pow(x, 2), Pow(x, 0.5), Pow(x, -1), Pow(x, 3), Pow(x, 1).
    after: x · x, Sqrt(x), 1 / x, x · x · x, x.
    why exact: the same numbers, to a unit of the last place.
    """
    exponent, x = place.scalar(place.input(1)), place.need(0)
    if exponent is None or place.dtype(x) not in REALS or place.rank(place.input(1)) not in (0, 1):
        return False
    rule = _POWERS.get(exponent)
    if rule is None:
        return False
    if exponent == 2.0 and place.inside(x, "Sub") is not None:
        return False  # a squared difference, which is a kernel
    return place.replace(rule(place, x))


_POWERS: Mapping[float, Callable[[Place, ir.Value], ir.Value]] = {
    1.0: lambda place, x: place.add("Identity", x),
    2.0: lambda place, x: place.add("Mul", x, x),
    3.0: lambda place, x: place.add("Mul", place.add("Mul", x, x), x),
    0.5: lambda place, x: place.add("Sqrt", x),
    -1.0: lambda place, x: place.add("Div", place.like(1.0, x), x),
    -0.5: lambda place, x: place.add("Reciprocal", place.add("Sqrt", x)),
}


def cast_exponent(place: Place) -> bool:
    """An exponent of another type than its base.

    before: Pow(x: float, n: int64).
    after: Pow(x, Cast(n)).
    why exact: the standard computes in the base's type.
    """
    x, exponent = place.need(0), place.need(1)
    if place.dtype(x) == place.dtype(exponent):
        return False
    place.node.replace_input_with(1, place.cast(exponent, place.dtype(x)))
    return True


def exclusive_or(place: Place) -> bool:
    """Xor of truth values is that they differ.

    before: Xor(a, b).
    after: Not(Equal(a, b)).
    why exact: the same table.
    """
    return place.replace(place.add("Not", place.add("Equal", place.need(0), place.need(1))))


def not_a_number(place: Place) -> bool:
    """A number that is unlike itself.

    before: IsNaN(x).
    after: Not(Equal(x, x)).
    why exact: IEEE 754: only NaN is unlike itself.
    """
    x = place.need(0)
    return place.replace(place.add("Not", place.add("Equal", x, x)))


def infinite(place: Place) -> bool:
    """Infinities.

    before: IsInf(x, detect_negative, detect_positive).
    after: x equal to an infinity; |x| for both.
    why exact: nothing else is equal to one.
    """
    negative, positive = (place.integer(f"detect_{n}", 1) for n in ("negative", "positive"))
    x = place.need(0)
    if negative and positive:
        return place.replace(place.add("Equal", place.add("Abs", x), place.like(math.inf, x)))
    if not negative and not positive:
        return False
    return place.replace(place.add("Equal", x, place.like(-math.inf if negative else math.inf, x)))


def tangent(place: Place) -> bool:
    """Sin / cos.

    before: Tan(x).
    after: Sin(x) / Cos(x).
    why exact: its definition, rounded twice more.
    """
    x = place.need(0)
    return place.replace(place.add("Div", place.add("Sin", x), place.add("Cos", x)))


def hyperbolic(sign: str) -> Rule:
    """Half a sum or difference of exponentials.

    before: Sinh(x), Cosh(x).
    after: (exp(x) ∓ exp(-x)) / 2.
    why exact: its definition.
    """

    def rule(place: Place) -> bool:
        x = place.need(0)
        both = place.add(sign, place.add("Exp", x), place.add("Exp", place.add("Neg", x)))
        return place.replace(place.add("Mul", both, place.like(0.5, x)))

    return rule


def angle(formula: Callable[[Place, ir.Value], tuple[ir.Value, ir.Value]]) -> Rule:
    """The angle of a point.

    before: Atan(x), Asin(x), Acos(x).
    after: Atan2(x, 1), Atan2(x, sqrt(1 - x²)), Atan2(sqrt(1 - x²), x).
    why exact: the point has that sine, cosine or tangent.
    """

    def rule(place: Place) -> bool:
        return place.replace(place.call(atan2(), *formula(place, place.need(0))))

    return rule


def _other_side(place: Place, x: ir.Value) -> ir.Value:
    rest = place.add("Sub", place.like(1.0, x), place.add("Mul", x, x))
    return place.add("Sqrt", rest)


def _tangent(place: Place, x: ir.Value) -> tuple[ir.Value, ir.Value]:
    ones = place.add("Add", place.add("Mul", x, place.like(0.0, x)), place.like(1.0, x))
    return x, ones


def area(place: Place) -> bool:
    """Inverse hyperbolic functions are logarithms.

    before: Asinh(x), Acosh(x), Atanh(x).
    after: sign(x) · log(|x| + sqrt(x² + 1)), log(x + sqrt(x² - 1)), log((1 + x) / (1 - x)) / 2.
    why exact: their definitions.
    """
    x, one = place.need(0), place.like(1.0, place.need(0))
    if place.node.op_type == "Atanh":
        ratio = place.add("Div", place.add("Add", x, one), place.add("Sub", one, x))
        return place.replace(place.add("Mul", place.add("Log", ratio), place.like(0.5, x)))
    odd = place.node.op_type == "Asinh"
    side = place.add("Sqrt", place.add("Add" if odd else "Sub", place.add("Mul", x, x), one))
    value = place.add("Log", place.add("Add", place.add("Abs", x) if odd else x, side))
    return place.replace(place.add("Mul", place.add("Sign", x), value) if odd else value)


def equal_types(place: Place) -> bool:
    """Truth values compared as numbers, and numbers multiplied that are truth values.

    before: Where(c, a, b) and comparisons of types that kernels do not have.
    after: Casts around them.
    why exact: false and true are 0 and 1.
    """
    x = place.need(0)
    if place.dtype(x) != ir.DataType.BOOL:
        return False
    inputs = [place.cast(place.need(slot), ir.DataType.INT32) for slot in (0, 1)]
    return place.replace(place.add(place.node.op_type, *inputs))


def cast_of_truth(place: Place) -> bool:
    """Real numbers as truth values: those that are not 0.

    before: Cast(x, to=bool).
    after: Not(Equal(x, 0)).
    why exact: onnx/onnx docs/Operators.md, Cast: all but 0 is true.
    """
    x = place.need(0)
    if place.integer("to") != int(ir.DataType.BOOL) or x.dtype in (None, ir.DataType.BOOL):
        return False
    return place.replace(place.add("Not", place.add("Equal", x, place.like(0.0, x))))


def cast_like(place: Place) -> bool:
    """A cast to the type of another value.

    before: CastLike(x, y).
    after: Cast(x, to=type of y).
    why exact: its definition.
    """
    other = place.need(1)
    if other.dtype is None:
        return False
    return place.replace(place.cast(place.need(0), other.dtype))


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Max": (chain("Max"),),
    "Min": (chain("Min"),),
    "Sum": (summed,),
    "Mean": (mean,),
    "Reciprocal": (reciprocal,),
    "Mod": (remainder,),
    "Div": (division,),
    "Pow": (power, cast_exponent),
    "Xor": (exclusive_or,),
    "IsNaN": (not_a_number,),
    "IsInf": (infinite,),
    "Tan": (tangent,),
    "Sinh": (hyperbolic("Sub"),),
    "Cosh": (hyperbolic("Add"),),
    "Atan": (angle(_tangent),),
    "Asin": (angle(lambda place, x: (x, _other_side(place, x))),),
    "Acos": (angle(lambda place, x: (_other_side(place, x), x)),),
    "Asinh": (area,),
    "Acosh": (area,),
    "Atanh": (area,),
    "Equal": (equal_types,),
    "Cast": (cast_of_truth,),
    "CastLike": (cast_like,),
}
