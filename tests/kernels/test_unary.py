"""Functions of one number as nodes and back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.pairs import Case, found, read
from w2e_bridge.kernels import unary
from w2e_bridge.kernels.operation import Attribute
from w2e_bridge.kernels.table import kinds

POSITIVE = ("log", "sqrt", "rsqrt")
ATTRIBUTES: dict[str, list[dict[str, Attribute]]] = {
    "gelu": [{"approximate": False}, {"approximate": True}]
}


@pytest.mark.parametrize("kind", [k.name for k in unary.KINDS if k.name != "square"])
def test_built_and_found(kind: str) -> None:
    x = np.linspace(-4, 4, 48, dtype=np.float32).reshape(2, 3, 8)
    x = np.abs(x) + np.float32(0.1) if kind in POSITIVE else x
    for attributes in ATTRIBUTES.get(kind, [{}]):
        Case(kind=kind, inputs=[x], attributes=attributes, shape=x.shape).check()


def test_a_square_is_a_product_with_itself() -> None:
    x = np.linspace(-4, 4, 6, dtype=np.float32)
    case = Case(kind="square", inputs=[x], attributes={}, shape=x.shape)
    again, scope = found(case.model())
    square = kinds()["square"].match(again.nodes[-1], scope)
    assert square is not None
    assert [v.name for v in square.inputs if v is not None] == ["x0"]
    np.testing.assert_array_equal(case.by_onnxruntime(), case.by_litert())


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [
        ("h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x); y = Mul(x, h)", "hard_swish"),
        ("h = HardSigmoid<alpha = 0.16666667, beta = 0.5>(x); y = Mul(h, x)", "hard_swish"),
        ("r = Sqrt(x); y = Div(one, r)", "rsqrt"),
        (
            "d = Div(x, root); e = Erf(d); a = Add(e, one); m = Mul(x, a); y = Mul(m, half)",
            "gelu",
        ),
        (
            "d = Div(x, root); e = Erf(d); a = Add(e, one); h = Mul(x, half); y = Mul(h, a)",
            "gelu",
        ),
        ("y = Gelu(x)", "gelu"),
        ("y = Elu<alpha = 1.0>(x)", "elu"),
    ],
)
def test_as_exporters_write_it(nodes: str, kind: str) -> None:
    constants = {"one": 1.0, "half": 0.5, "root": 2.0**0.5}
    used = {name: number for name, number in constants.items() if name in nodes}
    operation = read(nodes, {"x": [2, 3]}, used)
    assert operation.kind == kind
    assert [v.name for v in operation.inputs if v is not None] == ["x"]
    if kind == "gelu":
        assert operation.attributes == {"approximate": False}
