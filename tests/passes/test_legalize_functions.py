"""Functions, comparisons, normalizations and reductions that kernels have in other words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.passes.evaluation import Net, close, evaluated, feeds_of, lifted, operators
from tests.passes.test_legalize import check
from w2e_bridge.loss import Grade
from w2e_bridge.passes.legalize import Legalize

SHAPE = (2, 3, 4, 5)


def unary(op: str, **attributes: Any) -> Callable[[Net], str]:
    return lambda net: net.add(op, net.input(*SHAPE), **attributes)


def number(net: Net, value: float) -> str:
    return net.constant(np.float32(value))


ACTIVATIONS: dict[str, Callable[[Net], str]] = {
    **{
        op: unary(op)
        for op in (
            "Relu", "Sigmoid", "Tanh", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "HardSigmoid",
            "HardSwish", "LeakyRelu", "ThresholdedRelu", "Erf", "Gelu", "Exp", "Abs", "Neg", "Sign", "Floor",
            "Ceil", "Round", "Sin", "Cos", "Sinh", "Cosh", "Softmax", "LogSoftmax", "Identity", "Dropout",
            "Shrink",
        )
    },
    "Elu, factor": unary("Elu", alpha=0.5),
    "Celu, factor": unary("Celu", alpha=2.0),
    "HardSigmoid, numbers": unary("HardSigmoid", alpha=0.3, beta=0.4),
    "Gelu, tanh": unary("Gelu", approximate="tanh"),
    "Shrink, numbers": unary("Shrink", bias=0.25, lambd=0.75),
    "Softmax, axis": unary("Softmax", axis=1),
    "LogSoftmax, axis": unary("LogSoftmax", axis=-3),
    "Hardmax": unary("Hardmax"),
    "Hardmax, axis": unary("Hardmax", axis=1),
    "Clip": lambda n: n.add("Clip", n.input(*SHAPE), number(n, -0.25), number(n, 0.75)),
    "Clip, low": lambda n: n.add("Clip", n.input(*SHAPE), number(n, -0.25)),
    "Clip, relu": lambda n: n.add("Clip", n.input(*SHAPE), number(n, 0)),
    "Clip, high": lambda n: n.add("Clip", n.input(*SHAPE), "", number(n, 0.75)),
    "Clip, 6": lambda n: n.add("Clip", n.input(*SHAPE), number(n, 0), number(n, 6)),
    "PRelu": lambda n: n.add("PRelu", n.input(*SHAPE), n.weight(3, 1, 1)),
    "PRelu, one": lambda n: n.add("PRelu", n.input(*SHAPE), n.weight(1)),
    "swish": lambda n: n.add("Mul", x := n.input(*SHAPE), n.add("Sigmoid", x)),
    "hard swish": lambda n: n.add(
        "Mul", x := n.input(*SHAPE), n.add("HardSigmoid", x, alpha=1 / 6, beta=0.5)
    ),
    "gelu in parts": lambda n: n.add(
        "Mul",
        n.add(
            "Mul", x := n.input(*SHAPE),
            n.add("Add", n.add("Erf", n.add("Div", x, number(n, np.sqrt(2)))), number(n, 1)),
        ),
        number(n, 0.5),
    ),
}  # fmt: skip


def test_quick_gelu(tmp_path: Path) -> None:
    net = Net()
    made = net.add("QuickGelu", net.input(*SHAPE), domain="com.microsoft", alpha=1.702)
    net.known[made] = SHAPE
    check(net.proto(made), tmp_path)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(ACTIVATIONS[name](net)), tmp_path)


def both(op: str, *more: str, **attributes: Any) -> Callable[[Net], str]:
    return lambda n: n.add(op, n.input(*SHAPE), n.input(3, 1, 5), **attributes)


def positive(net: Net, *shape: int) -> str:
    return str(net.add("Add", net.add("Abs", net.input(*shape)), number(net, 0.5)))


def power(exponent: Any) -> Callable[[Net], str]:
    return lambda n: n.add("Pow", positive(n, *SHAPE), n.constant(exponent))


def integers(net: Net, low: int = -9, high: int = 9, dtype: Any = np.int64) -> str:
    """Integers that depend on an input."""
    shift = net.constant(net.chance.integers(low, high, (4, 5)), dtype)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return str(net.add("Add", net.add("Cast", net.input(4, 5), to=kind), shift))


def _bounded(op: str) -> Callable[[Net], str]:
    """Of numbers a little inside of -1 and 1."""
    return lambda n: n.add(op, n.add("Mul", n.add("Tanh", n.input(*SHAPE)), number(n, 0.9)))


ARITHMETIC: dict[str, Callable[[Net], str]] = {
    **{op: both(op) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu", "Sum", "Mean")},
    **{op: both(op) for op in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")},
    "Max of three": lambda n: n.add("Max", n.input(*SHAPE), n.input(4, 5), n.weight(5)),
    "Max of one": lambda n: n.add("Max", n.input(*SHAPE)),
    "Min of three": lambda n: n.add("Min", n.input(*SHAPE), n.input(4, 5), n.weight(5)),
    "Sum of three": lambda n: n.add("Sum", n.input(*SHAPE), n.input(*SHAPE), n.input(*SHAPE)),
    "Sum, unlike": lambda n: n.add("Sum", n.input(*SHAPE), n.input(4, 5), n.weight(5)),
    "Mean of three": lambda n: n.add("Mean", n.input(*SHAPE), n.input(4, 5), n.weight(5)),
    "Reciprocal": lambda n: n.add("Reciprocal", positive(n, *SHAPE)),
    "Log": lambda n: n.add("Log", positive(n, *SHAPE)),
    "Sqrt": lambda n: n.add("Sqrt", positive(n, *SHAPE)),
    "root and reciprocal": lambda n: n.add("Reciprocal", n.add("Sqrt", positive(n, *SHAPE))),
    "Tan": lambda n: n.add("Tan", n.add("Tanh", n.input(*SHAPE))),
    "Mod of reals": both("Mod", fmod=1),
    "Mod of integers": lambda n: n.add("Mod", integers(n), n.constant(4, np.int64)),
    "Div of integers": lambda n: n.add("Div", integers(n), n.constant(4, np.int64)),
    **{op: _bounded(op) for op in ("Asin", "Acos", "Atanh")},
    "Atan": lambda n: n.add("Atan", n.input(*SHAPE)),
    "Asinh": lambda n: n.add("Asinh", n.input(*SHAPE)),
    "Acosh": lambda n: n.add("Acosh", n.add("Add", positive(n, *SHAPE), number(n, 1))),
    "Div by negative": lambda n: n.add(
        "Div", integers(n, dtype=np.int32), n.constant(-3, np.int32)
    ),
    "Pow": power(np.float32(1.7)),
    "Pow 2": power(np.float32(2)),
    "Pow 3": power(np.float32(3)),
    "Pow 1/2": power(np.float32(0.5)),
    "Pow -1/2": power(np.float32(-0.5)),
    "Pow of integers": power(np.int64(2)),
    "Pow of another type": power(np.int64(5)),
    "squared difference": lambda n: n.add(
        "Pow", n.add("Sub", n.input(*SHAPE), n.input(4, 5)), number(n, 2)
    ),
    "Xor": lambda n: n.add(
        "Xor",
        n.add("Less", n.input(4, 5), number(n, 0)),
        n.add("Less", n.input(4, 5), number(n, 0.5)),
    ),
    "And, Or, Not": lambda n: n.add(
        "Not", n.add("Or", a := n.add("Less", n.input(4, 5), number(n, 0)), n.add("And", a, a))
    ),
    "IsNaN": lambda n: n.add("IsNaN", n.input(4, 5)),
    "IsInf": lambda n: n.add("IsInf", n.input(4, 5)),
    "IsInf, one": lambda n: n.add("IsInf", n.input(4, 5), detect_negative=0),
    "Where": lambda n: n.add(
        "Where", n.add("Less", n.input(4, 5), number(n, 0)), n.input(4, 5), n.weight(5)
    ),
    "Cast to bool": lambda n: n.add(
        "Cast", n.add("Floor", n.input(4, 5)), to=onnx.TensorProto.BOOL
    ),
    "Cast there and back": lambda n: n.add(
        "Cast", n.add("Cast", n.input(4, 5), to=onnx.TensorProto.INT32), to=onnx.TensorProto.FLOAT
    ),
    "CastLike": lambda n: n.add("CastLike", n.input(4, 5), n.constant(0, np.int32)),
    "Equal of truth": lambda n: n.add(
        "Equal",
        n.add("Less", n.input(4, 5), number(n, 0)),
        n.add("Less", n.input(4, 5), number(n, 0)),
    ),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic(name: str, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(ARITHMETIC[name](net)), tmp_path)


def norm(
    op: str,
    parameters: Sequence[tuple[int, ...]],
    shape: tuple[int, ...] = SHAPE,
    **attributes: Any,
) -> Callable[[Net], str]:
    def make(net: Net) -> str:
        x = net.input(*shape)
        return str(net.add(op, x, *(net.weight(*p) for p in parameters), **attributes))

    return make


def batch(net: Net) -> str:
    variance = net.constant(net.chance.uniform(0.5, 2, 3), np.float32)
    return str(
        net.add(
            "BatchNormalization",
            net.input(*SHAPE),
            net.weight(3),
            net.weight(3),
            net.weight(3),
            variance,
        )
    )


NORMALIZATIONS: dict[str, Callable[[Net], str]] = {
    "batch": batch,
    "layer": norm("LayerNormalization", [(5,), (5,)]),
    "layer, no bias": norm("LayerNormalization", [(5,)], epsilon=1e-3),
    "layer, two axes": norm("LayerNormalization", [(4, 5), (4, 5)], axis=-2),
    "instance": norm("InstanceNormalization", [(3,), (3,)]),
    "instance, one axis": norm("InstanceNormalization", [(3,), (3,)], (2, 3, 7)),
    "group": norm("GroupNormalization", [(6,), (6,)], (2, 6, 4, 5), num_groups=3),
    "mean and variance": norm("MeanVarianceNormalization", []),
    "l2": norm("LpNormalization", [], p=2),
    "l2, axis": norm("LpNormalization", [], p=2, axis=1),
    "l1": norm("LpNormalization", [], p=1, axis=1),
    "LRN": norm("LRN", [], size=3),
}


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalizations(name: str, tmp_path: Path) -> None:
    net = Net()
    made = NORMALIZATIONS[name](net)
    if name in ("group", "mean and variance"):
        net.known[made] = (2, 6, 4, 5) if name == "group" else SHAPE
    check(net.proto(made), tmp_path)


@pytest.mark.parametrize("biased", [False, True])
def test_a_batch_normalization_may_go_into_the_weights(biased: bool, tmp_path: Path) -> None:
    net = Net()
    bias = [net.weight(3)] if biased else []
    x = net.add("Conv", net.input(1, 2, 6, 6), net.weight(3, 2, 3, 3), *bias)
    variance = net.constant(net.chance.uniform(0.5, 2, 3), np.float32)
    y = net.add("BatchNormalization", x, net.weight(3), net.weight(3), net.weight(3), variance)
    model = lifted(net.proto(y), tmp_path)
    feeds = feeds_of(model)
    found = Legalize(folds=True)(model)
    close(evaluated(found.model, feeds), evaluated(model, feeds))
    assert operators(found.model) == ["Conv"]
    assert {loss.name: loss.grade for loss in found.losses} == dict.fromkeys(
        model.tensors.keys() & found.model.tensors.keys(), Grade.ROUNDING
    )
    apart = Legalize()(model)
    assert sorted(operators(apart.model)) == ["Add", "Conv", "Mul"]
    assert apart.losses == ()


def test_root_mean_square(tmp_path: Path) -> None:
    net = Net()
    check(
        net.proto(net.add("RMSNormalization", net.input(*SHAPE), net.weight(5)), opset=23), tmp_path
    )


def test_sum_and_normalization_in_one(tmp_path: Path) -> None:
    net = Net()
    x, skip = net.input(2, 3, 8), net.input(2, 3, 8)
    made = net.add(
        "SkipLayerNormalization",
        x,
        skip,
        net.weight(8),
        net.weight(8),
        domain="com.microsoft",
        epsilon=1e-5,
    )
    net.known[made] = (2, 3, 8)
    check(net.proto(made), tmp_path)


REDUCTIONS = [
    f"Reduce{op}"
    for op in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
]


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("op", REDUCTIONS)
def test_reductions(op: str, keep: int, tmp_path: Path) -> None:
    net = Net()
    x = positive(net, *SHAPE)
    outputs = [net.add(op, x, net.ints(1, 3), keepdims=keep), net.add(op, x, keepdims=keep)]
    check(net.proto(*outputs), tmp_path, tolerance=1e-4)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keep", [0, 1])
def test_places_of_extremes(op: str, keep: int, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(net.add(op, net.input(*SHAPE), axis=1, keepdims=keep)), tmp_path)


@pytest.mark.parametrize("exclusive", [0, 1])
def test_running_sums(exclusive: int, tmp_path: Path) -> None:
    net = Net()
    axis = net.constant(1, np.int64)
    check(net.proto(net.add("CumSum", net.input(*SHAPE), axis, exclusive=exclusive)), tmp_path)


def test_forms_of_old_versions(tmp_path: Path) -> None:
    """Attributes in the place of inputs."""
    net = Net()
    x = net.input(2, 4, 6, 6)
    a = net.add(
        "Slice", net.add("Pad", x, pads=[0, 0, 1, 1, 0, 0, 1, 1]), starts=[1], ends=[7], axes=[2]
    )
    b = net.add("Unsqueeze", net.add("ReduceMean", a, axes=[3], keepdims=0), axes=[1])
    c = net.add("Clip", net.add("Squeeze", b, axes=[1]), min=-0.25, max=0.5)
    first, _ = net.add("Split", c, outputs=2, axis=1, split=[1, 3])
    proto = net.proto(net.add("Softmax", first, axis=1), opset=9)
    check(proto, tmp_path)
