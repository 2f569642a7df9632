"""Random graphs give the same numbers in every layout, and never need more Transposes than they came with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.passes.evaluation import Net, close, evaluated, feeds_of, lifted, operators
from w2e_bridge.ir.model import Model
from w2e_bridge.passes.layout import ChannelsFirst, ChannelsLast

Shape = tuple[int, ...]
Value = tuple[str, Shape]
Step = Callable[[Net, list[Value], st.DataObject], Value | None]
IMAGE = {3: (2, 3, 6), 4: (2, 3, 6, 4), 5: (1, 2, 4, 3, 5)}


def pick(values: list[Value], data: st.DataObject, rank: int | None = None) -> Value | None:
    found = [value for value in values if rank is None or len(value[1]) == rank]
    return data.draw(st.sampled_from(found)) if found else None


def conv(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    images = [value for value in values if len(value[1]) >= 3 and min(value[1]) > 0]
    if not images:
        return None
    name, (n, c, *space) = data.draw(st.sampled_from(images))
    depthwise = data.draw(st.booleans())
    out = c * data.draw(st.sampled_from([1, 2])) if depthwise else data.draw(st.integers(1, 4))
    kernel = [1 if extent < 3 else 3 for extent in space]
    pads = [(k - 1) // 2 for k in kernel]
    weights = net.weight(out, 1 if depthwise else c, *kernel)
    bias = [net.weight(out)] if data.draw(st.booleans()) else []
    group = c if depthwise else 1
    made = net.add("Conv", name, weights, *bias, pads=[*pads, *pads], group=group)
    return made, (n, out, *space)


def pool(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    images = [value for value in values if len(value[1]) >= 3]
    if not images:
        return None
    name, (n, c, *space) = data.draw(st.sampled_from(images))
    if data.draw(st.booleans()):
        return net.add("GlobalAveragePool", name), (n, c, *(1 for _ in space))
    op = data.draw(st.sampled_from(["MaxPool", "AveragePool"]))
    return net.add(op, name, kernel_shape=[1 for _ in space]), (n, c, *space)


def unary(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    op = data.draw(st.sampled_from(["Relu", "Tanh", "Identity", "Neg"]))
    return net.add(op, name), shape


def binary(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    a = data.draw(st.sampled_from(values))
    fitting = [b for b in values if _broadcast(a[1], b[1])]
    b = data.draw(st.sampled_from(fitting))
    names = [a[0], b[0]]
    if data.draw(st.booleans()):
        names.reverse()
    op = data.draw(st.sampled_from(["Add", "Mul", "Max"]))
    return net.add(op, *names), np.broadcast_shapes(a[1], b[1])


def _broadcast(a: Shape, b: Shape) -> bool:
    try:
        return int(np.prod(np.broadcast_shapes(a, b))) < 3000
    except ValueError:
        return False


def scale(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    kept = data.draw(st.integers(0, len(shape)))
    own = tuple(n if data.draw(st.booleans()) else 1 for n in shape[kept:])
    return net.add("Mul", name, net.weight(*own)), shape


def concat(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    if not shape:
        return None
    axis = data.draw(st.integers(0, len(shape) - 1))
    others = [v for v in values if _alike(v[1], shape, axis)]
    other, own = data.draw(st.sampled_from(others))
    total = shape[axis] + own[axis]
    if total > 20:
        return None
    signed = axis - len(shape) if data.draw(st.booleans()) else axis
    made = net.add("Concat", name, other, axis=signed)
    return made, (*shape[:axis], total, *shape[axis + 1 :])


def _alike(a: Shape, b: Shape, axis: int) -> bool:
    return len(a) == len(b) and all(
        x == y for i, (x, y) in enumerate(zip(a, b, strict=True)) if i != axis
    )


def reduce(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    if not shape:
        return None
    axes = sorted(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    keep = data.draw(st.booleans())
    made = net.add("ReduceMax", name, net.ints(*axes), keepdims=int(keep))
    kept = tuple(1 if a in axes else n for a, n in enumerate(shape) if keep or a not in axes)
    return made, kept


def softmax(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    if not shape:
        return None
    return net.add("Softmax", name, axis=data.draw(st.integers(-len(shape), len(shape) - 1))), shape


def crop(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    if not shape:
        return None
    axis = data.draw(st.integers(0, len(shape) - 1))
    if shape[axis] < 2:
        return None
    made = net.add("Slice", name, net.ints(1), net.ints(1000), net.ints(axis))
    return made, (*shape[:axis], shape[axis] - 1, *shape[axis + 1 :])


def pad(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    if not shape or np.prod(shape) > 1000:
        return None
    pads = [data.draw(st.integers(0, 1)) for _ in range(2 * len(shape))]
    grown = tuple(n + pads[a] + pads[a + len(shape)] for a, n in enumerate(shape))
    return net.add("Pad", name, net.ints(*pads)), grown


def transpose(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    perm = data.draw(st.permutations(range(len(shape))))
    if not shape:
        return None
    return net.add("Transpose", name, perm=perm), tuple(shape[a] for a in perm)


def reshape(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    if len(shape) < 2:
        return None
    at = data.draw(st.integers(0, len(shape) - 2))
    new = (*shape[:at], shape[at] * shape[at + 1], *shape[at + 2 :])
    if data.draw(st.booleans()):
        new = (*shape[:at], 1, *shape[at:])
    said = list(new)
    if data.draw(st.booleans()):
        said[data.draw(st.integers(0, len(new) - 1))] = -1
    return net.add("Reshape", name, net.ints(*said)), new


def squeeze(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    ones = [a for a, n in enumerate(shape) if n == 1]
    if not ones or len(shape) > 4 or data.draw(st.booleans()):
        if len(shape) > 4:
            return None
        at = data.draw(st.integers(0, len(shape)))
        return net.add("Unsqueeze", name, net.ints(at)), (*shape[:at], 1, *shape[at:])
    axis = data.draw(st.sampled_from(ones))
    return net.add("Squeeze", name, net.ints(axis)), (*shape[:axis], *shape[axis + 1 :])


def gather(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    if not shape:
        return None
    axis = data.draw(st.integers(0, len(shape) - 1))
    own = data.draw(st.sampled_from([(), (2,), (2, 2)]))
    if len(shape) + len(own) - 1 > 5 or np.prod(shape) > 1000:
        return None
    indices = net.constant(np.zeros(own, np.int64))
    made = net.add("Gather", name, indices, axis=axis)
    return made, (*shape[:axis], *own, *shape[axis + 1 :])


def split(net: Net, values: list[Value], data: st.DataObject) -> Value | None:
    name, shape = data.draw(st.sampled_from(values))
    axes = [a for a, n in enumerate(shape) if n % 2 == 0]
    if not axes:
        return None
    axis = data.draw(st.sampled_from(axes))
    half = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
    first, second = net.add("Split", name, outputs=2, axis=axis, num_outputs=2)
    values.append((first, half))
    return second, half


STEPS: list[Step] = [
    conv, conv, conv, pool, unary, binary, binary, scale, concat, reduce, softmax, crop, pad, transpose,
    reshape, squeeze, gather, split,
]  # fmt: skip


def random_net(data: st.DataObject, rank: int) -> tuple[Net, list[str]]:
    net = Net(data.draw(st.integers(0, 9)))
    values: list[Value] = [(net.input(*IMAGE[rank]), IMAGE[rank])]
    if data.draw(st.booleans()):
        values.append((net.input(*IMAGE[rank]), IMAGE[rank]))
    for _ in range(data.draw(st.integers(1, 14))):
        made = data.draw(st.sampled_from(STEPS))(net, values, data)
        if made is not None:
            values.append(made)
    read = {name for node in net.nodes for name in node.input}
    names = [name for node in net.nodes for name in node.output]
    outputs = [name for name in names if name not in read]
    extra = data.draw(st.sampled_from(names)) if names else ""
    return net, list(dict.fromkeys([*outputs, *([extra] if extra else [])]))


@pytest.mark.parametrize("rank", IMAGE)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_same_numbers_in_every_layout(rank: int, data: st.DataObject) -> None:
    net, outputs = random_net(data, rank)
    if not outputs:
        return
    with TemporaryDirectory() as folder:
        model = lifted(net.proto(*outputs), Path(folder))
        check(model)


def check(model: Model) -> None:
    feeds = feeds_of(model)
    wanted = evaluated(model, feeds)
    last = ChannelsLast()(model).model
    close(evaluated(last, feeds), wanted)
    first = ChannelsFirst()(last).model
    close(evaluated(first, feeds), wanted)
    straight = ChannelsFirst()(model).model
    close(evaluated(straight, feeds), wanted)
    count = [operators(m).count("Transpose") for m in (model, straight, first)]
    assert count[1] <= count[0], count
    assert sorted(operators(ChannelsLast()(last).model)) == sorted(operators(last))
