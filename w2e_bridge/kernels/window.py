"""Windows that slide over an image: sizes, strides, dilations and the two paddings of TensorFlow Lite.

Padding "SAME" makes ceil(size / stride) outputs and puts the odd one of its zeros behind
(tensorflow/lite/kernels/padding.h), which is ONNX's SAME_UPPER. Where a graph's extents are known it is
written as numbers (`pads`), which every runtime reads, with dilations too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.reading import text
from w2e_bridge.kernels.scope import attribute

AXES = {2: ("h", "w"), 3: ("d", "h", "w")}
"""How TensorFlow Lite's options name the axes of an image and of a volume."""

Sizes = tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window; all lists have an entry for each axis of space.

    Attributes:
        kernel: its size.
        strides: steps between places.
        dilations: distance of its taps.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    def same(self, sizes: Sizes) -> tuple[int, ...] | None:
        """Padding "SAME" of an image as ONNX's `pads`; None where it depends on unknown extents."""
        before, after = [], []
        for size, kernel, stride, dilation in zip(
            sizes, self.kernel, self.strides, self.dilations, strict=True
        ):
            taps = (kernel - 1) * dilation + 1
            if size is None and stride != 1:
                return None
            total = (
                taps - 1
                if size is None
                else max((-(-size // stride) - 1) * stride + taps - size, 0)
            )
            before.append(total // 2)
            after.append(total - total // 2)
        return (*before, *after)


def spatial(value: ir.Value | None, rank: int) -> Sizes:
    """The extents of a channels-last value's axes of space, None where unknown."""
    if value is None or value.shape is None or len(value.shape) != rank + 2:
        return (None,) * rank
    return tuple(d if isinstance(d, int) else None for d in value.shape[1:-1])


def window_of(operation: Operation, kernel: Sequence[int]) -> Window:
    """The window of an operation whose options say strides and dilations.

    Raises:
        UnsupportedError: a number that is no step.
    """
    names = AXES[len(kernel)]
    strides = tuple(operation.integer(f"stride_{n}", 1) for n in names)
    dilations = tuple(operation.integer(f"dilation_{n}_factor", 1) for n in names)
    if min(*strides, *dilations, *kernel) < 1:
        raise UnsupportedError(f"a window {kernel} with strides {strides}, dilations {dilations}")
    return Window(kernel=tuple(kernel), strides=strides, dilations=dilations)


def padding_attributes(
    window: Window, padding: str, sizes: Sizes
) -> dict[str, str | tuple[int, ...]]:
    """What ONNX says for a padding.

    Where "SAME" adds nothing it is said by name all the same, so that a reader finds it again.

    Raises:
        UnsupportedError: dilations with extents that are known at run time only.
    """
    if padding == "VALID":
        return {}
    pads = window.same(sizes)
    if pads is not None and any(pads):
        return {"pads": pads}
    if pads is None and max(window.dilations) > 1:
        raise UnsupportedError(
            "padding SAME of a dilated window over extents known at run time only"
        )
    return {} if max(window.dilations) > 1 else {"auto_pad": "SAME_UPPER"}


def window_attributes(window: Window) -> dict[str, tuple[int, ...]]:
    """What ONNX says of a window beside its padding; ones are left out where that is the default."""
    said = {"kernel_shape": window.kernel, "strides": window.strides}
    if max(window.dilations) > 1:
        said["dilations"] = window.dilations
    return said


def options(window: Window, *, dilated: bool = True) -> dict[str, int]:
    """What TensorFlow Lite's options say of a window."""
    names = AXES[len(window.kernel)]
    said = {f"stride_{n}": s for n, s in zip(names, window.strides, strict=True)}
    if dilated:
        said |= {f"dilation_{n}_factor": d for n, d in zip(names, window.dilations, strict=True)}
    return said


def window_in(node: ir.Node, kernel: Sequence[int]) -> Window | None:
    """The window of an ONNX node, None where its attributes contradict the kernel."""
    rank = len(kernel)
    said = attribute(node, "kernel_shape", tuple(kernel))
    strides = attribute(node, "strides", (1,) * rank)
    dilations = attribute(node, "dilations", (1,) * rank)
    lists = [said, strides, dilations]
    if said != tuple(kernel) or any(not isinstance(x, tuple) or len(x) != rank for x in lists):
        return None
    return Window(kernel=tuple(kernel), strides=strides, dilations=dilations)  # type: ignore[arg-type]


def padding_in(node: ir.Node, window: Window, sizes: Sizes) -> str | None:
    """The padding of an ONNX node by name, None where TensorFlow Lite has no name for it."""
    auto = text(node, "auto_pad", "NOTSET")
    if auto == "SAME_UPPER":
        return "SAME"
    if auto not in ("NOTSET", "VALID"):
        return None
    pads = attribute(node, "pads", (0,) * 2 * len(window.kernel))
    if auto == "VALID" or not isinstance(pads, tuple) or not any(pads):
        return "VALID"
    return "SAME" if pads == window.same(sizes) else None
