"""Images of another size: bilinear and nearest neighbour."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.kernels.build import TO_FIRST, TO_LAST, Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.kernels.reading import (
    Extents,
    chosen,
    extents,
    inside,
    int32,
    integers,
    number,
    text,
)
from w2e_bridge.kernels.scope import Image, Scope, image
from w2e_bridge.kernels.shape import single
from w2e_bridge.kernels.vectors import entries_of
from w2e_bridge.numerics.resizing import Sampling, nearest, nearest_of_onnx

MODES = {
    Sampling(): ("asymmetric", "floor"),
    Sampling(half_pixel_centers=True): ("half_pixel", "round_prefer_ceil"),
    Sampling(align_corners=True): ("align_corners", "round_prefer_ceil"),
}
"""Coordinates of ONNX's Resize, and the rounding for the nearest neighbour."""
BOTH = Sampling(align_corners=True, half_pixel_centers=True)
"""Which only the nearest neighbour has, and ONNX has no word for."""
PLANE = (1, 2)
"""The axes of a channels-last image that change."""


def sampling_of(operation: Operation) -> Sampling:
    """The attributes that both kinds have."""
    return Sampling(
        align_corners=bool(operation.integer("align_corners")),
        half_pixel_centers=bool(operation.integer("half_pixel_centers")),
    )


def _said(sampling: Sampling) -> dict[str, bool]:
    return {
        "align_corners": sampling.align_corners,
        "half_pixel_centers": sampling.half_pixel_centers,
    }


def _resize(operation: Operation, builder: Builder, attributes: Mapping[str, object]) -> None:
    x = builder.value(operation.inputs[0])
    first = builder.node("Transpose", [x], {"perm": TO_FIRST})
    sizes = sizes_of(operation, builder, first)
    made = builder.node("Resize", [first, None, None, sizes], attributes)
    builder.node("Transpose", [made], {"perm": TO_LAST}, outputs=operation.outputs)


def sizes_of(operation: Operation, builder: Builder, image: ir.Value) -> ir.Value:
    """The input `sizes` of a Resize of a channels-first image.

    The attribute `axes` would spare what isn't known of the rest, but ONNX Runtime (1.32) moves a Transpose
    across a Resize as if there were none.
    """
    size, shape = builder.array(operation.inputs[1]), extents(operation.inputs[0])
    rest = [] if shape is None else [n for n in (shape[0], shape[3]) if n is not None]
    if size is not None and len(rest) == 2:
        return builder.integers("sizes", [*rest, *(int(n) for n in size.reshape(-1))])
    wide = builder.as_int64(operation.inputs[1], "size")
    first = builder.node("Shape", [image], {"start": 0, "end": 2})
    return builder.node("Concat", [first, wide], {"axis": 0})


def scaling(extent: int | None, size: int | None) -> float | None:
    """A factor of float32 that takes an extent to a size, None where it is not known or there is none."""
    if size is None:
        return 1.0
    if extent is None:
        return None
    factor = np.float32(size) / np.float32(extent)
    return float(factor) if int(factor * np.float32(extent)) == size else None


def _bilinear(operation: Operation, builder: Builder) -> None:
    sampling = sampling_of(operation)
    if sampling not in MODES:
        raise UnsupportedError("resize_bilinear with both align_corners and half_pixel_centers")
    coordinates, _ = MODES[sampling]
    attributes = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    _resize(operation, builder, attributes)


def _nearest(operation: Operation, builder: Builder) -> None:
    sampling, x = sampling_of(operation), builder.value(operation.inputs[0])
    size, shape = builder.array(operation.inputs[1]), extents(x)
    plane = [] if shape is None or size is None else [shape[axis] for axis in PLANE]
    known = [n for n in plane if n is not None]
    if size is None or len(known) != 2:
        coordinates, rounding = MODES.get(sampling, MODES[Sampling(align_corners=True)])
        if sampling == BOTH:
            raise UnsupportedError("resize_nearest_neighbor of both flags and unknown extents")
    else:
        sizes = [int(n) for n in size.reshape(-1)]
        if not _standard(known, sizes, sampling):
            _gathers(operation, builder, known, sizes)
            return
        coordinates, rounding = MODES[sampling]
    attributes = {
        "mode": "nearest",
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    _resize(operation, builder, attributes)


def _standard(plane: list[int], sizes: list[int], sampling: Sampling) -> bool:
    """Whether ONNX's Resize chooses the same pixels: its coordinates are rounded another way."""
    if sampling not in MODES:
        return False
    return all(
        nearest(extent, size, sampling).tolist() == _of_onnx(extent, size, *MODES[sampling])
        for extent, size in zip(plane, sizes, strict=True)
    )


def _of_onnx(extent: int, size: int, coordinates: str, rounding: str) -> list[int] | None:
    found = nearest_of_onnx(extent, size, coordinates, rounding)
    return None if found is None else [int(n) for n in found]


def _gathers(operation: Operation, builder: Builder, plane: list[int], sizes: list[int]) -> None:
    value, sampling = builder.value(operation.inputs[0]), sampling_of(operation)
    for axis, extent, size in zip(PLANE, plane, sizes, strict=True):
        pixels = [int(n) for n in nearest(extent, size, sampling)]
        inputs = [value, builder.integers("pixels", pixels)]
        outputs = operation.outputs if axis == PLANE[-1] else None
        value = builder.node("Gather", inputs, {"axis": axis}, outputs=outputs)


def _size(found: Image, scope: Scope) -> Operand:
    """The operand that says height and width; None where a Resize says it in no such way."""
    node = found.node
    if text(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    axes = node.attributes.get("axes")
    changed = [0, 1, 2, 3] if axes is None else list(axes.as_ints())
    sizes = given(node, 3)
    if sizes is None:
        scales = scope.array(given(node, 2))
        held = None if scales is None else dict(zip(changed, scales.tolist(), strict=True))
        return _scaled(held, extents(found.x))
    numbers = integers(sizes, scope)
    if numbers is None:
        return _joined(found, scope)
    result = dict(zip(changed, numbers, strict=True))
    return int32("size", [result[2], result[3]]) if {2, 3} <= set(result) else None


def _joined(found: Image, scope: Scope) -> Operand:
    """The plane's size of `sizes` that begin with the batch and the channels of the image."""
    entries = entries_of(given(found.node, 3), scope)
    if entries is None or len(entries) != 4:
        return None
    shape = extents(found.x)
    for entry, first, last in ((entries[0], 0, 0), (entries[1], 1, 3)):
        own = (found.node.inputs[0], first), (found.x, last)
        same = shape is not None and shape[last] is not None and entry == shape[last]
        if not same and entry not in own:
            return None
    height, width = entries[2:]
    if isinstance(height, int) and isinstance(width, int):
        return int32("size", [height, width])
    if isinstance(height, int) or isinstance(width, int) or height[0] is not width[0]:
        return None
    whole = extents(height[0]) == (2,) and (height[1], width[1]) == (0, 1)
    return scope.as_int32(height[0], "size") if whole else None


def _scaled(scales: dict[int, float] | None, shape: Extents | None) -> Operand:
    """Scales that come to the sizes that they are the quotients of."""
    if scales is None or shape is None or any(scales.get(axis, 1.0) != 1.0 for axis in (0, 1)):
        return None
    sizes = []
    for axis, last in ((2, 1), (3, 2)):
        extent, scale = shape[last], np.float32(scales.get(axis, 1.0))
        size = None if extent is None else int(np.float32(extent) * scale)
        if size is None or scaling(extent, size) != float(scale):
            return None
        sizes.append(size)
    return int32("size", sizes)


def _match_bilinear(root: ir.Node, scope: Scope) -> Operation | None:
    found = image(root, scope, "Resize")
    if found is None or text(found.node, "mode", "nearest") != "linear":
        return None
    node = found.node
    coordinates = text(node, "coordinate_transformation_mode", "half_pixel")
    plain = not number(node, "antialias", 0) and not number(node, "exclude_outside", 0)
    sampling = next((s for s, (mode, _) in MODES.items() if mode == coordinates), None)
    size = _size(found, scope)
    if coordinates == "pytorch_half_pixel" and 1 not in (extents(root.outputs[0]) or (1,))[1:3]:
        sampling = Sampling(half_pixel_centers=True)
    if sampling is None or size is None or not plain:
        return None
    inputs = (found.x, size)
    return single(
        "resize_bilinear",
        root,
        inputs,
        _said(sampling),
        found.nodes[:-1],
    )


def _match_nearest(root: ir.Node, scope: Scope) -> Operation | None:
    if root.op_type == "Gather":
        return _match_gathers(root, scope)
    found = image(root, scope, "Resize")
    if found is None or text(found.node, "mode", "nearest") != "nearest":
        return None
    node, size = found.node, _size(found, scope)
    mode = text(node, "coordinate_transformation_mode", "half_pixel")
    rounding = text(node, "nearest_mode", "round_prefer_floor")
    sampling = next((s for s, said in MODES.items() if said == (mode, rounding)), None)
    sizes, shape = (None if size is None else scope.array(size)), extents(found.x)
    if sizes is not None and shape is not None and None not in shape[1:3]:
        pairs = [(n, int(s)) for n, s in zip(shape[1:3], sizes, strict=True) if n is not None]
        wanted = [_of_onnx(n, s, mode, rounding) for n, s in pairs]
        sampling = _same(pairs, wanted, mode)
    if sampling is None or size is None:
        return None
    inputs = (found.x, size)
    return single(
        "resize_nearest_neighbor",
        root,
        inputs,
        _said(sampling),
        found.nodes[:-1],
    )


def _same(
    pairs: list[tuple[int, int]], wanted: list[list[int] | None], mode: str = ""
) -> Sampling | None:
    """The flags with which the same pixels are chosen, those of the same coordinates first."""
    own = [sampling for sampling, (name, _) in MODES.items() if name == mode]
    for sampling in (*own, *MODES, BOTH):
        if [nearest(extent, size, sampling).tolist() for extent, size in pairs] == wanted:
            return sampling
    return None


def _match_gathers(root: ir.Node, scope: Scope) -> Operation | None:
    """Read what `_gathers` writes."""
    inner = inside(root, 0, scope, "Gather")
    x = None if inner is None else given(inner, 0)
    shape = extents(x)
    if inner is None or shape is None or len(shape) != 4 or None in shape[1:3]:
        return None
    nodes = (inner, root)
    if tuple(number(node, "axis", 0) for node in nodes) != PLANE:
        return None
    wanted = [chosen(node, scope) for node in nodes]
    sizes = [len(pixels) for pixels in wanted if pixels]
    plane = [n for n in shape[1:3] if n is not None]
    if len(sizes) != 2:
        return None
    sampling = _same(list(zip(plane, sizes, strict=True)), wanted)
    if sampling is None or _standard(plane, sizes, sampling):
        return None
    inputs = (x, int32("size", sizes))
    return single("resize_nearest_neighbor", root, inputs, _said(sampling), (inner,))


KINDS = (
    Kind(name="resize_bilinear", build=_bilinear, roots=("Transpose",), match=_match_bilinear),
    Kind(
        name="resize_nearest_neighbor",
        build=_nearest,
        roots=("Transpose", "Gather"),
        match=_match_nearest,
    ),
)
