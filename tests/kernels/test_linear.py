"""Products of matrices as nodes and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernels.pairs import read
from tests.kernels.weighed import check, drawn, weights


@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("shape", "keeps", "output"),
    [
        ((4, 8), False, (4,)),
        ((4, 8), True, (4,)),
        ((2, 3, 8), True, (2, 3)),
        ((2, 3, 8), False, (6,)),
        ((2, 2, 4), False, (2,)),
    ],
)
def test_fully_connected(
    shape: tuple[int, ...], keeps: bool, output: tuple[int, ...], bias: bool, activation: str
) -> None:
    operands = [drawn(*shape), weights(5, 8)] + ([weights(5)] if bias else [])
    said: dict[str, Any] = {"fused_activation_function": activation, "keep_num_dims": keeps}
    check("fully_connected", operands, (*output, 5), said)


@pytest.mark.parametrize("adj_x", [False, True])
@pytest.mark.parametrize("adj_y", [False, True])
@pytest.mark.parametrize("before", [(), (2,), (2, 3)])
def test_products(before: tuple[int, ...], adj_x: bool, adj_y: bool) -> None:
    x = drawn(*before, *((8, 4) if adj_x else (4, 8)))
    y = drawn(*before, *((6, 8) if adj_y else (8, 6)), seed=1)
    check("batch_matmul", [x, y], (*before, 4, 6), {"adj_x": adj_x, "adj_y": adj_y})


def test_a_constant_factor() -> None:
    check(
        "batch_matmul",
        [drawn(2, 4, 8), weights(2, 8, 6)],
        (2, 4, 6),
        {"adj_x": False, "adj_y": False},
    )


def test_exported() -> None:
    nodes = "p = Gemm<transB = 1>(x, w, b); y = Relu(p)"
    found = read(nodes, {"x": (4, 8), "w": (5, 8), "b": (5,)})
    assert found.kind == "fully_connected"
    assert found.attributes["fused_activation_function"] == "RELU"
    found = read("y = MatMul(x, w)", {"x": (4, 8), "w": (8, 5)})
    assert found.kind == "batch_matmul"
