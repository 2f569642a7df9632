"""Windows in the words of ONNX, on channels-first images: sizes, paddings, one-dimensional ones made two-dimensional."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.planes import padded
from w2e_bridge.graph.qdq_weights import shortest
from w2e_bridge.ir.encoding import WHOLE
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.window import Window
from w2e_bridge.passes.legalize.place import Place

Pads = tuple[int, ...]
"""All befores, then all afters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliding:
    """What a node that slides a window says.

    Attributes:
        window: size, strides, dilations.
        pads: explicit paddings; zeros where `auto` says them.
        auto: `auto_pad`.
        sizes: extents of space of the input, None where unknown.
    """

    window: Window
    pads: Pads
    auto: str
    sizes: tuple[int | None, ...]

    @property
    def rank(self) -> int:
        """Axes of space."""
        return len(self.window.kernel)

    @property
    def named(self) -> bool:
        """Whether runtimes have a name for the padding: none, or that of size / stride outputs."""
        if self.auto in ("SAME_UPPER", "VALID"):
            return True
        return self.auto == "NOTSET" and (
            not any(self.pads) or self.pads == self.window.same(self.sizes)
        )

    def numbers(self) -> Pads | None:
        """The paddings as numbers, None where they depend on unknown extents."""
        if self.auto == "NOTSET":
            return self.pads
        if self.auto == "VALID":
            return (0,) * (2 * self.rank)
        upper = self.window.same(self.sizes)
        if upper is None or self.auto == "SAME_UPPER":
            return upper
        return (*upper[self.rank :], *upper[: self.rank])  # the odd one in front


def sliding(place: Place, kernel: tuple[int, ...] | None = None) -> Sliding | None:
    """Read a node's window; None where it contradicts itself or its rank is not known.

    Args:
        place: the node.
        kernel: the size that its weights have.
    """
    said = place.integers("kernel_shape")
    size = tuple(said) if said is not None else kernel
    shape = place.shape(place.need(0))
    if size is None or shape is None or len(shape) != len(size) + 2 or min(size) < 1:
        return None
    rank = len(size)
    strides = tuple(place.integers("strides") or (1,) * rank)
    dilations = tuple(place.integers("dilations") or (1,) * rank)
    pads = tuple(place.integers("pads") or (0,) * (2 * rank))
    if len(strides) != rank or len(dilations) != rank or len(pads) != 2 * rank or min(pads) < 0:
        return None
    return Sliding(
        window=Window(kernel=size, strides=strides, dilations=dilations),
        pads=pads,
        auto=place.text("auto_pad", "NOTSET"),
        sizes=tuple(d if isinstance(d, int) else None for d in shape[2:]),
    )


def padded_image(place: Place, x: ir.Value, pads: Pads, value: float | None = None) -> ir.Value:
    """An image with explicit paddings around it, of zeros or of a number."""
    rank = len(pads) // 2
    whole = [0, 0, *pads[:rank], 0, 0, *pads[rank:]]
    fill = [] if value is None else [place.constant(np.asarray(value, np.float32))]
    return place.add("Pad", x, place.constant(whole), *fill)


def without_padding(place: Place) -> None:
    """Take the paddings out of a node."""
    for name in ("pads", "auto_pad"):
        place.node.attributes.pop(name, None)


def widened(place: Place, extra: int = 1) -> dict[str, object]:
    """A node's attributes with a further axis of space in front, along which nothing happens."""
    attributes: dict[str, object] = {}
    for name, attribute in place.node.attributes.items():
        if name in ("kernel_shape", "strides", "dilations", "output_shape"):
            attributes[name] = [1] * extra + list(attribute.as_ints())
        elif name in ("pads", "output_padding"):
            numbers = list(attribute.as_ints())
            half = len(numbers) // 2 if name == "pads" else len(numbers)
            attributes[name] = (
                [0] * extra
                + numbers[:half]
                + ([0] * extra + numbers[half:] if name == "pads" else [])
            )
        else:
            attributes[name] = attribute.value
    return attributes


def with_axis(tensor: Tensor, axis: int) -> Tensor:
    """A constant with an axis of extent 1 before its last one; its rows stay what they are."""
    shape = (*tensor.shape[:axis], 1, *tensor.shape[axis:])
    block = tensor.encoding.block
    if block is None or tensor.encoding.flat:
        return replace(tensor, shape=shape)
    extents = padded(block, len(tensor.shape))
    wide = shortest((*extents[:axis], WHOLE, *extents[axis:]))
    offset = tensor.encoding.offset
    if offset is not None and offset.block is not None:
        own = padded(offset.block, len(tensor.shape))
        offset = replace(offset, block=shortest((*own[:axis], WHOLE, *own[axis:])))
    return replace(
        tensor, shape=shape, encoding=replace(tensor.encoding, block=wide, offset=offset)
    )
