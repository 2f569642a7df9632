"""Convolution of each channel by itself, with several filters for each where the multiplier says so."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.convolution import channels_of, weights_shape
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
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

HWC_TO_CHW = (3, 0, 1, 2)
"""Weights (1, H, W, channels * multiplier) as ONNX has them: (channels * multiplier, 1, H, W)."""


def _build(operation: Operation, builder: Builder) -> None:
    one, h, w, outputs = weights_shape(operation, 1, 4)
    x = builder.value(operation.input(0))
    channels = channels_of(x)
    if channels is None:
        channels = outputs // max(1, operation.integer("depth_multiplier", 1))
    if one != 1 or not channels or outputs % channels:
        raise UnsupportedError(f"depthwise weights {(one, h, w, outputs)} on {channels} channels")
    window = window_of(operation, (h, w))
    attributes: dict[str, object] = {**window_attributes(window), "group": channels}
    attributes |= padding_attributes(window, operation.text("padding", "SAME"), spatial(x, 2))
    turned = builder.node("Transpose", [builder.value(operation.input(1))], {"perm": HWC_TO_CHW})
    bias = [] if operation.input(2) is None else [builder.value(operation.input(2))]
    builder.channels_last("Conv", [x, turned, *bias], operation, attributes)


def _read(way: Fused, root: ir.Node, scope: Scope) -> Operation | None:
    found = image(way.node, scope, "Conv")
    weights = None if found is None else scope.transposed(given(found.node, 1), HWC_TO_CHW)
    shape = extents(weights)
    if found is None or weights is None or shape is None:
        return None
    node, group = found.node, number(found.node, "group", 1)
    one, h, w, outputs = shape
    if one != 1 or h is None or w is None or outputs is None or outputs % group:
        return None
    window = window_in(node, (h, w))
    padding = None if window is None else padding_in(node, window, spatial(found.x, 2))
    if window is None or padding is None:
        return None
    turned = scope.maker(given(node, 1), "Transpose")
    assert turned is not None
    bias = given(node, 2)
    return Operation(
        kind="depthwise_conv_2d",
        inputs=(found.x, weights, *([] if bias is None else [bias])),
        outputs=(root.outputs[0],),
        attributes={
            "padding": padding,
            "depth_multiplier": outputs // group,
            "fused_activation_function": way.activation,
            **options(window),
        },
        nodes=(turned, *found.nodes, *way.nodes),
    )


KINDS = (
    Kind(
        name="depthwise_conv_2d",
        build=_build,
        roots=("Transpose", "Relu", "Clip"),
        match=first(_read),
    ),
)
