"""Tables of the rotary position embedding: cosine and sine for every position and pair of a head.

The angle of a pair grows evenly with the position, in every way of scaling that there is, so a table is
one rate a pair and a magnitude. Computed in float64 and rounded once to float32, rows on demand.

Sources: ggml-org/llama.cpp ggml/src/ggml-cpu/ops.cpp (`rope_yarn`, `ggml_rope_cache_init`),
ggml/src/ggml.c (`ggml_rope_yarn_corr_dims`), src/llama-context.cpp (defaults);
huggingface/transformers src/transformers/modeling_rope_utils.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.architectures.family import GGUF
from w2e_bridge.ir.architecture import Rope
from w2e_bridge.ir.encoding import FLOAT32
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor

GLOBAL, LOCAL = "rope", "rope.local"
"""Stems of the tables of all layers, and of those whose window slides where they differ."""

MADE = frozenset(f"{stem}.{part}" for stem in (GLOBAL, LOCAL) for part in ("cos", "sin"))
"""Names of all tensors that are computed here and that no source has."""

SCALINGS = frozenset({"none", "linear", "yarn", "longrope"})

_BETA_FAST, _BETA_SLOW = 32.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rotation:
    """How the pairs of a head turn.

    Attributes:
        rates: radians a token for each pair, (pairs,) float64.
        magnitude: factor of cosine and sine.
    """

    rates: NDArray[np.float64]
    magnitude: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wheel:
    """What the rates depend on besides `Rope`.

    Attributes:
        pairs: rotated pairs of a head.
        context: longest context trained for.
        source: whose meaning `Rope.attention_factor` has: GGUF's is a further factor, a checkpoint's
            stands for the whole magnitude.
        factors: divisor of each pair's rate, (pairs,), or None.
    """

    pairs: int
    context: int
    source: str
    factors: NDArray[np.float64] | None = None


def rotation(rope: Rope, wheel: Wheel) -> Rotation:
    """Rates and magnitude of a table."""
    exponents = np.arange(wheel.pairs, dtype=np.float64) / wheel.pairs
    rates = rope.base**-exponents
    if wheel.factors is not None:
        rates = rates / wheel.factors
    kept = _extrapolated(rope, wheel)
    rates = rates * ((1 - kept) / _divisor(rope, wheel) + kept)
    return Rotation(rates=rates, magnitude=_magnitude(rope, wheel))


def _divisor(rope: Rope, wheel: Wheel) -> float:
    """What positions are divided by. A checkpoint's longrope has its factors instead."""
    if rope.scaling == "none" or (rope.scaling == "longrope" and wheel.source != GGUF):
        return 1.0
    return rope.factor


def _extension(rope: Rope) -> float:
    """How much of yarn's ramp counts; 0 = there is none."""
    if rope.ext_factor is not None:
        return rope.ext_factor
    return 1.0 if rope.scaling == "yarn" else 0.0


def _extrapolated(rope: Rope, wheel: Wheel) -> NDArray[np.float64]:
    """The share of each pair's own rate that yarn keeps: 1 for fast pairs, 0 for slow ones, (pairs,)."""
    extension = _extension(rope)
    if not extension:
        return np.zeros(wheel.pairs)
    dimensions = 2 * wheel.pairs
    fast = _BETA_FAST if rope.beta_fast is None else rope.beta_fast
    slow = _BETA_SLOW if rope.beta_slow is None else rope.beta_slow
    low = max(0.0, math.floor(_dimension_of(fast, rope, wheel)))
    high = min(dimensions - 1.0, math.ceil(_dimension_of(slow, rope, wheel)))
    ramp = (np.arange(wheel.pairs) - low) / max(0.001, high - low)
    kept: NDArray[np.float64] = (1 - np.clip(ramp, 0, 1)) * extension
    return kept


def _dimension_of(turns: float, rope: Rope, wheel: Wheel) -> float:
    """The pair that makes so many turns over the original context."""
    context = rope.original_context or wheel.context
    return wheel.pairs * math.log(context / (turns * 2 * math.pi)) / math.log(rope.base)


def _magnitude(rope: Rope, wheel: Wheel) -> float:
    if wheel.source != GGUF and rope.attention_factor is not None:
        return rope.attention_factor
    own = 1.0 if rope.attention_factor is None else rope.attention_factor
    if _extension(rope):
        return own * (1 + 0.1 * math.log(max(1.0, rope.factor)))
    if rope.scaling == "longrope" and wheel.source != GGUF and rope.factor > 1:
        original = max(2, rope.original_context or wheel.context)
        return own * math.sqrt(1 + math.log(rope.factor) / math.log(original))
    return own


def tables(stem: str, turn: Rotation, context: int) -> tuple[Tensor, Tensor]:
    """`{stem}.cos` and `{stem}.sin`, float32 [context, pairs]."""
    cosine = _table(f"{stem}.cos", turn, context, np.cos)
    return cosine, _table(f"{stem}.sin", turn, context, np.sin)


def _table(name: str, turn: Rotation, context: int, wave: np.ufunc) -> Tensor:
    def compute(start: int, stop: int) -> Parts:
        angles = np.arange(start, stop, dtype=np.float64)[:, None] * turn.rates  # (rows, pairs)
        return Parts(codes=(wave(angles) * turn.magnitude).astype(np.float32))

    return Tensor(
        name=name,
        shape=(context, len(turn.rates)),
        dtype="float32",
        encoding=FLOAT32,
        storage=ComputedStorage(compute=compute),
    )
