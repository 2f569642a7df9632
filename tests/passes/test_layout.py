"""Channels last and channels first: what stands where, and what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from tests.graph.support import same_bits
from tests.passes.evaluation import Net, close, evaluated, feeds_of, lifted, operators
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.ir.model import Model
from w2e_bridge.passes.layout import ChannelsFirst, ChannelsLast


def nodes(model: Model, op: str = "") -> list[ir.Node]:
    assert model.graph is not None
    return [n for g in model.graph.graphs() for n in g if not op or n.op_type == op]


def perm_of(node: ir.Node) -> tuple[int, ...]:
    return tuple(node.attributes["perm"].as_ints())


def turns(model: Model) -> Iterator[ir.Node]:
    """Transposes that are no part of an operator of images."""
    for node in nodes(model, "Transpose"):
        made = node.inputs[0].producer() if node.inputs[0] is not None else None
        behind = [user.op_type for user, _ in node.outputs[0].uses()]
        bound = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize"}
        if not (set(behind) & bound or (made is not None and made.op_type in bound)):
            yield node


def interface(model: Model) -> list[tuple[str, Any, Any]]:
    assert model.graph is not None
    graph = model.graph.graph
    return [(name_of(v), v.shape, v.dtype) for v in (*graph.inputs, *graph.outputs)]


def both_ways(model: Model, seed: int = 0) -> tuple[Model, Model]:
    """A model in both layouts, which compute what it does."""
    feeds = feeds_of(model, seed)
    wanted = evaluated(model, feeds)
    last = ChannelsLast()(model).model
    first = ChannelsFirst()(last).model
    for found in (last, first):
        close(evaluated(found, feeds), wanted)
        assert interface(found) == interface(model)
        assert found.graph is not None
        assert found.tensors.keys() == {
            name_of(v)
            for g in found.graph.graphs()
            for v in g.initializers.values()
            if is_weight(v)
        }
    return last, first


def network(channels: int = 3, batch: int | str = 1) -> Net:
    """Residual block, squeeze and excitation, pooling and a classifier."""
    net = Net()
    x = net.input(batch, channels, 8, 8)
    a = net.add(
        "Relu", net.add("Conv", x, net.weight(4, channels, 3, 3), net.weight(4), pads=[1, 1, 1, 1])
    )
    b = net.add("Conv", a, net.weight(4, 1, 3, 3), pads=[1, 1, 1, 1], group=4)
    squeezed = net.add("ReduceMean", b, net.ints(2, 3), keepdims=1)
    gate = net.add("Sigmoid", net.add("Conv", squeezed, net.weight(4, 4, 1, 1)))
    c = net.add("Add", a, net.add("Mul", b, gate))
    d = net.add(
        "MaxPool", net.add("Mul", c, net.weight(4, 1, 1)), kernel_shape=[2, 2], strides=[2, 2]
    )
    e = net.add(
        "Concat",
        d,
        net.add("Clip", d, net.constant(np.float32(0)), net.constant(np.float32(6))),
        axis=1,
    )
    net.head = net.add("GlobalAveragePool", e)
    return net


@pytest.mark.parametrize("batch", [1, "batch"])
def test_a_network(batch: int | str, tmp_path: Path) -> None:
    net = network(batch=batch)
    flat = net.add("Reshape", net.head, net.ints(-1, 8))
    output = net.add("Gemm", flat, net.weight(8, 5))
    model = lifted(net.proto(output), tmp_path)
    last, first = both_ways(model)
    assert [perm_of(node) for node in turns(last)] == [(0, 2, 3, 1)]
    assert operators(first).count("Transpose") == 0
    assert sorted(operators(first)) == sorted(operators(model))


def test_every_operator_of_images_stands_between_transposes(tmp_path: Path) -> None:
    net = network()
    last, _ = both_ways(lifted(net.proto(net.head), tmp_path))
    for op in ("Conv", "MaxPool", "GlobalAveragePool"):
        assert nodes(last, op)
        for node in nodes(last, op):
            before = node.inputs[0].producer()  # type: ignore[union-attr]
            (after,) = {user for user, _ in node.outputs[0].uses()}
            assert before is not None
            assert (perm_of(before), perm_of(after)) == ((0, 3, 1, 2), (0, 2, 3, 1))
    for node in nodes(last, "Concat"):
        assert node.attributes["axis"].as_int() == 3


def test_weights_are_kept_as_channels_last_has_them(tmp_path: Path) -> None:
    net = Net()
    x = net.input(1, 4, 6, 6)
    shapes = [(6, 4, 3, 3), (8, 1, 3, 3), (6, 2, 3, 3)]
    made = [net.add("Conv", x, net.weight(*s), group=4 // s[1]) for s in shapes]
    made.append(net.add("ConvTranspose", x, net.weight(4, 5, 3, 3)))
    model = lifted(net.proto(*made), tmp_path)
    last, first = both_ways(model)
    assert {n: t.shape for n, t in last.tensors.items()} == {
        "w0": (6, 3, 3, 4), "w1": (1, 3, 3, 8), "w2": (6, 3, 3, 2), "w3": (5, 3, 3, 4),
    }  # fmt: skip
    assert {n: t.shape for n, t in first.tensors.items()} == {
        n: t.shape for n, t in model.tensors.items()
    }
    for name, tensor in first.tensors.items():
        assert same_bits(tensor.dequantize(), model.tensors[name].dequantize())


def quantized(net: Net, value: str, scale: float, zero: int, dtype: Any = np.uint8) -> str:
    parameters = net.constant(np.float32(scale)), net.constant(np.array(zero, dtype))
    return str(
        net.add("DequantizeLinear", net.add("QuantizeLinear", value, *parameters), *parameters)
    )


def codes(net: Net, shape: tuple[int, ...], axis: int) -> str:
    """A weight of 8 bits with scales along an axis; all are powers of two, so that sums are exact."""
    numbers = net.constant(net.chance.integers(-127, 128, shape), np.int8)
    scale = net.constant(2.0 ** -net.chance.integers(4, 8, shape[axis]), np.float32)
    zero = net.constant(np.zeros(shape[axis]), np.int8)
    return str(net.add("DequantizeLinear", numbers, scale, zero, axis=axis))


def quantized_network() -> Net:
    net = Net()
    x = quantized(net, net.input(1, 3, 6, 6), 0.0625, 128)
    a = quantized(net, net.add("Relu", net.add("Conv", x, codes(net, (4, 3, 3, 3), 0))), 0.125, 3)
    b = quantized(net, net.add("Conv", a, codes(net, (8, 1, 3, 3), 0), group=4), 0.25, 100)
    c = quantized(net, net.add("Concat", b, b, axis=1), 0.25, 100)
    channels = net.constant(2.0 ** -net.chance.integers(1, 3, 16), np.float32)
    zeros = net.constant(np.arange(16), np.uint8)
    codes_ = net.add("QuantizeLinear", c, channels, zeros, axis=1)
    net.head = net.add("DequantizeLinear", codes_, channels, zeros, axis=1)
    net.middle = c
    return net


@pytest.mark.parametrize("which", ["head", "middle"])
def test_quantization_follows_its_values(which: str, tmp_path: Path) -> None:
    net = quantized_network()
    head = getattr(net, which)
    model = lifted(net.proto(*dict.fromkeys([net.head, head]), net.add("Relu", head)), tmp_path)
    last, first = both_ways(model)
    assert first.activations.keys() == model.activations.keys()
    for name, own in model.activations.items():
        turned, back = last.activations[name], first.activations[name]
        assert (back.axis, own.scale.tobytes()) == (own.axis, back.scale.tobytes())  # type: ignore[union-attr]
        assert turned.scale is own.scale
    names = {name_of(o): o for n in nodes(last) for o in n.outputs}
    for node in nodes(last, "Conv"):
        inner = [node.outputs[0], node.inputs[0]]
        assert not any(name_of(v) in last.activations for v in inner if v is not None)
    for name, found in last.activations.items():
        if found.axis is not None:
            shape = names[name].shape
            assert shape is not None
            assert shape[found.axis] == 16


def test_codes_and_scales_of_weights_move_together(tmp_path: Path) -> None:
    net = quantized_network()
    model = lifted(net.proto(net.head), tmp_path)
    last, _ = both_ways(model)
    weights = [t for t in model.tensors.values() if t.encoding.quantized]
    assert len(weights) == 2
    for tensor in weights:
        perm = (1, 2, 3, 0) if tensor.shape[1] == 1 else (0, 2, 3, 1)
        found = last.tensors[tensor.name]
        assert found.encoding.codes == tensor.encoding.codes
        assert same_bits(
            found.dequantize(), np.ascontiguousarray(tensor.dequantize().transpose(perm))
        )


def test_what_is_channels_last_stays_as_it_is(tmp_path: Path) -> None:
    model = lifted(network().proto("v12"), tmp_path)
    last = ChannelsLast()(model).model
    again = ChannelsLast()(last).model
    assert last.graph is not None
    assert again.graph is not None
    assert ir.to_proto(strip(again.graph)) == ir.to_proto(strip(last.graph))
    assert again.tensors.keys() == last.tensors.keys()


def strip(model: ir.Model) -> ir.Model:
    copy = model.clone()
    for value in list(copy.graph.initializers.values()):
        if is_weight(value):
            value.const_value = None
            copy.graph.initializers.pop(name_of(value))
            copy.graph.inputs.append(value)
    return copy


def test_a_model_that_is_channels_last_outside(tmp_path: Path) -> None:
    """As converters of other frameworks write: images come and go channels last."""
    net = Net()
    x = net.input(1, 6, 6, 3)
    t = net.add("Transpose", x, perm=[0, 3, 1, 2])
    a = net.add("Relu", net.add("Conv", t, net.weight(4, 3, 3, 3), pads=[1, 1, 1, 1]))
    b = net.add("Transpose", a, perm=[0, 2, 3, 1])
    c = net.add("Mul", b, net.weight(4))
    d = net.add("Conv", net.add("Transpose", c, perm=[0, 3, 1, 2]), net.weight(2, 4, 1, 1))
    model = lifted(net.proto(net.add("Transpose", d, perm=[0, 2, 3, 1])), tmp_path)
    last, first = both_ways(model)
    assert not list(turns(last))
    assert operators(first).count("Transpose") == 2
    mul = nodes(first, "Mul")[0].inputs[1]
    assert mul is not None
    assert mul.shape == (1, 4, 1, 1) or mul.shape == (4, 1, 1)


def test_few_transposes_where_many_read_another_order(tmp_path: Path) -> None:
    """Three readers of another order cost one Transpose, not three."""
    net = Net()
    x = net.input(1, 4, 6, 6)
    a = net.add("Conv", x, net.weight(6, 4, 1, 1))
    parts = net.add("Split", a, outputs=3, axis=1, num_outputs=3)
    flat = [net.add("Reshape", part, net.ints(1, 72)) for part in parts]
    last, first = both_ways(lifted(net.proto(*flat), tmp_path))
    assert len(list(turns(last))) == 2
    assert operators(first).count("Transpose") == 0


def test_a_reshape_that_keeps_channels_apart_needs_none(tmp_path: Path) -> None:
    net = Net()
    x = net.input("n", 4, 6, 6)
    a = net.add("Conv", x, net.weight(6, 4, 1, 1))
    heads = net.add("Reshape", a, net.ints(0, 2, 3, 36))
    rows = net.add("Transpose", heads, perm=[0, 3, 1, 2])
    out = net.add("Softmax", rows, axis=-1)
    last, _ = both_ways(lifted(net.proto(out), tmp_path))
    assert [perm_of(node) for node in turns(last)] == [(0, 2, 3, 1)]


def test_extents_at_run_time(tmp_path: Path) -> None:
    net = Net()
    x = net.input("n", 4, "h", "w")
    a = net.add("Conv", x, net.weight(6, 4, 1, 1))
    size = net.add("Shape", a, start=2)
    batch = net.add("Gather", net.add("Shape", a), net.constant(0, np.int64))
    last, _ = both_ways(lifted(net.proto(net.add("Relu", a), size, batch), tmp_path))
    assert len(list(turns(last))) == 2


def branch(name: str, captured: str, weights: onnx.TensorProto) -> onnx.GraphProto:
    conv = helper.make_node("Conv", [captured, weights.name], [f"{name}.c"])
    relu = helper.make_node("Relu" if name == "yes" else "Neg", [f"{name}.c"], [f"{name}.y"])
    output = helper.make_tensor_value_info(f"{name}.y", onnx.TensorProto.FLOAT, [1, 2, 6, 6])
    return helper.make_graph([conv, relu], name, [], [output], [weights])


def test_bodies_are_scopes_of_their_own(tmp_path: Path) -> None:
    net = Net()
    x = net.input(1, 4, 6, 6)
    condition = net.input(dtype=onnx.TensorProto.BOOL)
    a = net.add("Relu", net.add("Conv", x, net.weight(4, 4, 1, 1)))
    bodies = {}
    for key, name in (("then_branch", "yes"), ("else_branch", "no")):
        weights = onnx.numpy_helper.from_array(np.ones((2, 4, 1, 1), np.float32), f"{name}.w")
        bodies[key] = branch(name, a, weights)
    b = net.add("If", condition, **bodies)
    net.count += 1
    c = net.add("Conv", b, net.weight(3, 2, 1, 1))
    model = lifted(net.proto(c), tmp_path)
    for seed in (0, 1):
        last, first = both_ways(model, seed)
    assert operators(last).count("Conv") == 4
    assert operators(first).count("Transpose") == 0
    assert last.tensors["yes.w"].shape == (2, 1, 1, 4)


def test_the_given_model_stays_as_it_was(tmp_path: Path) -> None:
    net = quantized_network()
    model = lifted(net.proto(net.head), tmp_path)
    before = (operators(model), dict(model.tensors), dict(model.activations))
    ChannelsLast()(model)
    assert before == (operators(model), dict(model.tensors), dict(model.activations))


def test_without_a_graph() -> None:
    empty = Model(tensors={})
    assert ChannelsLast()(empty).model is empty
    assert ChannelsFirst()(empty).model is empty


def test_the_passes_say_why_they_are_exact() -> None:
    for made in (ChannelsLast, ChannelsFirst):
        assert all(word in (made.__doc__ or "") for word in ("before:", "after:", "why exact:"))
