"""What exporters write, in the forms of kernels: the same numbers in ONNX Runtime, and in LiteRT."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import w2e_bridge.passes.legalize
from tests.passes.evaluation import (
    AnyArray,
    Net,
    close,
    evaluated,
    feeds_of,
    lifted,
    litert_of,
    operators,
    ready,
    uncovered,
)
from w2e_bridge.ir.model import Model
from w2e_bridge.passes.legalize import Legalize

Make = Callable[[Net], list[str]]


def check(proto: onnx.ModelProto, folder: Path, **how: Any) -> Model:
    """A graph in ONNX Runtime before and after, and in LiteRT; the model that LiteRT got."""
    model = lifted(proto, folder)
    feeds = how.get("feeds") or feeds_of(model, how.get("seed", 0), how.get("sizes"))
    wanted = evaluated(model, feeds)
    tolerance = how.get("tolerance", 1e-5)
    legal = Legalize()(model).model
    close(evaluated(legal, feeds), wanted, tolerance)
    assert sorted(operators(Legalize()(legal).model)) == sorted(operators(legal))
    made = ready(model)
    close(evaluated(made, feeds), wanted, tolerance)
    assert uncovered(made) == []
    narrow(litert_of(made, feeds, folder), wanted, max(tolerance, 2e-5))
    return made


def narrow(found: list[AnyArray], wanted: list[AnyArray], tolerance: float) -> None:
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def conv(
    net: Net, shape: tuple[int, ...], out: int, kernel: tuple[int, ...], **attributes: Any
) -> str:
    channels = shape[1] // attributes.get("group", 1)
    return str(
        net.add(
            "Conv",
            net.input(*shape),
            net.weight(out, channels, *kernel),
            net.weight(out),
            **attributes,
        )
    )


IMAGE = (1, 4, 9, 7)
CONVOLUTIONS: dict[str, Callable[[Net], str]] = {
    "same": lambda n: conv(n, IMAGE, 6, (3, 3), pads=[1, 1, 1, 1]),
    "valid": lambda n: conv(n, IMAGE, 6, (3, 3)),
    "odd pads": lambda n: conv(n, IMAGE, 6, (3, 3), pads=[2, 0, 1, 3]),
    "pytorch's stride": lambda n: conv(
        n, (1, 4, 8, 8), 6, (3, 3), pads=[1, 1, 1, 1], strides=[2, 2]
    ),
    "7 by 7": lambda n: conv(n, (1, 3, 32, 32), 6, (7, 7), pads=[3, 3, 3, 3], strides=[2, 2]),
    "lower": lambda n: conv(n, (1, 4, 8, 8), 6, (3, 3), auto_pad="SAME_LOWER", strides=[2, 2]),
    "upper": lambda n: conv(n, IMAGE, 6, (3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    "named valid": lambda n: conv(n, IMAGE, 6, (3, 3), auto_pad="VALID", strides=[2, 1]),
    "dilated": lambda n: conv(n, IMAGE, 6, (3, 3), pads=[2, 2, 2, 2], dilations=[2, 2]),
    "depthwise": lambda n: conv(n, IMAGE, 8, (3, 3), pads=[1, 1, 1, 1], group=4),
    "depthwise stride": lambda n: conv(
        n, (1, 4, 8, 8), 4, (3, 3), pads=[1, 1, 1, 1], group=4, strides=[2, 2]
    ),
    "groups": lambda n: conv(n, IMAGE, 6, (3, 3), group=2),
    "one axis": lambda n: conv(n, (2, 4, 9), 6, (3,), pads=[1, 1]),
    "one axis, odd": lambda n: conv(n, (2, 4, 9), 8, (5,), pads=[4, 0], strides=[2], group=4),
    "volume": lambda n: conv(n, (1, 2, 5, 6, 4), 3, (3, 3, 3), pads=[1, 1, 1, 1, 1, 1]),
    "volume, groups": lambda n: conv(n, (1, 4, 5, 6, 4), 6, (3, 1, 3), group=2),
    "volume, odd": lambda n: conv(n, (1, 2, 5, 6, 4), 3, (2, 3, 1), pads=[1, 0, 0, 0, 2, 0]),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(CONVOLUTIONS[name](net)), tmp_path)


def deconv(
    net: Net, shape: tuple[int, ...], out: int, kernel: tuple[int, ...], **attributes: Any
) -> str:
    weights = net.weight(shape[1], out, *kernel)
    return str(net.add("ConvTranspose", net.input(*shape), weights, net.weight(out), **attributes))


TRANSPOSED: dict[str, Callable[[Net], str]] = {
    "plain": lambda n: deconv(n, (1, 4, 5, 6), 3, (3, 3)),
    "twice": lambda n: deconv(n, (1, 4, 5, 6), 3, (2, 2), strides=[2, 2]),
    "4 by 4": lambda n: deconv(n, (1, 4, 5, 6), 3, (4, 4), strides=[2, 2], pads=[1, 1, 1, 1]),
    "output padding": lambda n: deconv(
        n, (1, 4, 5, 6), 3, (3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]
    ),
    "beyond": lambda n: deconv(n, (1, 4, 5, 6), 3, (3, 3), strides=[2, 2], output_padding=[1, 1]),
    "cut": lambda n: deconv(n, (1, 4, 5, 6), 3, (3, 3), pads=[1, 0, 0, 2]),
    "upper": lambda n: deconv(n, (1, 4, 5, 6), 3, (3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    "lower": lambda n: deconv(n, (1, 4, 5, 6), 3, (3, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
    "shape": lambda n: deconv(n, (1, 4, 5, 6), 3, (3, 3), strides=[2, 2], output_shape=[10, 12]),
    "one axis": lambda n: deconv(n, (1, 4, 5), 3, (4,), strides=[2], pads=[1, 1]),
    "groups": lambda n: n.add(
        "ConvTranspose",
        n.input(1, 4, 5, 6),
        n.weight(4, 3, 2, 2),
        n.weight(6),
        strides=[2, 2],
        group=2,
    ),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name: str, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(TRANSPOSED[name](net)), tmp_path)


def pool(net: Net, op: str, shape: tuple[int, ...], kernel: list[int], **attributes: Any) -> str:
    return str(net.add(op, net.input(*shape), kernel_shape=kernel, **attributes))


POOLS: dict[str, dict[str, Any]] = {
    "valid": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "same": {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
    "pytorch's": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "odd pads": {"kernel_shape": [3, 3], "pads": [2, 0, 1, 1]},
    "up": {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    "up, padded": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    "up, whole": {"kernel_shape": [3, 3], "strides": [3, 1], "ceil_mode": 1},
    "lower": {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
}


@pytest.mark.parametrize("counted", [None, 0, 1])
@pytest.mark.parametrize("name", POOLS)
def test_pools(name: str, counted: int | None, tmp_path: Path) -> None:
    net, said = Net(), dict(POOLS[name])
    if counted is not None:
        said["count_include_pad"] = counted
    op = "MaxPool" if counted is None else "AveragePool"
    check(net.proto(net.add(op, net.input(1, 4, 9, 8), **said)), tmp_path)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4), (1, 2, 3, 4, 5)])
def test_pools_of_whole_images(op: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    net = Net()
    check(net.proto(net.add(op, net.input(*shape))), tmp_path)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool"])
def test_pools_of_one_axis(op: str, tmp_path: Path) -> None:
    net = Net()
    check(
        net.proto(net.add(op, net.input(2, 3, 9), kernel_shape=[3], strides=[2], pads=[1, 0])),
        tmp_path,
    )


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("batch", [2, "n"])
def test_pools_of_volumes(op: str, batch: int | str, tmp_path: Path) -> None:
    net = Net()
    said: dict[str, Any] = {
        "kernel_shape": [2, 3, 2],
        "strides": [2, 1, 2],
        "pads": [1, 1, 0, 0, 1, 0],
    }
    check(net.proto(net.add(op, net.input(batch, 3, 4, 6, 4), **said)), tmp_path)


RULES = Path(w2e_bridge.passes.legalize.__file__).parent


@pytest.mark.parametrize("path", sorted(RULES.glob("*.py")), ids=lambda path: path.stem)
def test_every_rule_says_why_it_is_exact(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
            continue
        returns = ast.unparse(node.returns) if node.returns is not None else ""
        arguments = [a.arg for a in node.args.args]
        if returns == "Rule" or (returns == "bool" and arguments == ["place"]):
            text = ast.get_docstring(node) or ""
            assert all(word in text for word in ("before:", "after:", "why exact:")), node.name


def test_extents_at_run_time(tmp_path: Path) -> None:
    net = Net()
    x = net.input("n", 3, 8, 8)
    a = net.add("Conv", x, net.weight(4, 3, 3, 3), pads=[1, 1, 1, 1], strides=[2, 2])
    b = net.add("GlobalAveragePool", net.add("Relu", a))
    size = net.add("Gather", net.add("Shape", b), net.constant(0, np.int64))
    shape = net.add("Concat", net.add("Unsqueeze", size, net.ints(0)), net.ints(-1), axis=0)
    c = net.add("Gemm", net.add("Reshape", b, shape), net.weight(4, 5), net.weight(5))
    made = check(net.proto(c), tmp_path, sizes={"n": 3})
    assert made.graph is not None
    assert not [node for node in made.graph.graph if node.op_type in ("Shape", "Concat", "Gather")]


def product(net: Net, *shape: int) -> str:
    return net.input(*shape)


PRODUCTS: dict[str, Callable[[Net], str]] = {
    "gemm": lambda n: n.add("Gemm", n.input(3, 4), n.weight(4, 5), n.weight(5)),
    "gemm, turned": lambda n: n.add("Gemm", n.input(3, 4), n.weight(5, 4), n.weight(5), transB=1),
    "gemm, no bias": lambda n: n.add("Gemm", n.input(3, 4), n.weight(4, 5)),
    "gemm, row": lambda n: n.add("Gemm", n.input(3, 4), n.weight(4, 5), n.weight(1, 5)),
    "gemm, one": lambda n: n.add("Gemm", n.input(3, 4), n.weight(4, 5), n.weight(1)),
    "gemm, matrix": lambda n: n.add("Gemm", n.input(3, 4), n.weight(4, 5), n.weight(3, 5)),
    "gemm, factors": lambda n: n.add(
        "Gemm", n.input(3, 4), n.weight(4, 5), n.weight(5), alpha=0.5, beta=2.0
    ),
    "gemm, values": lambda n: n.add("Gemm", n.input(4, 3), n.input(5, 4), transA=1, transB=1),
    "matmul": lambda n: n.add("MatMul", n.input(3, 4), n.weight(4, 5)),
    "matmul, rows": lambda n: n.add(
        "Add", n.add("MatMul", n.input(2, 3, 4), n.weight(4, 5)), n.weight(5)
    ),
    "matmul, bias": lambda n: n.add(
        "Add", n.weight(1, 1, 5), n.add("MatMul", n.input(2, 3, 4), n.weight(4, 5))
    ),
    "matmul, relu": lambda n: n.add(
        "Relu", n.add("Add", n.add("MatMul", n.input(3, 4), n.weight(4, 5)), n.weight(5))
    ),
    "matmul, values": lambda n: n.add("MatMul", n.input(2, 3, 4), n.input(2, 4, 5)),
    "matmul, broadcast": lambda n: n.add("MatMul", n.input(2, 3, 4), n.input(4, 5)),
    "matmul, batch of weights": lambda n: n.add("MatMul", n.input(2, 3, 4), n.weight(2, 4, 5)),
    "vector first": lambda n: n.add("MatMul", n.input(4), n.weight(4, 5)),
    "vector last": lambda n: n.add("MatMul", n.input(2, 3, 4), n.input(4)),
    "vectors": lambda n: n.add("MatMul", n.input(4), n.input(4)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, tmp_path: Path) -> None:
    net = Net()
    check(net.proto(PRODUCTS[name](net)), tmp_path)
