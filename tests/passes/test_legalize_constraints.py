"""Every row of the table against LiteRT: what it allows loads with both kernel sets and computes right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.w2e_tflite.maker import Op, Spec, build, const, litert
from w2e_bridge.passes.legalize.constraints import CONSTRAINTS, Rule

Array = NDArray[Any]
SHAPE = (1, 4, 4, 8)
RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@dataclass(frozen=True, kw_only=True)
class Case:
    """How to make an operator of a kind, and what it computes on real numbers."""

    real: Callable[..., Any]
    constants: Sequence[Any] = ()
    options: dict[str, object] = field(default_factory=dict)
    inputs: int = 1
    before: Sequence[Any] = ()
    positive: bool = False
    shapes: Sequence[tuple[int, ...]] = ()
    outputs: int = 1
    close: int = 1


def ints(*numbers: int) -> Spec:
    return const("i", np.asarray(numbers, np.int32))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def pool(how: Callable[..., Array]) -> Callable[[Array], Array]:
    return lambda x: how(x.reshape(1, 2, 2, 2, 2, 8), axis=(2, 4))


POOL = {"padding": "VALID", "stride_w": 2, "stride_h": 2, "filter_width": 2, "filter_height": 2}
EVERY: dict[str, Case] = {
    "add": Case(real=np.add, inputs=2),
    "sub": Case(real=np.subtract, inputs=2),
    "mul": Case(real=np.multiply, inputs=2),
    "prelu": Case(real=lambda x, a: np.where(x < 0, x * a, x), inputs=2, shapes=[SHAPE, (1, 1, 8)]),
    "squared_difference": Case(real=lambda a, b: (a - b) ** 2, inputs=2),
    "relu": Case(real=lambda x: np.maximum(x, 0)),
    "relu6": Case(real=lambda x: np.clip(x, 0, 6)),
    "relu_n1_to_1": Case(real=lambda x: np.clip(x, -1, 1)),
    "relu_0_to_1": Case(real=lambda x: np.clip(x, 0, 1)),
    "leaky_relu": Case(real=lambda x: np.where(x < 0, x * 0.25, x), options={"alpha": 0.25}),
    "mean": Case(real=lambda x: x.mean((1, 2)), constants=[ints(1, 2)]),
    "sum": Case(real=lambda x: x.sum((1, 2)), constants=[ints(1, 2)]),
    "hard_swish": Case(real=lambda x: x * np.clip(x + 3, 0, 6) / 6),
    "elu": Case(real=lambda x: np.where(x < 0, np.expm1(x), x)),
    "exp": Case(real=np.exp),
    "log": Case(real=np.log, positive=True),
    "sqrt": Case(real=np.sqrt, positive=True),
    "rsqrt": Case(real=lambda x: 1 / np.sqrt(x), positive=True),
    "abs": Case(real=np.abs),
    "softmax": Case(real=softmax, options={"beta": 1.0}),
    "logistic": Case(real=lambda x: 1 / (1 + np.exp(-x))),
    "tanh": Case(real=np.tanh),
    "log_softmax": Case(real=lambda x: np.log(softmax(x))),
    "l2_normalization": Case(real=lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True))),
    "gelu": Case(
        real=lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        options={"approximate": True},
    ),
    "reshape": Case(real=lambda x: x.reshape(4, 32), constants=[ints(4, 32)]),
    "squeeze": Case(real=lambda x: x[0], options={"squeeze_dims": [0]}),
    "expand_dims": Case(real=lambda x: x[:, None], constants=[const("i", np.int32(1))]),
    "transpose": Case(real=lambda x: x.transpose(0, 3, 1, 2), constants=[ints(0, 3, 1, 2)]),
    "pad": Case(
        real=lambda x: np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]),
        constants=[const("i", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))],
    ),
    "mirror_pad": Case(
        real=lambda x: np.asarray(np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")),
        constants=[const("i", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))],
        options={"mode": "REFLECT"},
    ),
    "slice": Case(
        real=lambda x: x[:, 1:3], constants=[ints(0, 1, 0, 0), ints(1, 2, 4, 8)]
    ),
    "strided_slice": Case(
        real=lambda x: x[:, ::2], constants=[ints(0, 0, 0, 0), ints(1, 4, 4, 8), ints(1, 2, 1, 1)]
    ),
    "gather": Case(real=lambda x: x[:, :, [2, 0]], constants=[ints(2, 0)], options={"axis": 2}),
    "gather_nd": Case(real=lambda x: x[[0, 0], [1, 3]], constants=[const("i", np.array([[0, 1], [0, 3]], np.int32))]),
    "split": Case(
        real=lambda x: x[..., :4], before=[const("i", np.int32(3))], options={"num_splits": 2}, outputs=2
    ),
    "split_v": Case(
        real=lambda x: x[..., :4],
        constants=[ints(4, 4), const("i", np.int32(3))],
        options={"num_splits": 2},
        outputs=2,
    ),
    "unpack": Case(real=lambda x: x[:, 0], options={"num": 4, "axis": 1}, outputs=4),
    "space_to_batch_nd": Case(
        real=lambda x: x.reshape(2, 2, 2, 2, 8).transpose(1, 3, 0, 2, 4).reshape(4, 2, 2, 8),
        constants=[ints(2, 2), const("p", np.zeros((2, 2), np.int32))],
    ),
    "batch_to_space_nd": Case(
        real=lambda x: x.reshape(2, 2, 2, 2, 8).transpose(2, 0, 3, 1, 4).reshape(1, 4, 4, 8),
        constants=[ints(2, 2), const("p", np.zeros((2, 2), np.int32))],
        shapes=[(4, 2, 2, 8)],
    ),
    "depth_to_space": Case(
        real=lambda x: x.reshape(4, 4, 2, 2, 2).transpose(0, 2, 1, 3, 4).reshape(1, 8, 8, 2),
        options={"block_size": 2},
    ),
    "space_to_depth": Case(
        real=lambda x: x.reshape(2, 2, 2, 2, 8).transpose(0, 2, 1, 3, 4).reshape(1, 2, 2, 32),
        options={"block_size": 2},
    ),
    "max_pool_2d": Case(real=pool(np.max), options=dict(POOL)),
    "average_pool_2d": Case(real=pool(np.mean), options=dict(POOL)),
    "reduce_max": Case(real=lambda x: x.max((1, 2)), constants=[ints(1, 2)]),
    "reduce_min": Case(real=lambda x: x.min((1, 2)), constants=[ints(1, 2)]),
    "resize_nearest_neighbor": Case(
        real=lambda x: x.repeat(2, 1).repeat(2, 2), constants=[ints(8, 8)]
    ),
    "resize_bilinear": Case(
        real=lambda x: x[:, ::2, ::2], constants=[ints(2, 2)]
    ),
    "reverse_v2": Case(real=lambda x: x[:, ::-1], constants=[ints(1)]),
    "broadcast_to": Case(
        real=lambda x: np.broadcast_to(x, (3, 4, 4, 8)), constants=[ints(3, 4, 4, 8)]
    ),
    "tile": Case(real=lambda x: np.tile(x, (1, 1, 1, 2)), constants=[ints(1, 1, 1, 2)]),
    "topk_v2": Case(
        real=lambda x: -np.sort(-x, -1)[..., :3], constants=[const("i", np.int32(3))], outputs=2
    ),
    "concatenation": Case(real=lambda a, b: np.concatenate([a, b], 3), inputs=2, options={"axis": 3}),
    "pack": Case(
        real=lambda a, b: np.stack([a, b], 1), inputs=2, options={"axis": 1, "values_count": 2}
    ),
    "maximum": Case(real=np.maximum, inputs=2),
    "minimum": Case(real=np.minimum, inputs=2),
    "select_v2": Case(
        real=lambda a, b: np.where(np.arange(8) % 2 == 0, a, b),
        inputs=2,
        before=[const("c", np.arange(8) % 2 == 0)],
    ),
    "dynamic_update_slice": Case(
        real=lambda a, b: np.concatenate([a[:, :1], b, a[:, 2:]], 1),
        inputs=2,
        shapes=[SHAPE, (1, 1, 4, 8)],
        constants=[ints(0, 1, 0, 0)],
    ),
    "padv2": Case(
        real=lambda x, v: np.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0)], constant_values=v.reshape(-1)[0]),
        inputs=2,
        shapes=[SHAPE, (1,)],
    ),
    **{
        kind: Case(real=how, inputs=2)
        for kind, how in {
            "equal": np.equal, "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal,
            "greater": np.greater, "greater_equal": np.greater_equal,
        }.items()
    },
    "arg_max": Case(real=lambda x: x.argmax(-1), constants=[ints(3)], options={"output_type": "INT32"}),
    "arg_min": Case(real=lambda x: x.argmin(-1), constants=[ints(3)], options={"output_type": "INT32"}),
    "reduce_prod": Case(real=lambda x: x.prod(1), constants=[ints(1)], positive=True),
    "reverse_sequence": Case(
        real=lambda x: np.concatenate([x[:, 1::-1], x[:, 2:]], 1), constants=[ints(2)], options={"seq_dim": 1}
    ),
    "matrix_diag": Case(real=lambda x: x[..., None] * np.eye(8), shapes=[(4, 8)]),
    "matrix_set_diag": Case(
        real=lambda x, d: np.where(np.eye(8), d[..., None], x), inputs=2, shapes=[(4, 8, 8), (4, 8)]
    ),
    "one_hot": Case(
        real=lambda a, b: np.where(np.eye(4)[[2, 0]], a, b),
        inputs=2, before=[ints(2, 0), const("d", np.int32(4))], shapes=[(), ()], options={"axis": -1},
    ),
    "fill": Case(real=lambda v: np.full((2, 3), v), before=[ints(2, 3)], shapes=[()]),
    "scatter_nd": Case(
        real=lambda x: np.stack([np.zeros(8), x[1], x[0]]),
        before=[const("i", np.array([[2], [1]], np.int32))], shapes=[(2, 8)], constants=[ints(3, 8)],
    ),
    "embedding_lookup": Case(real=lambda x: x[[2, 0]], before=[ints(2, 0)], shapes=[(4, 8)]),
    "batch_matmul": Case(real=np.matmul, inputs=2, shapes=[(2, 4, 8), (2, 8, 4)]),
}  # fmt: skip


def parameters(dtype: str, case: Case) -> tuple[float, int]:
    if dtype == "int16":
        return 6 / 32768, 0
    low, high = RANGES[dtype]
    middle = (low + high + 1) // 2
    return (4 / 256, low) if case.positive else (6 / 256, middle + 5)


def output_parameters(
    kind: str, dtype: str, own: tuple[float, int], values: Array
) -> tuple[float, int]:
    row = CONSTRAINTS[kind]
    if row.rule is Rule.FIXED:
        return row.fixed[dtype]
    if row.rule in (Rule.MOVE, Rule.JOIN, Rule.SAME):
        return own
    low, high = RANGES[dtype]
    if dtype == "int16":
        return float(np.abs(values).max()) / high * 1.1, 0
    bottom, top = min(float(values.min()), 0.0), max(float(values.max()), 0.1)
    scale = (top - bottom) / 255 * 1.1
    return scale, int(np.clip(low + round(-bottom / scale), low, high))


ONLY_DEFAULT = ("elu", "sum")
"""Which the reference set does not have, or computes wrong."""


def check(kind: str, dtype: str) -> None:
    case, row = EVERY[kind], CONSTRAINTS[kind]
    chance = np.random.default_rng(7)
    low, high = RANGES[dtype]
    scale, zero = parameters(dtype, case)
    zero = 0 if row.centred else zero
    operands, codes, reals = [], [], []
    for index in range(case.inputs):
        own = scale * (1.25 if index and row.rule is Rule.FREE else 1.0)
        shape = case.shapes[index] if case.shapes else SHAPE
        least = low if dtype != "int16" or not case.positive else 0
        drawn = chance.integers(least, high + 1, shape)
        if case.positive:
            drawn = np.maximum(drawn, zero + (high - low) // 8)
        codes.append(drawn.astype(dtype))
        reals.append((drawn - zero) * own)
        operands.append(Spec(f"x{index}", shape, dtype, own, zero))
    with np.errstate(all="ignore"):
        wanted = np.asarray(case.real(*reals))
    outputs = [_output(kind, dtype, case, (scale, zero), wanted, i) for i in range(case.outputs)]
    before, constants = list(case.before), list(case.constants)
    if kind == "padv2":
        constants, extra = [], [operands.pop()]
        pads = const("i", np.array([[0, 0], [1, 1], [0, 0], [0, 0]], np.int32))
        operands = [*operands, pads, *extra]
    version = {"softmax": 3, "broadcast_to": 2}.get(kind, 0)
    inputs = [*before, *operands, *constants]
    file = build([Op(kind.upper(), inputs, outputs, case.options, version=version)])
    for reference in (False, True)[: 1 if kind in ONLY_DEFAULT else 2]:
        found = litert(file, codes, reference=reference)[0][0]
        if row.rule is Rule.PLACES:
            assert (found == wanted).all()
            continue
        step, offset = np.float64(outputs[0].scale), outputs[0].zero  # type: ignore[arg-type]
        expected = np.clip(np.rint(wanted / step) + offset, low, high)
        exact = row.rule in (Rule.MOVE, Rule.JOIN)
        limit = 0 if exact else 5 if dtype == "int16" else case.close
        assert np.abs(found.astype(int) - expected).max() <= limit, reference


def _output(
    kind: str, dtype: str, case: Case, own: tuple[float, int], wanted: Array, index: int
) -> Spec:
    row = CONSTRAINTS[kind]
    if row.rule is Rule.PLACES:
        return Spec("y", wanted.shape, "bool" if wanted.dtype == bool else "int32")
    if kind == "topk_v2" and index:
        return Spec("i", wanted.shape, "int32")
    scale, zero = output_parameters(kind, dtype, own, wanted)
    return Spec(f"y{index}", wanted.shape, dtype, scale, zero)


ROWS = [
    (k, t)
    for k, row in CONSTRAINTS.items()
    if row.rule is not Rule.WEIGHTS and row.data != ()
    for t in row.types
]


@pytest.mark.parametrize(("kind", "dtype"), ROWS)
def test_what_a_row_allows_is_computed_right(kind: str, dtype: str) -> None:
    check(kind, dtype)
