"""Pooling of images: average (of what lies inside), maximum, root of the mean square."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.reading import number
from w2e_bridge.kernels.scope import Fused, Image, Match, Scope, attribute, fused, image
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

POOLS = {"average_pool_2d": "AveragePool", "max_pool_2d": "MaxPool", "l2_pool_2d": "AveragePool"}
"""Kinds to the ONNX operator that slides."""


def _window(operation: Operation) -> Window:
    return window_of(
        operation, (operation.integer("filter_height", 1), operation.integer("filter_width", 1))
    )


def _build(operation: Operation, builder: Builder) -> None:
    x, window = builder.value(operation.input(0)), _window(operation)
    said: dict[str, object] = {**window_attributes(window)}
    said |= padding_attributes(window, operation.text("padding", "SAME"), spatial(x, 2))
    if operation.kind != "l2_pool_2d":
        builder.channels_last(POOLS[operation.kind], [x], operation, said)
        return
    # ONNX's LpPool sums where TensorFlow Lite averages (tensorflow/lite/kernels/internal/reference/pooling.h).
    first = builder.node("Transpose", [builder.node("Mul", [x, x])], {"perm": (0, 3, 1, 2)})
    mean = builder.node("AveragePool", [first], said)
    last = builder.node("Transpose", [mean], {"perm": (0, 2, 3, 1)})
    builder.last("Sqrt", [last], operation)


def pool_options(found: Image, x: ir.Value | None = None) -> dict[str, Attribute] | None:
    """The options of a pool, None where TensorFlow Lite can't say what it does.

    Args:
        found: the pool.
        x: what has the extents of its input, if not that itself.
    """
    node = found.node
    kernel = attribute(node, "kernel_shape")
    if not isinstance(kernel, tuple) or len(kernel) != 2:
        return None
    window, sizes = window_in(node, kernel), spatial(x or found.x, 2)
    padding = None if window is None else padding_in(node, window, sizes)
    if window is None or padding is None or max(window.dilations) > 1:
        return None
    if (
        number(node, "count_include_pad", 0)
        and padding == "SAME"
        and window.same(sizes) != (0,) * 4
    ):
        return None
    if number(node, "ceil_mode", 0) and not _whole(window, sizes, padding):
        return None
    return {
        "padding": padding,
        "filter_height": kernel[0],
        "filter_width": kernel[1],
        **options(window, dilated=False),
    }


def _whole(window: Window, sizes: tuple[int | None, ...], padding: str) -> bool:
    """Whether rounding the number of places up gives no further one."""
    return padding == "VALID" and all(
        size is not None and size >= kernel and (size - kernel) % stride == 0
        for size, kernel, stride in zip(sizes, window.kernel, window.strides, strict=True)
    )


def _match(kind: str) -> Match:
    def match(root: ir.Node, scope: Scope) -> Operation | None:
        for way in fused(root, scope):
            found = image(way.node, scope, POOLS[kind])
            said = None if found is None or len(found.node.outputs) > 1 else pool_options(found)
            if found is not None and said is not None:
                return _operation(kind, found.x, root, said, way, found.nodes)
        return None

    return match


def _operation(
    kind: str,
    x: ir.Value,
    root: ir.Node,
    said: dict[str, Attribute],
    way: Fused,
    nodes: tuple[ir.Node, ...],
) -> Operation:
    return Operation(
        kind=kind,
        inputs=(x,),
        outputs=(root.outputs[0],),
        attributes={**said, "fused_activation_function": way.activation},
        nodes=(*nodes, *way.nodes),
    )


def _match_l2(root: ir.Node, scope: Scope) -> Operation | None:
    for way in fused(root, scope):
        last = scope.inside(given(way.node, 0), "Transpose") if way.node.op_type == "Sqrt" else None
        found = None if last is None else image(last, scope, "AveragePool")
        square = None if found is None else scope.inside(found.x, "Mul", "Pow")
        x = None if square is None else given(square, 0)
        said = None if found is None else pool_options(found, x)
        if found is None or square is None or said is None or not _squares(square, scope):
            continue
        if x is not None:
            return _operation("l2_pool_2d", x, root, said, way, (square, *found.nodes, way.node))
    return None


def _squares(node: ir.Node, scope: Scope) -> bool:
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return scope.number(given(node, 1)) == 2.0


KINDS = (
    *(
        Kind(name=kind, build=_build, roots=("Transpose", "Relu", "Clip"), match=_match(kind))
        for kind in ("average_pool_2d", "max_pool_2d")
    ),
    Kind(name="l2_pool_2d", build=_build, roots=("Sqrt", "Relu", "Clip"), match=_match_l2),
)
