"""Images as vectors: a product that reads one takes its channels last, as its maker has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_op
from w2e_bridge.ir.codes import Float
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_bridge.passes.legalize.encodings import scales_of
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule

_IMAGES = ("Conv", "ConvTranspose", "MaxPool", "AveragePool", "Resize")
_EACH = (
    "Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Gelu",
    "Add", "Sub", "Mul", "Div", "Identity", "BatchNormalization",
)  # fmt: skip
_DEPTH = 12


def flattened(place: Place) -> bool:
    """A product of an image as a vector.

    before: Gemm(Reshape(x: NCHW → (n, c·h·w)), W: (out, c·h·w)), or a MatMul with such weights.
    after: Gemm(Reshape(Transpose(x: NCHW → NHWC)), W'), the columns of W in the order of the numbers.
    why exact: the same products are added. Layout takes the Transpose out where channels are last anyway.
    """
    flat, (holder, slot) = place.need(0), _holder(place)
    maker, tensor = flat.producer(), place.tensor(holder.inputs[slot])
    if (
        maker is None
        or tensor is None
        or not any(is_op(maker, op) for op in ("Reshape", "Flatten"))
    ):
        return False
    x = maker.inputs[0]
    shape = place.shape(x)
    if x is None or shape is None or len(shape) != 4 or not _alone(place, flat) or not _image(x):
        return False
    c, h, w = shape[1:]
    if not (isinstance(c, int) and isinstance(h, int) and isinstance(w, int)):
        return False
    if c == 1 or h * w == 1 or place.rank(flat) != 2 or tensor.shape[1:] != (c * h * w,):
        return False
    made = _channels_last(tensor, (c, h, w))
    if made is None:
        return False
    holder.replace_input_with(slot, place.weight(made))
    maker.replace_input_with(0, place.add("Transpose", x, attributes={"perm": [0, 2, 3, 1]}))
    return True


def _holder(place: Place) -> tuple[ir.Node, int]:
    """The node that reads weights of (out, in), and where."""
    if is_op(place.node, "Gemm"):
        return place.node, 1 if place.integer("transB") else 0
    maker = place.need(1).producer()
    two = place.rank(place.need(1)) == 2
    return (
        (maker, 0) if maker is not None and is_op(maker, "Transpose") and two else (place.node, 0)
    )


def _alone(place: Place, flat: ir.Value) -> bool:
    return len(flat.uses()) == 1 and not flat.is_graph_output() and flat.graph is place.node.graph


def _image(value: ir.Value, depth: int = 0) -> bool:
    """Whether channels-last kernels make a value."""
    maker = value.producer()
    if maker is None or depth > _DEPTH:
        return False
    if any(is_op(maker, op) for op in _IMAGES):
        return True
    each = any(is_op(maker, op) for op in _EACH)
    return each and any(_image(v, depth + 1) for v in maker.inputs if v is not None)


def _channels_last(tensor: Tensor, image: tuple[int, int, int]) -> Tensor | None:
    """Rows of weights for an image whose channels are last; None where numbers of a row share scales."""
    scales = scales_of(tensor)
    plain = tensor.encoding.scale is None and isinstance(tensor.encoding.codes, Float)
    if not plain and (scales is None or scales.axis not in (None, 0)):
        return None

    def compute(start: int, stop: int) -> Parts:
        parts = tensor.storage.parts(start, stop)
        codes = parts.codes.reshape(-1, *image).transpose(0, 2, 3, 1)  # (rows, h, w, c)
        return replace(parts, codes=codes.reshape(parts.codes.shape))

    return replace(tensor, storage=ComputedStorage(compute=compute))


RULES: Mapping[str, tuple[Rule, ...]] = {"Gemm": (flattened,), "MatMul": (flattened,)}
