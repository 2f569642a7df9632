"""Custom operators of MediaPipe's models: convolution with a bias, pooling that says where, and its inverse.

Sources: google-ai-edge/mediapipe mediapipe/util/tflite/operations/transpose_conv_bias.cc,
max_pool_argmax.cc, max_unpooling.cc. Their options are the C structs of TensorFlow Lite's builtin operators
(tensorflow/lite/core/c/builtin_op_data.h), as they lie in memory. LiteRT's own package has none of them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.custom import OPTIONS, match_custom
from w2e_bridge.kernels.function import Functional, plain_attributes
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.lstm import build_call
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope

CONVOLUTION = "custom:Convolution2DTransposeBias"
POOLING, UNPOOLING = "custom:MaxPoolingWithArgmax2D", "custom:MaxUnpooling2D"

SAME, VALID = 1, 2
ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6")

NUDGE = 0.1
"""Added to an index, so that cutting it off gives it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window over an image; each pair is (height, width).

    Attributes:
        padding: `SAME` or `VALID`.
        stride, size: of the window.
        activation: fused.
    """

    padding: int
    stride: tuple[int, int]
    size: tuple[int, int]
    activation: str = "NONE"


def _numbers(operation: Operation, count: int) -> tuple[int, ...]:
    data = operation.attributes.get(OPTIONS)
    if not isinstance(data, bytes) or len(data) < 4 * count:
        raise UnsupportedError("options that are cut")
    return struct.unpack_from(f"<{count}i", data)


def pool_window(operation: Operation) -> Window:
    """The window in a `TfLitePoolParams`."""
    padding, across, down, width, height, activation = _numbers(operation, 6)
    if padding not in (SAME, VALID) or min(across, down, width, height) < 1:
        raise UnsupportedError("options that are no window")
    if not 0 <= activation < len(ACTIVATIONS):
        raise UnsupportedError(f"fused activation {activation}")
    return Window(
        padding=padding,
        stride=(down, across),
        size=(height, width),
        activation=ACTIVATIONS[activation],
    )


def image_of(value: object) -> tuple[int, int, int, int]:
    """The shape of an image, channels last."""
    shape = value.shape if isinstance(value, ir.Value) else None
    if shape is None or len(shape) != 4 or not all(isinstance(d, int) for d in shape):
        raise UnsupportedError("an image of a size known at run time only")
    batch, height, width, depth = (int(str(d)) for d in shape)
    return batch, height, width, depth


def _convolution(operation: Operation, builder: Builder) -> None:
    padding, across, down = _numbers(operation, 3)
    x, weights, bias = (builder.value(operand) for operand in operation.inputs)
    _, height, width, _ = image_of(x)
    _, rows, columns, _ = image_of(weights)
    begin, end = [], []
    for extent, size, stride in ((height, rows, down), (width, columns, across)):
        total = max(0, size - (extent - 1) % stride - 1) if padding == SAME else 0
        begin.append(total // 2)
        end.append(total - total // 2)
    turned = builder.node("Transpose", [weights], {"perm": (3, 0, 1, 2)})
    attributes = {"strides": (down, across), "pads": (*begin, *end)}
    builder.channels_last("ConvTranspose", [x, turned, bias], operation, attributes)


def _no_match(_root: ir.Node, _scope: Scope) -> None:
    """TRANSPOSE_CONV says the same, and every runtime has it."""
    return


def margin(extent: int, window: Window, axis: int) -> tuple[int, int]:
    """(padding in all, output's extent) of a window that slides over an extent."""
    size, stride = window.size[axis], window.stride[axis]
    out = -(-extent // stride) if window.padding == SAME else (extent - size + stride) // stride
    return max(0, (out - 1) * stride + size - extent), out


def _grid(
    extent: int, window: Window, axis: int, pad: int
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where the window begins for each output."""
    return np.arange(extent, dtype=np.int64) * window.stride[axis] - pad


def pooling(
    body: Functional, x: ir.Value, shape: tuple[int, int, int, int], window: Window
) -> list[ir.Value]:
    """Append the pooling: the largest number, and its place in the window, row by row."""
    _, height, width, _ = shape
    (down, rows), (across, columns) = margin(height, window, 0), margin(width, window, 1)
    pads = (down // 2, across // 2, down - down // 2, across - across // 2)
    attributes = {"kernel_shape": window.size, "strides": window.stride, "pads": pads}
    first = body.add("Transpose", [x], {"perm": (0, 3, 1, 2)})
    most, flat = body.add_many("MaxPool", [first], attributes, 2)
    place = body.add("Mod", [flat, body.literal(np.int64(height * width))])
    y = body.add("Div", [place, body.literal(np.int64(width))])
    x_at = body.add("Mod", [place, body.literal(np.int64(width))])
    top = body.literal(_grid(rows, window, 0, pads[0])[:, None])
    left = body.literal(_grid(columns, window, 1, pads[1]))
    down_in = body.add("Mul", [body.add("Sub", [y, top]), body.literal(np.int64(window.size[1]))])
    index = body.add("Add", [down_in, body.add("Sub", [x_at, left])])
    real = body.add("Add", [body.add("Cast", [index], {"to": int(ir.DataType.FLOAT)}), body.real(NUDGE)])  # fmt: skip
    return [body.add("Transpose", [v], {"perm": (0, 2, 3, 1)}) for v in (most, real)]


def unpooling(
    body: Functional,
    x: ir.Value,
    indices: ir.Value,
    shape: tuple[int, int, int, int],
    window: Window,
) -> ir.Value:
    """Append the inverse: each number at its place, zeros elsewhere; a later window overwrites."""
    batch, height, width, depth = shape
    rows, columns = height * window.size[0], width * window.size[1]
    pads = [
        max(0, (n - 1) * window.stride[axis] + window.size[axis] - out) // 2
        for axis, (n, out) in enumerate(((height, rows), (width, columns)))
    ]
    index = body.add("Cast", [indices], {"to": int(ir.DataType.INT64)})
    across = body.literal(np.int64(window.size[1]))
    # C++ divides towards zero, and so does ONNX Runtime; Mod with fmod does too.
    y = body.add("Add", [body.add("Div", [index, across]), body.literal(_grid(height, window, 0, pads[0])[:, None, None])])  # fmt: skip
    x_at = body.add("Add", [body.add("Mod", [index, across], {"fmod": 1}), body.literal(_grid(width, window, 1, pads[1])[:, None])])  # fmt: skip
    inside = None
    for value, extent in ((y, rows), (x_at, columns)):
        low = body.add("GreaterOrEqual", [value, body.literal(np.int64(0))])
        high = body.add("Less", [value, body.literal(np.int64(extent))])
        both = body.add("And", [low, high])
        inside = both if inside is None else body.add("And", [inside, both])
    assert inside is not None
    row = body.add("Add", [y, body.literal(np.arange(batch, dtype=np.int64)[:, None, None, None] * rows)])  # fmt: skip
    pixel = body.add("Add", [body.add("Mul", [row, body.literal(np.int64(columns))]), x_at])
    place = body.add("Add", [body.add("Mul", [pixel, body.literal(np.int64(depth))]), body.literal(np.arange(depth, dtype=np.int64))])  # fmt: skip
    size = batch * rows * columns * depth
    place = body.add("Where", [inside, place, body.literal(np.int64(size))])
    one = body.literal(np.asarray([-1], np.int64))
    flat = [body.add("Reshape", [value, one]) for value in (place, x)]
    empty = body.literal(np.zeros(size + 1, np.float32))
    whole = body.add("ScatterElements", [empty, *flat], {"axis": 0})
    ends = [body.literal(np.asarray([n], np.int64)) for n in (0, size)]
    shaped = body.literal(np.asarray([batch, rows, columns, depth], np.int64))
    return body.add("Reshape", [body.add("Slice", [whole, *ends]), shaped])


def _pooling(operation: Operation, builder: Builder) -> None:
    from w2e_bridge.kernels.lstm import activate

    window, body, x = pool_window(operation), Functional(), ir.Value(name="image")
    most, index = pooling(body, x, image_of(operation.input(0)), window)
    outputs = [activate(body, most, window.activation), index]
    attributes = plain_attributes(operation.attributes)
    made = body.finish("MaxPoolingWithArgmax2D", [x], outputs, attributes)
    build_call(operation, builder, made)


def _unpooling(operation: Operation, builder: Builder) -> None:
    window, body = pool_window(operation), Functional()
    formal = [ir.Value(name=name) for name in ("image", "indices")]
    output = unpooling(body, formal[0], formal[1], image_of(operation.input(0)), window)
    attributes = plain_attributes(operation.attributes)
    build_call(operation, builder, body.finish("MaxUnpooling2D", formal, [output], attributes))


KINDS = (
    Kind(name=CONVOLUTION, build=_convolution, roots=(), match=_no_match),
    Kind(
        name=POOLING,
        build=_pooling,
        roots=("w2e::MaxPoolingWithArgmax2D",),
        match=match_custom(POOLING),
    ),
    Kind(
        name=UNPOOLING,
        build=_unpooling,
        roots=("w2e::MaxUnpooling2D",),
        match=match_custom(UNPOOLING),
    ),
)
