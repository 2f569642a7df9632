"""Tiny random networks, once as the reference sees them and once as models of either source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.architectures.reference import Array, Net, plain_rates
from w2e_bridge.ir.architecture import Architecture, Rope
from w2e_bridge.ir.model import Model, Origin
from w2e_bridge.ir.tensor import Tensor, plain_tensor

HIDDEN, VOCABULARY, CONTEXT, HEAD = 32, 40, 64, 8
BASE = 100.0
"""Small, so that even the slowest pair turns within the context."""


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A network in both forms."""

    net: Net
    architecture: Architecture

    def model(self, extra: Mapping[str, Array] | None = None) -> Model:
        """The model; `extra` are further tensors by role."""
        weights = {**self.net.weights, **(extra or {})}
        named = {f"t.{role}": convert(self, role, array) for role, array in weights.items()}
        roles = {role: f"t.{role}" for role in weights}
        return Model(
            tensors={name: tensor(name, array) for name, array in named.items()},
            architecture=replace(self.architecture, roles=roles),
            origin=Origin(format="gguf", path="tiny.gguf"),
        )


def tensor(name: str, array: Array) -> Tensor:
    return plain_tensor(name, array.astype(np.float32))


def convert(tiny: Tiny, role: str, array: Array) -> Array:
    """A checkpoint's weight as the source has it."""
    a = tiny.architecture
    if a.source != "gguf":
        return array
    part = role.split(".")[-2]
    if a.family == "llama" and part in ("q", "k") and not role.endswith(".scale"):
        layer = int(role.split(".")[1])
        return neighbours(array, (a.heads if part == "q" else a.kv_heads)[layer])
    if a.family == "gemma2" and "norm" in role:
        return array + 1
    return array


def neighbours(array: Array, heads: int) -> Array:
    """Rows i and i + half of each head to rows 2i and 2i + 1."""
    rows = array.reshape(heads, 2, -1, *array.shape[1:])
    return np.swapaxes(rows, 1, 2).reshape(array.shape)


def tiny(family: str, source: str = "gguf", **changes: Any) -> Tiny:
    """A network of a family.

    `changes`: fields of `Architecture`; and `biases` and `scales` (parts of a layer that have one), `tied`,
    and `layers`.
    """
    layers: int = changes.pop("layers", 2)
    biases, scales = changes.pop("biases", ()), changes.pop("scales", ())
    tied: bool = changes.pop("tied", family == "gemma2")
    a = Architecture(
        family=family,
        source=source,
        layers=layers,
        hidden=HIDDEN,
        intermediate=(24,) * layers,
        heads=(4,) * layers,
        kv_heads=(2,) * layers,
        head_size=HEAD,
        value_head_size=HEAD,
        vocabulary=VOCABULARY,
        context=CONTEXT,
        norm_epsilon=1e-5,
        rope=Rope(base=BASE),
    )
    a = replace(a, **changes)
    rng = np.random.default_rng(0)
    weights = _weights(a, rng, biases, scales)
    if tied:
        del weights["output.weight"]
    assert a.rope is not None
    rotated = a.rope.dimensions or a.head_size
    net = Net(
        weights=weights,
        layers=layers,
        heads=a.heads,
        kv_heads=a.kv_heads,
        head_size=a.head_size,
        value_head_size=a.value_head_size,
        epsilon=a.norm_epsilon,
        rates=(plain_rates(a.rope.base, rotated),) * layers,
        windows=(0,) * layers,
        scale=a.head_size**-0.5 if a.attention_scale is None else a.attention_scale,
        score_cap=50.0 if family == "gemma2" else 0.0,
        logit_cap=30.0 if family == "gemma2" else 0.0,
    )
    return Tiny(net=net, architecture=a)


def _weights(
    a: Architecture, rng: np.random.Generator, biases: tuple[str, ...], scales: tuple[str, ...]
) -> dict[str, Array]:
    def matrix(rows: int, columns: int) -> Array:
        # Wide enough that attention is far from even and a capped score far from its cap's slope.
        return single(rng.normal(0, 1.6 / np.sqrt(columns), (rows, columns)))

    def vector(width: int) -> Array:
        return single(rng.normal(1, 0.3, width))

    weights = {
        "embedding.weight": single(rng.normal(0, 1, (a.vocabulary, a.hidden))),
        "output.weight": matrix(a.vocabulary, a.hidden),
        "output_norm.weight": vector(a.hidden),
    }
    for n in range(a.layers):
        shapes = {
            "q": (a.heads[n] * a.head_size, a.hidden),
            "k": (a.kv_heads[n] * a.head_size, a.hidden),
            "v": (a.kv_heads[n] * a.value_head_size, a.hidden),
            "o": (a.hidden, a.heads[n] * a.value_head_size),
            "gate": (a.intermediate[n], a.hidden),
            "up": (a.intermediate[n], a.hidden),
            "down": (a.hidden, a.intermediate[n]),
        }
        for part, shape in shapes.items():
            weights[f"layers.{n}.{part}.weight"] = matrix(*shape)
            if part in biases:
                weights[f"layers.{n}.{part}.bias"] = vector(shape[0])
            if part in scales:
                weights[f"layers.{n}.{part}.scale"] = vector(1)
        norms = ["attention_norm", "ffn_norm"]
        norms += ["post_attention_norm", "post_ffn_norm"] if a.family == "gemma2" else []
        weights |= {f"layers.{n}.{part}.weight": vector(a.hidden) for part in norms}
        if a.family == "qwen3":
            weights |= {f"layers.{n}.{part}_norm.weight": vector(a.head_size) for part in "qk"}
    return weights


def single(array: Array) -> Array:
    """Numbers that float32 holds, so that both sides compute with the same."""
    return array.astype(np.float32).astype(np.float64)
