"""New codes from decoded values, where no exact way leads to a form: symmetric, a scale for each channel or block.

The scale of a channel or block is its largest magnitude over the largest code, rounded once to the form's type:
to float32; to the next power of two above (OCP Microscaling Formats 1.0, "shared scale", with the ceiling that
NVIDIA/Model-Optimizer takes so that nothing is cut off); or to a small float under one factor for all, which
is the largest of them over that type's largest number (likewise, NVFP4). A code is the value over the scale,
rounded half to even. A channel of zeros has scale 1. Where the source has a scale and that one is enough for
a whole channel or block, it is kept: then nothing is lost there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding, OffsetKind
from w2e_bridge.ir.parts import AnyArray, Parts, decode
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_bridge.negotiation.profile import Form

BLOCK = 32
"""Weights in a new block, where a form has blocks of it: fine enough for 4 bits, as ggml's."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """How far new codes are from the values that they stand for.

    Attributes:
        steps: the largest distance, in steps of its own scale.
        largest: the largest distance.
        rms: root of the mean square.
        snr: signal over noise in decibels.
    """

    steps: float
    largest: float
    rms: float
    snr: float

    def __str__(self) -> str:
        return f"max {self.largest:.3g}, RMS {self.rms:.3g}, SNR {self.snr:.1f} dB"


def target_of(form: Form, shape: tuple[int, ...], *, upright: bool = False) -> Encoding | None:
    """What a form would hold of new codes, None where new codes are not for it.

    Args:
        form: of the target.
        shape: of the tensor.
        upright: whether it is a matrix whose columns are outputs, rather than its rows.
    """
    if not form.requantize or form.codes is None or form.scale is None:
        return None
    rank, summed = len(shape), (shape or (1,))[0 if upright else -1]
    blocks = [b for b in form.blocks if b and summed % b == 0]
    if blocks:
        block = BLOCK if BLOCK in blocks else blocks[0]
        extents: tuple[int, ...] = (block, 1) if upright else (block,)
    elif form.blocks:
        return None
    elif upright:
        extents = (WHOLE, 1)
    elif form.per_tensor or rank < 2:
        extents = (WHOLE,) * max(rank, 1)
    else:
        extents = (1, *(WHOLE,) * (rank - 1))
    return Encoding(codes=form.codes, block=extents, scale=form.scale)


def _biased(encoding: Encoding) -> bool:
    """Whether values are no whole multiples of the scale."""
    offset = encoding.offset
    return offset is not None and offset.kind is not OffsetKind.ZERO_POINT


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantized:
    """A tensor in new codes.

    Attributes:
        tensor: the source.
        encoding: of `target_of`.
    """

    tensor: Tensor
    encoding: Encoding

    @property
    def result(self) -> Tensor:
        """The tensor in its new encoding; computed chunk by chunk."""
        source = self.tensor
        return Tensor(
            name=source.name,
            shape=source.shape,
            dtype=source.dtype,
            encoding=self.encoding,
            storage=ComputedStorage(compute=self.compute),
            order=source.order,
        )

    @property
    def _blocked(self) -> bool:
        block = self.encoding.block or ()
        return len(block) == 1 and block[0] != WHOLE

    @property
    def _upright(self) -> bool:
        block = self.encoding.block or ()
        return len(block) == 2 and block[0] != 1 and block[1] == 1

    @cached_property
    def _columns(self) -> Floats:
        """The scale of each column, (1, columns)."""
        source = self.tensor
        largest = np.zeros((1, source.columns), np.float32)
        for span in source.spans():
            rows = np.abs(source.decode_rows(*span)).max(axis=0, initial=0)
            largest = np.maximum(largest, rows[None])
        return self._scale(largest, np.zeros(1, np.float32))

    def _standing(self, start: int, stop: int) -> Floats:
        """The scale of each number of rows [start, stop) whose blocks are parts of columns."""
        assert self.encoding.block is not None
        block, source = self.encoding.block[0], self.tensor
        if block == WHOLE:
            return self._columns
        low, high = start // block * block, -(-stop // block) * block
        grouped = np.abs(source.decode_rows(low, min(high, source.rows)))
        each = grouped.reshape(-1, block, source.columns).max(axis=1, initial=0)
        scale = self._scale(each, np.zeros(1, np.float32))
        return np.repeat(scale, block, axis=0)[start - low : stop - low]

    @property
    def _reach(self) -> float:
        assert isinstance(self.encoding.codes, Integer | Float)
        return float(self.encoding.codes.high)

    @cached_property
    def _channels(self) -> Floats:
        """The scale of each row, (rows, 1): that of its index on the first axis, or one for all."""
        source = self.tensor
        largest = np.zeros(source.rows, np.float32)
        own = np.zeros(source.rows, np.float32)
        for start, stop in source.spans():
            largest[start:stop] = np.abs(source.decode_rows(start, stop)).max(axis=1, initial=0)
            own[start:stop] = self._own(start, stop)
        block = self.encoding.block or ()
        channels = source.shape[0] if len(block) == len(source.shape) and block[0] == 1 else 1
        if not source.rows or source.rows % channels:
            channels = 1
        each = largest.reshape(channels, -1).max(axis=1, initial=0)
        common = own.reshape(channels, -1)
        one = np.where((common == common[:, :1]).all(axis=1), common[:, 0], np.float32(0))
        return np.repeat(self._scale(each, one), source.rows // channels)[:, None]

    def _own(self, start: int, stop: int) -> Floats:
        """The scale that the source has for the whole of each row, 0 where it has more than one."""
        encoding = self.tensor.encoding
        none = np.zeros(stop - start, np.float32)
        plain = not isinstance(encoding.codes, Integer) or encoding.scale_divides
        if plain or encoding.scale is None or _biased(encoding):
            return none
        scale = self.tensor.storage.parts(start, stop).scale
        if scale is None:
            return none
        numbers = decode(encoding.scale, scale)
        same = (numbers == numbers[:, :1]).all(axis=1)
        found = np.where(same, np.abs(numbers[:, 0]), np.float32(0))
        return np.broadcast_to(found, none.shape)

    def _scale(self, largest: Floats, own: Floats) -> Floats:
        with np.errstate(all="ignore"):
            scale = (largest.astype(np.float64) / self._reach).astype(np.float32)
        if isinstance(self.encoding.codes, Integer):  # of floats no scale is a step
            scale = np.where((own > 0) & (largest <= own * np.float32(self._reach)), own, scale)
        return np.where(scale > 0, scale, np.float32(1))

    @cached_property
    def _factor(self) -> np.float32:
        """Of all scales, where they are small floats."""
        assert self.encoding.scale is not None
        assert isinstance(self.encoding.scale.codes, Float)
        source = self.tensor
        rows = (np.abs(source.decode_rows(*span)).max(initial=0) for span in source.spans())
        largest = max(rows, default=np.float32(0))
        factor = np.float32(float(largest) / (self._reach * self.encoding.scale.codes.high))
        return factor if factor > 0 else np.float32(1)

    def _held(self, scale: Floats) -> Parts:
        """Scales as the encoding holds them."""
        held = self.encoding.scale
        assert held is not None
        if held == FLOAT32:
            return Parts(codes=scale)
        assert isinstance(held.codes, Float)
        kind = numpy_type(PLAIN[str(held.codes)])
        if held.scale is None:
            powers = np.exp2(np.clip(np.ceil(np.log2(scale.astype(np.float64))), -127, 127))
            return Parts(codes=powers.astype(np.float32).astype(kind))
        small = np.clip(scale / self._factor, 0, held.codes.high).astype(kind)
        codes = np.where(small.astype(np.float32) > 0, small, np.ones((), kind))
        return Parts(codes=codes, scale=Parts(codes=np.full((1, 1), self._factor)))

    def compute(self, start: int, stop: int) -> Parts:
        """New codes and scales of rows [start, stop)."""
        values = self.tensor.decode_rows(start, stop)
        if self._blocked:
            assert self.encoding.block is not None
            grouped = values.reshape(values.shape[0], -1, self.encoding.block[0])
            scale = self._scale(np.abs(grouped).max(axis=2, initial=0), np.zeros(1, np.float32))
        elif self._upright:
            scale = self._standing(start, stop)
        else:
            scale = self._channels[start:stop]
        held = self._held(scale)
        return Parts(codes=self._codes(values / self._spread(held, values.shape[1])), scale=held)

    def _spread(self, held: Parts, columns: int) -> Floats:
        """The scale of each column, or one for a whole row."""
        assert self.encoding.scale is not None
        numbers = decode(self.encoding.scale, held)
        return np.repeat(numbers, columns // numbers.shape[1], axis=1) if self._blocked else numbers

    def _codes(self, steps: Floats) -> AnyArray:
        codes = self.encoding.codes
        if isinstance(codes, Integer):
            return np.clip(np.rint(steps), -self._reach, self._reach).astype(np.int8)
        kind = numpy_type(PLAIN[str(codes)])
        return np.clip(steps, -self._reach, self._reach).astype(kind)

    def error(self) -> Error:
        """The distance from the source; reads all of it, chunk by chunk."""
        largest = steps = noise = signal = 0.0
        for start, stop in self.tensor.spans():
            values = self.tensor.decode_rows(start, stop).astype(np.float64)
            parts = self.compute(start, stop)
            assert parts.scale is not None
            scale = self._spread(parts.scale, values.shape[1])
            gap = np.abs(parts.codes.astype(np.float64) * scale - values)
            largest = max(largest, float(gap.max(initial=0)))
            steps = max(steps, float((gap / scale).max(initial=0)))
            noise += float((gap**2).sum())
            signal += float((values**2).sum())
        count = max(1, self.tensor.elements)
        snr = 10 * math.log10(signal / noise) if noise and signal else math.inf
        return Error(steps=steps, largest=largest, rms=math.sqrt(noise / count), snr=snr)
