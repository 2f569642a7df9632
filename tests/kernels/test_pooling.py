"""Pooling as nodes and back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kernels.pairs import read
from tests.kernels.weighed import check, drawn
from tests.w2e_onnx.litert.windows import extent


@pytest.mark.parametrize("kind", ["average_pool_2d", "max_pool_2d", "l2_pool_2d"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("filtered", [(2, 2), (3, 1), (7, 6)])
@pytest.mark.parametrize("activation", ["NONE", "RELU"])
def test_pools(kind: str, padding: str, filtered: tuple[int, int], activation: str) -> None:
    said: dict[str, Any] = {
        "padding": padding,
        "stride_w": 1,
        "stride_h": 2,
        "filter_width": filtered[1],
        "filter_height": filtered[0],
        "fused_activation_function": activation,
    }
    places = extent(7, filtered[0], 2, padding), extent(6, filtered[1], 1, padding)
    check(kind, [drawn(2, 7, 6, 3)], (2, *places, 3), said)


def test_exported() -> None:
    nodes = """
        f = Transpose<perm = [0, 3, 1, 2]>(x);
        p = AveragePool<kernel_shape = [2, 2], pads = [0, 0, 1, 0], strides = [2, 2]>(f);
        l = Transpose<perm = [0, 2, 3, 1]>(p); y = Relu(l)
    """
    found = read(nodes, {"x": (1, 7, 6, 3)})
    assert found.kind == "average_pool_2d"
    assert found.attributes["padding"] == "SAME"
    assert found.attributes["fused_activation_function"] == "RELU"
