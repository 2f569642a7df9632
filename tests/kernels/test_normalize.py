"""Normalizations as nodes and back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.pairs import Case, read
from w2e_bridge.kernels.operation import Attribute

X = np.random.default_rng(1).normal(size=(1, 3, 4, 6)).astype(np.float32)
NONE: dict[str, Attribute] = {"fused_activation_function": "NONE"}


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("softmax", {"beta": 1.0}),
        ("softmax", {"beta": 0.5}),
        ("log_softmax", {}),
        ("l2_normalization", NONE),
    ],
)
def test_along_the_last_axis(kind: str, attributes: dict[str, Attribute]) -> None:
    Case(kind=kind, inputs=[X], attributes=attributes, shape=X.shape).check()


def test_local_response() -> None:
    response: dict[str, Attribute] = {"radius": 2, "bias": 1.5, "alpha": 0.25, "beta": 0.5}
    Case(
        kind="local_response_normalization", inputs=[X], attributes=response, shape=X.shape
    ).check()


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        ("y = Softmax<axis = 1>(x)", "softmax"),
        ("y = LpNormalization(x)", "l2_normalization"),
        ("n = ReduceL2(x, axis); y = Div(x, n)", "l2_normalization"),
        (
            "n = ReduceL2(x, axis); c = Clip(n, tiny); e = Expand(c, shape); y = Div(x, e)",
            "l2_normalization",
        ),
    ],
)
def test_as_exporters_write_it(nodes: str, kind: str) -> None:
    constants = {"axis": [1], "tiny": 1e-12, "shape": [2, 3]}
    used = {name: number for name, number in constants.items() if name in nodes}
    assert read(nodes, {"x": [2, 3]}, used).kind == kind
