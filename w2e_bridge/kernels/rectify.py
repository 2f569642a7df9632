"""Rectifiers: activations that are operators of their own."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import direct, single
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Match, Scope, attribute

BOUNDS = {"relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0), "relu_0_to_1": (0.0, 1.0)}
"""Kinds that are a Clip."""


def _clip(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    low, high = (builder.reals("bound", bound) for bound in BOUNDS[operation.kind])
    builder.node("Clip", [x, low, high], outputs=operation.outputs)


def _match_clip(kind: str) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        x = given(root, 0)
        if x is None or _bounds(root, scope) != BOUNDS[kind]:
            return None
        return single(kind, root, [x])

    return match


def _bounds(root: ir.Node, scope: Scope) -> tuple[float | None, float | None]:
    # Attributes up to operator set 10, inputs since.
    found = []
    for index, name in ((1, "min"), (2, "max")):
        said = attribute(root, name)
        found.append(
            float(said) if isinstance(said, int | float) else scope.number(given(root, index))
        )
    return found[0], found[1]


def _leaky_relu(operation: Operation, builder: Builder) -> None:
    x = builder.value(operation.inputs[0])
    alpha = {"alpha": operation.number("alpha")}
    builder.node("LeakyRelu", [x], alpha, outputs=operation.outputs)


def _match_leaky_relu(root: ir.Node, _scope: Scope) -> Operation | None:
    x, alpha = given(root, 0), attribute(root, "alpha", 0.01)
    if x is None or not isinstance(alpha, int | float):
        return None
    return single("leaky_relu", root, [x], {"alpha": float(alpha)})


KINDS = (
    direct("relu", "Relu", 1),
    *(Kind(name=k, build=_clip, roots=("Clip",), match=_match_clip(k)) for k in BOUNDS),
    Kind(name="leaky_relu", build=_leaky_relu, roots=("LeakyRelu",), match=_match_leaky_relu),
    direct("prelu", "PRelu", 2),
)
