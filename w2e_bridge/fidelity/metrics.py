"""How far apart two arrays of numbers are, added up chunk by chunk."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from w2e_bridge.ir.parts import AnyArray, decode
from w2e_bridge.ir.tensor import Tensor


@dataclass(slots=True, kw_only=True)
class Difference:
    """Sums over pairs of numbers (reference, other).

    Attributes:
        count: pairs seen.
        equal: pairs that are the same number (0 = -0, NaN = NaN).
        same_bits: pairs whose bits are the same too.
        max_abs: largest distance; infinite where only one of a pair is finite.
        error: sum of squared distances. signal: sum of squares of the reference.
    """

    count: int = 0
    equal: int = 0
    same_bits: int = 0
    max_abs: float = 0.0
    error: float = 0.0
    signal: float = 0.0

    def add(self, reference: AnyArray, other: AnyArray) -> None:
        """Two arrays of one shape, integers or floats."""
        self.count += reference.size
        bits = same_bits(reference, other)
        self.same_bits += bits
        if bits == reference.size:
            self.equal += bits
            self.signal += _squares(reference.astype(np.float64))
            return
        a, b = reference.astype(np.float64), other.astype(np.float64)
        equal = (reference == other) | (np.isnan(a) & np.isnan(b))
        self.equal += int(equal.sum())
        with np.errstate(all="ignore"):
            gap = np.where(equal, 0.0, a - b)
        gap[np.isnan(gap)] = np.inf
        self.max_abs = max(self.max_abs, float(np.abs(gap).max(initial=0.0)))
        self.error += _squares(gap)
        self.signal += _squares(a)

    @property
    def rms(self) -> float:
        """Root of the mean squared distance."""
        return math.sqrt(self.error / self.count) if self.count else 0.0

    @property
    def snr_db(self) -> float:
        """Signal to noise ratio in decibel; infinite where nothing differs."""
        if self.error == 0.0:
            return math.inf
        ratio = self.signal / self.error
        return 10.0 * math.log10(ratio) if ratio else -math.inf


def values(tensor: Tensor, start: int, stop: int) -> AnyArray:
    """The numbers of rows [start, stop), plain ones in their own type: integers stay exact."""
    parts = tensor.storage.parts(start, stop)
    if tensor.encoding.plain and parts.codes.dtype.kind in "iub":
        return parts.codes
    if parts.codes.dtype == np.float64:
        return parts.codes
    return decode(tensor.encoding, parts)


def _squares(array: AnyArray) -> float:
    flat = array.reshape(-1)
    with np.errstate(all="ignore"):
        return float(np.dot(flat, flat))


def same_bits(a: AnyArray, b: AnyArray) -> int:
    """How many elements of two arrays are the same, bit for bit where their types agree."""
    if a.dtype != b.dtype or a.dtype.kind not in "iuf":
        return int((a == b).sum())
    view = np.dtype(f"u{a.dtype.itemsize}")
    return int((np.ascontiguousarray(a).view(view) == np.ascontiguousarray(b).view(view)).sum())
