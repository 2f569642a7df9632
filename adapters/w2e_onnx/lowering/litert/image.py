"""Images of another size, on codes.

Measured over sizes from 1 x 4 to 64 x 64, up and down, all flags, two zero points: 0 of 161 056 codes differ
for each type, flag and set of kernels. The bilinear kernels are four:

- XNNPACK (default, 8 bits): weights of 11 bits, the sum rounded half up. Equal for codes moved by 128.
- reference, int8, and int16 of both sets: coordinates of 10 bits, the sum of raw codes rounded half away
  from zero.
- reference, uint8: float32, 0.5 added, cut off.

Zero points play no part: tflite/kernels/internal/reference/resize_bilinear.h, google/XNNPACK
src/s8-ibilinear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.kernels.image import MODES, PLANE, sampling_of, scaling
from w2e_bridge.numerics.resizing import (
    Blend,
    Sampling,
    blend_of_integers,
    blend_of_onnx,
    blend_of_reals,
    blend_of_xnnpack,
    nearest,
    nearest_of_bytes,
)
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.rules import NotHere, Rule

EXACT = 24
"""Bits of an integer that float32 holds."""

Axis = tuple[int, int]
"""Extent and size."""
Array = NDArray[Any]


def _plane(call: Call) -> list[Axis]:
    """Extents and sizes of the two axes that change."""
    shape, size = call.operand(0).shape, call.operand(1)
    if shape is None or len(shape) != 4 or (size.tensor is None and size.numbers is None):
        raise NotHere("a size computed at run time")
    sizes = [int(n) for n in size.array().reshape(-1)]
    extents = [n for n in shape[1:3] if isinstance(n, int)]
    if len(extents) != 2:
        raise NotHere("an image of unknown extent")
    return list(zip(extents, sizes, strict=True))


def codes_of(call: Call) -> ir.Value:
    """The image's codes as they travel."""
    value = call.operand(0).value
    assert value is not None
    return value


def _nearest(call: Call) -> Sequence[ir.Value]:
    """Pixels chosen along one axis after the other."""
    sampling, slot = sampling_of(call.operation), call.operand(0)
    of_bytes = not call.reference and slot.type in ("int8", "uint8")
    choose = nearest_of_bytes if of_bytes else nearest
    value = codes_of(call)
    for axis, (extent, size) in zip(PLANE, _plane(call), strict=True):
        chosen = choose(extent, size, sampling)
        if extent != size or (chosen != np.arange(extent)).any():
            indices = call.constant("pixels", chosen)
            value = call.add("Gather", [value, indices], {"axis": axis})
    return [value]


def _bilinear(call: Call) -> Sequence[ir.Value]:
    slot, plane = call.operand(0), _plane(call)
    if sampling_of(call.operation) not in MODES:
        raise NotHere("both align_corners and half_pixel_centers")
    if slot.type == "uint8" and call.reference:
        return [_reals(call, plane)]
    if slot.type in ("int8", "uint8") and not call.reference:
        return [_half_up(call, plane)]
    if slot.type in ("int8", "int16"):
        return [_half_away(call, plane)]
    raise NotHere(f"resize_bilinear of {slot.type}")


def _half_up(call: Call, plane: Sequence[Axis]) -> ir.Value:
    """XNNPACK's kernel. Codes as they travel are not negative, so that cutting off is rounding down."""
    mix = _mixed(call, plane, blend_of_xnnpack, 8)
    total = mix.run(call.cast(codes_of(call), mix.dtype))
    if mix.real:
        total = call.add("Add", [total, call.literal(np.float32(0.5))])
    elif mix.bits:
        total = call.add("Add", [total, mix.number(1 << mix.bits - 1)])
        total = call.add("Div", [total, mix.number(1 << mix.bits)])
    return call.cast(total, "uint8")


def _half_away(call: Call, plane: Sequence[Axis]) -> ir.Value:
    """The kernel without real numbers, on codes as the operation has them."""
    slot = call.operand(0)
    mix = _mixed(call, plane, blend_of_integers, 8 if slot.type == "int8" else 16)
    codes = call.cast(codes_of(call), mix.dtype)
    shift = mix.number(slot.shift)
    total = mix.run(call.add("Sub", [codes, shift]) if slot.shift else codes)
    if mix.bits:
        half = np.float32(0.5) if mix.real else 1 << mix.bits - 1
        nudge = call.add("Mul", [call.add("Sign", [total]), mix.number(half)])
        total = call.add("Add", [total, nudge])
    # Division of integers and Cast both cut off towards zero.
    if mix.bits and not mix.real:
        total = call.add("Div", [total, mix.number(1 << mix.bits)])
    if slot.shift:
        wide = call.cast(total, "int32")
        total = call.add("Add", [wide, call.literal(np.asarray(slot.shift, np.int32))])
    return call.cast(total, slot.carried)


def _reals(call: Call, plane: Sequence[Axis]) -> ir.Value:
    """The reference kernel of unsigned codes: four products in its own order."""
    sampling = sampling_of(call.operation)
    rows, columns = (blend_of_reals(n, size, sampling) for n, size in plane)
    x = call.cast(codes_of(call), "float32")
    mix = Mix(call=call, blends=(rows, columns), dtype="float32")
    terms = []
    for column, by_column in mix.parts(columns):
        for row, by_row in mix.parts(rows):
            pixels = mix.pixels(mix.pixels(x, row, PLANE[0]), column, PLANE[1])
            weighed = call.add("Mul", [pixels, mix.weights(by_row, PLANE[0])])
            terms.append(call.add("Mul", [weighed, mix.weights(by_column, PLANE[1])]))
    total = terms[0]
    for term in (*terms[1:], call.literal(np.float32(0.5))):
        total = call.add("Add", [total, term])
    return call.cast(total, "uint8")


def _mixed(
    call: Call, plane: Sequence[Axis], kernel: Callable[[int, int, Sampling], Blend], magnitude: int
) -> Mix:
    """The sums of a kernel in the cheapest type that has them exactly."""
    sampling = sampling_of(call.operation)
    rows, columns = (kernel(extent, size, sampling).reduced() for extent, size in plane)
    bits = magnitude + rows.bits + columns.bits
    dtype = "float32" if bits <= EXACT else "int32" if bits < 32 else "int64"
    mode, _ = MODES[sampling]
    others = (blend_of_onnx(extent, size, mode) for extent, size in plane)
    pairs = zip((rows, columns), others, strict=True)
    standard = all(other is not None and blend.same(other) for blend, other in pairs)
    # At the border, Resize takes two halves of one pixel: a bit more along each axis.
    factors = tuple(factor for n, size in plane if (factor := scaling(n, size)) is not None)
    direct = standard and bits <= EXACT - 2 and len(factors) == len(plane)
    whole = mode if direct else ""
    return Mix(call=call, blends=(rows, columns), dtype=dtype, mode=whole, factors=factors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Weighted sums of pixels along the two axes in numbers of one type.

    Attributes:
        call: takes the nodes.
        blends: of rows and columns.
        dtype: "float32", "int32" or "int64"; the weights are fractions in the first, whole in the others.
        mode: coordinates with which ONNX's Resize has these very weights, "" where it hasn't.
        factors: of the plane's extents.
    """

    call: Call
    blends: tuple[Blend, Blend]
    dtype: str
    mode: str = ""
    factors: tuple[float, ...] = ()

    @property
    def bits(self) -> int:
        """Behind the point of the sums."""
        return sum(blend.bits for blend in self.blends)

    @property
    def real(self) -> bool:
        """Whether sums are the numbers themselves, not in units of 2^-bits."""
        return self.dtype == "float32"

    def number(self, number: float | np.float32) -> ir.Value:
        """A number in the type of the sums."""
        return self.call.literal(np.asarray(number, self.dtype))

    def run(self, codes: ir.Value) -> ir.Value:
        """The sums."""
        if self.mode and self.bits:
            scales = self.call.constant("factors", np.asarray([1, *self.factors, 1], np.float32))
            attributes = {"mode": "linear", "coordinate_transformation_mode": self.mode}
            return self.call.add("Resize", [codes, None, scales], attributes)
        value = codes
        for axis, blend in zip(PLANE, self.blends, strict=True):
            value = self.along(value, axis, blend)
        return value

    def along(self, value: ir.Value, axis: int, blend: Blend) -> ir.Value:
        """The sums along one axis."""
        if not blend.bits:
            chosen = np.where(blend.weight != 0, blend.high, blend.low)
            return self.pixels(value, chosen, axis)
        low, high = (
            self.call.add("Mul", [self.pixels(value, chosen, axis), self.weights(weight, axis)])
            for chosen, weight in self.parts(blend)
        )
        return self.call.add("Add", [low, high])

    def parts(self, blend: Blend) -> list[tuple[Array, Array]]:
        """The pixels and the weights of both terms."""
        one = np.float32(1) if blend.weight.dtype == np.float32 else 1 << blend.bits
        return [(blend.low, one - blend.weight), (blend.high, blend.weight)]

    def pixels(self, value: ir.Value, chosen: Array, axis: int) -> ir.Value:
        """Rows or columns of an image."""
        indices = self.call.constant("pixels", chosen)
        return self.call.add("Gather", [value, indices], {"axis": axis})

    def weights(self, weights: Array, axis: int) -> ir.Value:
        """Factors of rows or columns."""
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        whole = np.issubdtype(weights.dtype, np.integer)
        blend = self.blends[PLANE.index(axis)]
        numbers = weights / (1 << blend.bits) if whole and self.real else weights
        return self.call.constant("weights", numbers.astype(self.dtype).reshape(shape))


RULES: Mapping[str, Rule] = {"resize_bilinear": _bilinear, "resize_nearest_neighbor": _nearest}
