"""Hyper-parameters with nothing left open: what the source says, else what the family does, checked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from w2e_bridge.architectures.family import GGUF, HUGGING_FACE, Family
from w2e_bridge.architectures.rotary import GLOBAL, LOCAL, SCALINGS
from w2e_bridge.errors import UnsupportedError, Where
from w2e_bridge.ir.architecture import Architecture, Rope

LONGEST = 1 << 24
"""Positions that a table of the rotary embedding may have."""

_COMMON = frozenset({"unrecognised", "norm"})
"""Entries of `Architecture.extra` that every family has: names of parameters that the reader does not
know, and "rms" or "layer"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer.

    Attributes:
        index: counted from 0.
        heads, kv_heads: query heads and key/value heads.
        intermediate: width of the feed-forward network.
        window: tokens attended to, 0 = all.
        rope: stem of its rotary tables.
    """

    index: int
    heads: int
    kv_heads: int
    intermediate: int
    window: int
    rope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A network, decided.

    Attributes:
        family: which blocks it is made of.
        architecture: what the source says.
        origin: the file, for messages.
        layers: one record each.
        ropes: stem of a pair of rotary tables to its parameters.
        rotated: leading dimensions of a head that are rotated.
        interleaved: whether rotated pairs are neighbours.
        norm_offset: added to the weights of every norm.
        attention_scale, embedding_scale: factors.
        attention_softcap, logit_softcap: caps, 0 = none.
    """

    family: Family
    architecture: Architecture
    origin: str
    layers: tuple[Layer, ...]
    ropes: dict[str, Rope]
    rotated: int
    interleaved: bool
    norm_offset: float
    attention_scale: float
    embedding_scale: float
    attention_softcap: float
    logit_softcap: float

    def refusal(self, problem: str, tensor: str | None = None) -> UnsupportedError:
        """An error that names the file, and the tensor if one is to blame."""
        return refusal(self.origin, problem, tensor)


def refusal(origin: str, problem: str, tensor: str | None = None) -> UnsupportedError:
    """An error that names the file, and the tensor if one is to blame."""
    return UnsupportedError(f"{Where(path=origin, tensor=tensor)}: {problem}")


def resolve(architecture: Architecture, family: Family, origin: str) -> Config:
    """Decide all that a source leaves open.

    Raises:
        UnsupportedError: hyper-parameters that contradict each other or that no graph can be built for.
    """
    a = architecture
    for problem in _problems(a, family):
        raise refusal(origin, problem)
    rope = a.rope or Rope()
    local = _local(rope, family)
    softcap, cap = a.attention_softcap, a.logit_softcap
    return Config(
        family=family,
        architecture=a,
        origin=origin,
        layers=tuple(_layers(a, family, LOCAL if local else GLOBAL)),
        ropes={GLOBAL: rope} | ({LOCAL: local} if local else {}),
        rotated=_rotated(a),
        interleaved=_interleaved(a, family),
        norm_offset=family.norm_offset if a.source == HUGGING_FACE else 0.0,
        attention_scale=_scale(a, family),
        embedding_scale=_embedding_scale(a, family),
        attention_softcap=family.attention_softcap if softcap is None else softcap,
        logit_softcap=family.logit_softcap if cap is None else cap,
    )


def _layers(a: Architecture, family: Family, local: str) -> Iterator[Layer]:
    window = _window(a, family)
    slides = _slides(a, family)
    for index in range(a.layers):
        sliding = bool(window) and slides[index]
        yield Layer(
            index=index,
            heads=a.heads[index],
            kv_heads=a.kv_heads[index],
            intermediate=a.intermediate[index],
            # One that covers the whole context never cuts anything off.
            window=window if sliding and window < a.context else 0,
            rope=local if sliding else GLOBAL,
        )


def _window(a: Architecture, family: Family) -> int:
    return (family.window or 0) if a.window is None else a.window


def _slides(a: Architecture, family: Family) -> tuple[bool, ...]:
    """For each layer whether its window slides, where there is a window."""
    if a.window_pattern is not None:
        return a.window_pattern
    cycle = family.window_cycle or (False,)
    return tuple(cycle[index % len(cycle)] for index in range(a.layers))


def _local(rope: Rope, family: Family) -> Rope | None:
    """The rotation of layers that slide, where it differs from that of the others."""
    base = rope.base if rope.local_base is None else rope.local_base
    scaled = family.local_scaled or rope.scaling == "none"
    if base == rope.base and scaled:
        return None
    return replace(rope, base=base) if family.local_scaled else Rope(base=base)


def _rotated(a: Architecture) -> int:
    stated = None if a.rope is None else a.rope.dimensions
    return a.head_size if stated is None else stated


def _interleaved(a: Architecture, family: Family) -> bool:
    stated = None if a.rope is None else a.rope.interleaved
    return a.source in family.interleaved if stated is None else stated


def _scale(a: Architecture, family: Family) -> float:
    return family.attention_scale(a) if a.attention_scale is None else a.attention_scale


def _embedding_scale(a: Architecture, family: Family) -> float:
    if a.embedding_scale is not None:
        return a.embedding_scale
    return 1.0 if family.embedding_scale is None else family.embedding_scale(a)


def _problems(a: Architecture, family: Family) -> Iterator[str]:
    """What can't be built, most basic first: the first one is raised, and later ones rely on earlier."""
    if a.source not in (GGUF, HUGGING_FACE):
        yield f"conventions of a source '{a.source}' are not known"
    yield from _unknown(a, family)
    for name, count in (
        ("layers", a.layers), ("hidden", a.hidden), ("head_size", a.head_size),
        ("value_head_size", a.value_head_size), ("vocabulary", a.vocabulary),
        ("context", a.context),
    ):  # fmt: skip
        if count <= 0:
            yield f"expected '{name}' above 0, found {count}"
    if a.context > LONGEST:
        yield f"a context of {a.context} tokens is longer than {LONGEST}"
    yield from _uneven(a, family)
    yield from _not_numbers(a)
    yield from _unturnable(a.rope or Rope(), a)


def _unknown(a: Architecture, family: Family) -> Iterator[str]:
    """Parameters that would change the result and that the blocks here do not know."""
    if unrecognised := a.extra.get("unrecognised"):
        yield f"hyper-parameters not known of family {a.family}: {unrecognised}"
    if (kind := a.extra.get("norm", family.norm.value)) != family.norm.value:
        yield f"expected '{family.norm.value}' normalization of family {a.family}, found '{kind}'"
    for name in sorted(a.extra.keys() - family.extras - _COMMON):
        yield f"hyper-parameter '{name}' is not known of family {a.family}"
    if a.experts:
        yield f"a mixture of {a.experts} experts can't be built yet"
    for name in ("residual_scale", "logit_scale"):
        if getattr(a, name) not in (None, 1.0):
            yield f"hyper-parameter '{name}' is not known of family {a.family}"
    if a.embedding_scale not in (None, 1.0) and family.embedding_scale is None:
        yield f"hyper-parameter 'embedding_scale' is not known of family {a.family}"


def _uneven(a: Architecture, family: Family) -> Iterator[str]:
    """Lists that do not match the layers, and heads that do not share evenly."""
    lists = {"heads": a.heads, "kv_heads": a.kv_heads, "intermediate": a.intermediate}
    for name, values in lists.items():
        if len(values) != a.layers:
            yield f"expected '{name}' of {a.layers} layers, found {len(values)}"
    if a.window_pattern is not None and len(a.window_pattern) != a.layers:
        yield f"expected 'window_pattern' of {a.layers} layers, found {len(a.window_pattern)}"
    rows = zip(a.heads, a.kv_heads, a.intermediate, strict=True)
    for index, (heads, kv_heads, intermediate) in enumerate(rows):
        if heads <= 0 or kv_heads <= 0 or heads % kv_heads:
            yield f"layer {index}: {heads} heads can't share {kv_heads} key/value heads evenly"
        if intermediate <= 0:
            yield f"layer {index}: expected a feed-forward width above 0, found {intermediate}"
    window = _window(a, family)
    if window < 0:
        yield f"expected a window of 0 or more tokens, found {window}"
    known = a.window_pattern is not None or family.window_cycle
    if 0 < window < a.context and not known:
        yield f"a window of {window} tokens, and nothing says which layers of {a.family} it is for"


def _not_numbers(a: Architecture) -> Iterator[str]:
    for name in ("attention_scale", "embedding_scale", "norm_epsilon"):
        value = getattr(a, name)
        if value is not None and not _positive(value):
            yield f"expected '{name}' above 0, found {value}"
    for name in ("attention_softcap", "logit_softcap"):
        value = getattr(a, name)
        if value and not _positive(value):
            yield f"expected '{name}' of 0 or more, found {value}"


def _unturnable(rope: Rope, a: Architecture) -> Iterator[str]:
    rotated = _rotated(a)
    if rotated <= 0 or rotated % 2 or rotated > a.head_size:
        yield f"can't rotate {rotated} dimensions of heads of {a.head_size}"
    if rope.scaling not in SCALINGS:
        yield f"rotary scaling '{rope.scaling}' is not known; known: {', '.join(sorted(SCALINGS))}"
    for name in ("base", "local_base", "original_context"):
        value = getattr(rope, name)
        if value is not None and not (_positive(value) and value > 1):
            yield f"expected a rotary '{name}' above 1, found {value}"
    for name in ("factor", "beta_fast", "beta_slow", "attention_factor"):
        value = getattr(rope, name)
        if value is not None and not _positive(value):
            yield f"expected a rotary '{name}' above 0, found {value}"
    if rope.ext_factor is not None and not math.isfinite(rope.ext_factor):
        yield f"expected a finite rotary 'ext_factor', found {rope.ext_factor}"


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
