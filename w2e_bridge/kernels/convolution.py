"""Convolution of images, grouped too. Its kin: `depthwise`, `deconvolution`, `volume`."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.hints import keep, kept
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.kernels.reading import extents, number
from w2e_bridge.kernels.scope import Fused, Scope, first, image
from w2e_bridge.kernels.window import (
    options,
    padding_attributes,
    padding_in,
    spatial,
    window_attributes,
    window_in,
    window_of,
)

OHWI_TO_OIHW = (0, 3, 1, 2)
HINTS: dict[str, str | bool] = {"quantized_bias_type": "FLOAT32"}
"""Type of the bias, and with it of the accumulator, of 16-bit kernels; FLOAT32 where nothing is said."""


def weights_shape(operation: Operation, index: int, rank: int) -> tuple[int, ...]:
    """The extents of weights.

    Raises:
        UnsupportedError: they are known at run time only.
    """
    shape = extents(operation.input(index))
    if shape is None or len(shape) != rank or any(d is None for d in shape):
        raise UnsupportedError("weights of a shape known at run time only")
    return tuple(d for d in shape if d is not None)


def reader_of(value: ir.Value) -> ir.Node | None:
    """The node that reads a value."""
    return next((use.node for use in value.uses()), None)


def channels_of(operand: Operand) -> int | None:
    """The last extent of an operand."""
    shape = extents(operand)
    return None if not shape else shape[-1]


def _build(operation: Operation, builder: Builder) -> None:
    o, h, w, i = weights_shape(operation, 1, 4)
    x = builder.value(operation.input(0))
    window = window_of(operation, (h, w))
    attributes: dict[str, object] = {**window_attributes(window)}
    attributes |= padding_attributes(window, operation.text("padding", "SAME"), spatial(x, 2))
    channels = channels_of(x)
    if channels is not None and channels != i:
        if not i or channels % i or o % (channels // i):
            raise UnsupportedError(f"weights {(o, h, w, i)} on {channels} channels")
        attributes["group"] = channels // i
    turned = builder.node("Transpose", [builder.value(operation.input(1))], {"perm": OHWI_TO_OIHW})
    bias = [] if operation.input(2) is None else [builder.value(operation.input(2))]
    builder.channels_last("Conv", [x, turned, *bias], operation, attributes)
    keep(operation, reader_of(turned), HINTS)


def _read(way: Fused, root: ir.Node, scope: Scope) -> Operation | None:
    found = image(way.node, scope, "Conv")
    weights = None if found is None else scope.transposed(given(found.node, 1), OHWI_TO_OIHW)
    shape = extents(weights)
    if found is None or weights is None or shape is None or None in shape[1:3]:
        return None
    node = found.node
    window = window_in(node, tuple(d for d in shape[1:3] if d is not None))
    padding = None if window is None else padding_in(node, window, spatial(found.x, 2))
    if window is None or padding is None or not _groups_fit(node, found.x, shape[3]):
        return None
    turned = scope.maker(given(node, 1), "Transpose")
    assert turned is not None
    bias = given(node, 2)
    return Operation(
        kind="conv_2d",
        inputs=(found.x, weights, *([] if bias is None else [bias])),
        outputs=(root.outputs[0],),
        attributes={
            "padding": padding,
            "fused_activation_function": way.activation,
            **options(window),
            **bias_type(node, found.x, bias, scope),
        },
        nodes=(turned, *found.nodes, *way.nodes),
    )


def bias_type(
    node: ir.Node, x: ir.Value, bias: ir.Value | None, scope: Scope
) -> dict[str, str | bool]:
    """The option that says of which type the bias of a 16-bit kernel is; 64 bits need no word."""
    said = kept(node, HINTS)
    activation, tensor = scope.static(x), scope.tensor(bias)
    if tensor is None or activation is None or said != HINTS:
        return said
    if str(activation.codes) == "int16" and str(tensor.encoding.codes) == "int32":
        return {"quantized_bias_type": "INT32"}
    return said


def _groups_fit(node: ir.Node, x: ir.Value, depth: int | None) -> bool:
    group, channels = number(node, "group", 1), channels_of(x)
    if channels is None or depth is None:
        return group == 1
    return channels == group * depth


KINDS = (
    Kind(name="conv_2d", build=_build, roots=("Transpose", "Relu", "Clip"), match=first(_read)),
)
