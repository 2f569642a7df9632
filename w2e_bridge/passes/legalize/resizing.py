"""Images of another size in ways that kernels do not have: by chosen pixels, and by products with matrices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import plain_tensor
from w2e_bridge.numerics.resizing import Sampling, nearest, nearest_of_onnx
from w2e_bridge.passes.layout.site import Dim
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule

PLAIN = ("half_pixel", "align_corners", "asymmetric")
"""Coordinates that kernels have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What becomes of an axis.

    Attributes:
        axis: its number.
        extent: before.
        size: after.
        scale: as the file says it, None where it says the size.
    """

    axis: int
    extent: int
    size: int
    scale: float | None

    @property
    def simple(self) -> bool:
        """Whether the scale is no other than size / extent."""
        return self.scale is None or np.float32(self.scale) == np.float32(self.size) / np.float32(
            self.extent
        )


def _axes(place: Place) -> list[Axis] | None:
    """The axes that change; None where that is not known beforehand."""
    shape = place.shape(place.need(0))
    if shape is None:
        return None
    chosen = place.integers("axes")
    axes = list(range(len(shape))) if chosen is None else [a % len(shape) for a in chosen]
    sizes, scales = place.array(place.input(3)), place.array(place.input(2))
    if sizes is not None and sizes.size == len(axes):
        found = [_sized(shape, a, int(n)) for a, n in zip(axes, sizes.reshape(-1), strict=True)]
    elif scales is not None and scales.size == len(axes):
        found = [_scaled(shape, a, float(s)) for a, s in zip(axes, scales.reshape(-1), strict=True)]
    else:
        return None
    changed = [
        f for f in found if f is not None and (f.extent != f.size or f.scale not in (None, 1.0))
    ]
    return None if None in found else changed


def _sized(shape: tuple[Dim, ...], axis: int, size: int) -> Axis | None:
    extent = shape[axis]
    return (
        Axis(axis=axis, extent=extent, size=size, scale=None) if isinstance(extent, int) else None
    )


def _scaled(shape: tuple[Dim, ...], axis: int, scale: float) -> Axis | None:
    extent = shape[axis]
    if scale == 1.0:
        known = extent if isinstance(extent, int) else 1
        return Axis(axis=axis, extent=known, size=known, scale=1.0)
    if not isinstance(extent, int):
        return None
    size = int(np.floor(np.float32(extent) * np.float32(scale)))
    return Axis(axis=axis, extent=extent, size=size, scale=scale)


def resize(place: Place) -> bool:
    """A Resize that is no kernel.

    before: Resize(x) of any rank, coordinates, filter or rounding, its extents known.
    after: nearest: Gather(x, pixels) along each axis; linear and cubic: a product with the matrix of its
        weights along each axis. Along one axis of space, a Resize of images of height 1.
    why exact: a resized axis is a linear map, and these are its numbers.
    """
    axes, mode = _axes(place), place.text("mode", "nearest")
    plain = place.text("keep_aspect_ratio_policy", "stretch") == "stretch"
    coordinates = place.text("coordinate_transformation_mode", "half_pixel")
    if axes is None or not plain or coordinates == "tf_crop_and_resize":
        return False
    if not axes:
        return place.replace(place.add("Identity", place.need(0)))
    if _is_kernel(place, axes, mode, coordinates):
        return False
    if (
        mode == "linear"
        and coordinates in PLAIN
        and [a.axis for a in axes] == [2]
        and place.rank(place.need(0)) == 3
    ):
        return _as_image(place, axes[0])
    value = place.need(0)
    for axis in axes:
        made = _chosen(place, value, axis) if mode == "nearest" else _product(place, value, axis)
        if made is None:
            return False
        value = made
    return place.replace(value)


def _is_kernel(place: Place, axes: list[Axis], mode: str, coordinates: str) -> bool:
    """Whether it is one of the two kernels of images."""
    inside = place.rank(place.need(0)) == 4 and {a.axis for a in axes} <= {2, 3}
    if not inside or not all(a.simple for a in axes):
        return False
    if mode == "nearest":
        return any(all(_same_pixels(place, a, s) for a in axes) for s in _SAMPLINGS)
    special = place.integer("antialias") or place.integer("exclude_outside")
    if coordinates == "pytorch_half_pixel":
        coordinates = "half_pixel" if all(a.size > 1 for a in axes) else ""
    return mode == "linear" and coordinates in PLAIN and not special


_SAMPLINGS = (
    Sampling(),
    Sampling(half_pixel_centers=True),
    Sampling(align_corners=True),
    Sampling(align_corners=True, half_pixel_centers=True),
)


def _same_pixels(place: Place, axis: Axis, sampling: Sampling) -> bool:
    wanted = _pixels(place, axis)
    return (
        wanted is not None and nearest(axis.extent, axis.size, sampling).tolist() == wanted.tolist()
    )


def _pixels(place: Place, axis: Axis) -> AnyArray | None:
    """The pixels that the nearest ones are."""
    coordinates = place.text("coordinate_transformation_mode", "half_pixel")
    rounding = place.text("nearest_mode", "round_prefer_floor")
    if axis.simple:
        return nearest_of_onnx(axis.extent, axis.size, coordinates, rounding)
    weights = _weights(place, axis)
    return None if weights is None else weights.argmax(0)


def _chosen(place: Place, value: ir.Value, axis: Axis) -> ir.Value | None:
    pixels = _pixels(place, axis)
    if pixels is None:
        return None
    return place.add("Gather", value, place.constant(pixels), attributes={"axis": axis.axis})


def _product(place: Place, value: ir.Value, axis: Axis) -> ir.Value | None:
    weights, rank = _weights(place, axis), place.rank(place.need(0))
    if weights is None or rank is None:
        return None
    perm = [a for a in range(rank) if a != axis.axis] + [axis.axis]
    last = axis.axis == rank - 1
    if not last:
        value = place.add("Transpose", value, attributes={"perm": perm})
    matrix = place.weight(plain_tensor(f"{name_of(place.output)}.weights", weights))
    value = place.add("MatMul", value, matrix)
    if not last:
        value = place.add(
            "Transpose", value, attributes={"perm": [perm.index(a) for a in range(rank)]}
        )
    return value


def _weights(place: Place, axis: Axis) -> AnyArray | None:
    """How much of each pixel is in each of the resized axis, (extent, size): what unit pulses become."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    attributes = {n: a.value for n, a in place.node.attributes.items() if n != "axes"}
    inputs = ["x", "", "scales"] if axis.scale is not None else ["x", "", "", "sizes"]
    node = helper.make_node("Resize", inputs, ["y"], axes=[1], **attributes)
    one = np.eye(axis.extent, dtype=np.float32)
    feeds: dict[str, AnyArray] = {"x": one}
    if axis.scale is not None:
        feeds["scales"] = np.asarray([axis.scale], np.float32)
    else:
        feeds["sizes"] = np.asarray([axis.size], np.int64)
    try:
        (found,) = ReferenceEvaluator(node).run(None, feeds)
    except Exception:  # a filter that the reference doesn't have
        return None
    weights: AnyArray = np.asarray(found, np.float32)
    return weights if weights.shape == (axis.extent, axis.size) else None


def _as_image(place: Place, axis: Axis) -> bool:
    """One axis of space as an image of height 1."""
    x = place.add("Unsqueeze", place.need(0), place.constant([2]))
    attributes = {n: a.value for n, a in place.node.attributes.items() if n != "axes"}
    shape = place.shape(place.need(0)) or ()
    if not all(isinstance(n, int) for n in shape):
        scales = place.constant(np.array([1, 1, 1, axis.size / axis.extent], np.float32))
        made = place.add("Resize", x, None, scales, attributes=attributes)
    else:
        sizes = [n for n in shape[:2] if isinstance(n, int)]
        target = place.constant([*sizes, 1, axis.size])
        made = place.add("Resize", x, None, None, target, attributes=attributes)
    return place.replace(place.add("Squeeze", made, place.constant([2])))


RULES: Mapping[str, tuple[Rule, ...]] = {"Resize": (resize,)}
