"""Two models, tensor by tensor: are the values the same, and are they stored alike."""

from __future__ import annotations

from dataclasses import dataclass

from w2e_bridge.fidelity.metrics import Difference, values
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor

COMPUTED = ("rope.",)
"""Prefixes of tensors that a lowering computes from hyper-parameters (rotary tables): no format but
a graph has them, so that one without the other is no difference. Where both have one, it is
compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A tensor that both models have.

    Attributes:
        name: its name.
        shapes: of the first and the second model.
        encodings: likewise.
        same_encoding: whether the encodings mean the same (not only spell the same).
        values: number of values; equal: how many are the same number; bit_equal: whether all are
            bit for bit. All 0 and false where the shapes differ.
        max_abs, rms, snr_db: how far apart the values are, the first model being the reference.
    """

    name: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    encodings: tuple[str, str]
    same_encoding: bool
    values: int
    equal: int
    bit_equal: bool
    max_abs: float
    rms: float
    snr_db: float

    @property
    def same(self) -> bool:
        """Whether shape and all values are the same."""
        return self.shapes[0] == self.shapes[1] and self.equal == self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What `compare` found.

    Attributes:
        a, b: names of the two models.
        pairs: tensors that both have, in the first model's order.
        missing: tensors that only the first has. extra: that only the second has.
        computed: tensors that only one has because it holds a computed table; no difference.
    """

    a: str
    b: str
    pairs: tuple[Pair, ...]
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both have the same tensors with the same values, however they are stored."""
        return not self.missing and not self.extra and all(pair.same for pair in self.pairs)

    @property
    def same_encodings(self) -> bool:
        """Whether all tensors are stored alike as well."""
        return all(pair.same_encoding for pair in self.pairs)


def compare_models(a: Model, b: Model) -> Comparison:
    """Compare the tensors of two models by name; chunk by chunk, in bounded memory."""
    missing = [name for name in a.tensors if name not in b.tensors]
    extra = [name for name in b.tensors if name not in a.tensors]
    return Comparison(
        a=a.origin.path if a.origin else "first",
        b=b.origin.path if b.origin else "second",
        pairs=tuple(
            _pair(t, b.tensors[name]) for name, t in a.tensors.items() if name in b.tensors
        ),
        missing=tuple(name for name in missing if not name.startswith(COMPUTED)),
        extra=tuple(name for name in extra if not name.startswith(COMPUTED)),
        computed=tuple(name for name in (*missing, *extra) if name.startswith(COMPUTED)),
    )


def _pair(a: Tensor, b: Tensor) -> Pair:
    gap = Difference()
    if a.shape == b.shape:
        for start, stop in a.spans():
            gap.add(values(a, start, stop), values(b, start, stop))
    return Pair(
        name=a.name,
        shapes=(a.shape, b.shape),
        encodings=(a.label, b.label),
        same_encoding=a.encoding == b.encoding,
        values=gap.count,
        equal=gap.equal,
        bit_equal=a.shape == b.shape and gap.same_bits == gap.count,
        max_abs=gap.max_abs,
        rms=gap.rms,
        snr_db=gap.snr_db,
    )
