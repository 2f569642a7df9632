"""Transposed convolution of images: its options say the padding of the convolution that it undoes."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.convolution import HINTS, bias_type, reader_of, weights_shape
from w2e_bridge.kernels.hints import keep, kept
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import extents, int32, number
from w2e_bridge.kernels.scope import Fused, Scope, attribute, first, image
from w2e_bridge.kernels.window import Window, options, spatial, window_in, window_of

OHWI_TO_IOHW = (3, 0, 1, 2)
PADDING: dict[str, str | bool] = {"padding": "VALID"}
"""Where both paddings cut nothing off, runtimes still treat them differently: a hint says "SAME"."""

Padding = tuple[tuple[int, ...], tuple[int, ...]]
"""ONNX's `pads` and `output_padding`."""


def padding_for(
    window: Window, padding: str, sizes: tuple[int, ...], outputs: tuple[int, ...]
) -> Padding:
    """How an image of `sizes` becomes one of `outputs`.

    Before the image as much is cut off as the convolution adds; behind it what is left, or as much is
    added as is missing (tensorflow/lite/kernels/transpose_conv.cc).
    """
    same = window.same(outputs)
    assert same is not None
    before = (0,) * len(sizes) if padding == "VALID" else same[: len(sizes)]
    full = [
        (size - 1) * stride + (kernel - 1) * dilation + 1
        for size, stride, kernel, dilation in zip(
            sizes, window.strides, window.kernel, window.dilations, strict=True
        )
    ]
    rest = [f - b - o for f, b, o in zip(full, before, outputs, strict=True)]
    return (*before, *(max(r, 0) for r in rest)), tuple(max(-r, 0) for r in rest)


def target_of(operation: Operation, builder: Builder, rank: int) -> tuple[int, ...]:
    """The extents of space of the output.

    Raises:
        UnsupportedError: they are known at run time only.
    """
    known = spatial(operation.outputs[0], rank)
    if None not in known:
        return tuple(d for d in known if d is not None)
    return tuple(builder.numbers(operation.input(0), "an output shape")[1:-1])


def transposing_attributes(
    operation: Operation, builder: Builder, x: ir.Value, window: Window
) -> dict[str, object]:
    """What ConvTranspose says.

    Raises:
        UnsupportedError: extents are known at run time only.
    """
    rank = len(window.kernel)
    sizes = spatial(x, rank)
    if None in sizes:
        raise UnsupportedError("transposed convolution of an image whose extents are not known")
    known = tuple(d for d in sizes if d is not None)
    outputs = target_of(operation, builder, rank)
    pads, more = padding_for(window, operation.text("padding", "SAME"), known, outputs)
    said: dict[str, object] = {"kernel_shape": window.kernel, "strides": window.strides}
    if max(window.dilations) > 1:
        said["dilations"] = window.dilations
    if any(pads):
        said["pads"] = pads
    if any(more):
        said["output_padding"] = more
    return said


def padding_name(node: ir.Node, window: Window, x: ir.Value, y: ir.Value) -> str | None:
    """The name of the padding of a ConvTranspose between two values, None where it has none."""
    rank = len(window.kernel)
    sizes, outputs = spatial(x, rank), spatial(y, rank)
    pads = attribute(node, "pads", (0,) * 2 * rank)
    more = attribute(node, "output_padding", (0,) * rank)
    plain = (
        attribute(node, "auto_pad", "NOTSET") == "NOTSET" and "output_shape" not in node.attributes
    )
    if not plain or None in sizes or None in outputs:
        return None
    known = tuple(d for d in sizes if d is not None)
    target = tuple(d for d in outputs if d is not None)
    fits = [n for n in ("VALID", "SAME") if padding_for(window, n, known, target) == (pads, more)]
    hint = str(kept(node, PADDING)["padding"])
    return hint if hint in fits else next(iter(fits), None)


def _build(operation: Operation, builder: Builder) -> None:
    _, h, w, _ = weights_shape(operation, 1, 4)
    x = builder.value(operation.input(2))
    attributes = transposing_attributes(operation, builder, x, window_of(operation, (h, w)))
    turned = builder.node("Transpose", [builder.value(operation.input(1))], {"perm": OHWI_TO_IOHW})
    bias = [] if operation.input(3) is None else [builder.value(operation.input(3))]
    builder.channels_last("ConvTranspose", [x, turned, *bias], operation, attributes)
    keep(operation, reader_of(turned), {**HINTS, **PADDING})


def _read(way: Fused, root: ir.Node, scope: Scope) -> Operation | None:
    found = image(way.node, scope, "ConvTranspose")
    weights = None if found is None else scope.transposed(given(found.node, 1), OHWI_TO_IOHW)
    shape, target = extents(weights), extents(root.outputs[0])
    if found is None or weights is None or shape is None or target is None or None in target:
        return None
    node, (_, h, w, _) = found.node, shape
    window = None if h is None or w is None else window_in(node, (h, w))
    if window is None or max(window.dilations) > 1 or number(node, "group", 1) != 1:
        return None
    padding = padding_name(node, window, found.x, root.outputs[0])
    turned = scope.maker(given(node, 1), "Transpose")
    if padding is None or turned is None:
        return None
    bias = given(node, 2)
    output_shape = int32("output_shape", [d for d in target if d is not None])
    return Operation(
        kind="transpose_conv",
        inputs=(output_shape, weights, found.x, *([] if bias is None else [bias])),
        outputs=(root.outputs[0],),
        attributes={
            "padding": padding,
            "fused_activation_function": way.activation,
            **options(window, dilated=False),
            **bias_type(node, found.x, bias, scope),
        },
        nodes=(turned, *found.nodes, *way.nodes),
    )


KINDS = (
    Kind(
        name="transpose_conv", build=_build, roots=("Transpose", "Relu", "Clip"), match=first(_read)
    ),
)
