"""Convolution of volumes (depth, height, width) and its transpose."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.convolution import channels_of, weights_shape
from w2e_bridge.kernels.deconvolution import PADDING, padding_name, transposing_attributes
from w2e_bridge.kernels.hints import keep
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.kernels.reading import extents, int32, number
from w2e_bridge.kernels.scope import Fused, Scope, attribute, first
from w2e_bridge.kernels.window import (
    Window,
    options,
    padding_attributes,
    padding_in,
    spatial,
    window_attributes,
    window_in,
    window_of,
)

FIRST, LAST = (0, 4, 1, 2, 3), (0, 2, 3, 4, 1)
"""Permutations of a volume to channels first and to channels last."""
TURNED = (4, 3, 0, 1, 2)
"""Weights (D, H, W, inputs, outputs) of a convolution, and (D, H, W, outputs, inputs) of a transposed one."""


def _append(
    op: str, operation: Operation, builder: Builder, inputs: list[Operand], said: dict[str, object]
) -> None:
    first = builder.node("Transpose", [builder.value(inputs[0])], {"perm": FIRST})
    turned = builder.node("Transpose", [builder.value(inputs[1])], {"perm": TURNED})
    bias = [builder.value(operand) for operand in inputs[2:] if operand is not None]
    inner = builder.node(op, [first, turned, *bias], said)
    if op == "ConvTranspose":
        keep(operation, inner.producer(), PADDING)
    builder.last("Transpose", [inner], operation, {"perm": LAST})


def _build(operation: Operation, builder: Builder) -> None:
    d, h, w, depth, outputs = weights_shape(operation, 1, 5)
    x = builder.value(operation.input(0))
    window = window_of(operation, (d, h, w))
    said: dict[str, object] = {**window_attributes(window)}
    said |= padding_attributes(window, operation.text("padding", "SAME"), spatial(x, 3))
    channels = channels_of(x)
    if channels is not None and channels != depth:
        if not depth or channels % depth or outputs % (channels // depth):
            raise UnsupportedError(f"weights for {depth} channels on {channels}")
        said["group"] = channels // depth
    _append("Conv", operation, builder, [x, operation.input(1), operation.input(2)], said)


def _build_transposed(operation: Operation, builder: Builder) -> None:
    d, h, w, _, _ = weights_shape(operation, 1, 5)
    x = builder.value(operation.input(2))
    said = transposing_attributes(operation, builder, x, window_of(operation, (d, h, w)))
    _append("ConvTranspose", operation, builder, [x, operation.input(1), operation.input(3)], said)


Finish = Callable[[ir.Node, Window, ir.Value, ir.Value], tuple[str, tuple[Operand, ...]] | None]
"""From a node and its window: the padding's name, and what stands before the weights."""


def _direct(
    node: ir.Node, window: Window, x: ir.Value, y: ir.Value
) -> tuple[str, tuple[Operand, ...]] | None:
    del y
    padding = padding_in(node, window, spatial(x, 3))
    return None if padding is None else (padding, ())


def _transposed(
    node: ir.Node, window: Window, x: ir.Value, y: ir.Value
) -> tuple[str, tuple[Operand, ...]] | None:
    padding, target = padding_name(node, window, x, y), extents(y)
    if padding is None or target is None or None in target or number(node, "group", 1) != 1:
        return None
    return padding, (int32("output_shape", [d for d in target if d is not None]),)


def _read(
    kind: str, op: str, finish: Finish, way: Fused, root: ir.Node, scope: Scope
) -> Operation | None:
    last = way.node
    node = scope.inside(given(last, 0), op) if attribute(last, "perm") == LAST else None
    if node is None or last.op_type != "Transpose":
        return None
    x = scope.transposed(given(node, 0), FIRST)
    weights = scope.transposed(given(node, 1), TURNED)
    shape = extents(weights)
    if x is None or weights is None or shape is None or None in shape[:3]:
        return None
    window = window_in(node, tuple(d for d in shape[:3] if d is not None))
    found = None if window is None else finish(node, window, x, root.outputs[0])
    makers = [scope.maker(given(node, i), "Transpose") for i in (0, 1)]
    if window is None or found is None:
        return None
    padding, front = found
    bias = given(node, 2)
    operands = (x, weights) if not front else (*front, weights, x)
    return Operation(
        kind=kind,
        inputs=(*operands, *([] if bias is None else [bias])),
        outputs=(root.outputs[0],),
        attributes={
            "padding": padding,
            "fused_activation_function": way.activation,
            **options(window),
        },
        nodes=(*(m for m in makers if m is not None), node, last, *way.nodes),
    )


ROOTS = ("Transpose", "Relu", "Clip")
KINDS = (
    Kind(
        name="conv_3d",
        build=_build,
        roots=ROOTS,
        match=first(partial(_read, "conv_3d", "Conv", _direct)),
    ),
    Kind(
        name="conv_3d_transpose",
        build=_build_transposed,
        roots=ROOTS,
        match=first(partial(_read, "conv_3d_transpose", "ConvTranspose", _transposed)),
    ),
)
