"""Normalised hyper-parameters of a network whose file carries no graph, and a role for each tensor.

Readers fill this from their own keys; `architectures` builds the graph from it. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Rope:
    """Rotary position embedding.

    Attributes:
        base: base of the frequencies (theta).
        dimensions: leading dimensions of a head that are rotated, None = the family's default (all).
        interleaved: pairs are neighbours (2i, 2i+1) rather than halves (i, i + d/2); None = the
            family's convention in this source.
        scaling: "none", "linear", "yarn", "longrope"; a frequency-factor tensor is a role of its own.
        factor: of the scaling.
        original_context: context length before scaling, or None.
        attention_factor: of yarn/longrope, or None.
        beta_fast: of yarn. beta_slow: of yarn. ext_factor: of yarn, None = default.
        local_base: base of layers with a sliding window, where it differs.
    """

    base: float = 10000.0
    dimensions: int | None = None
    interleaved: bool | None = None
    scaling: str = "none"
    factor: float = 1.0
    original_context: int | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    ext_factor: float | None = None
    local_base: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Hyper-parameters in one vocabulary; what a source does not say is None and the family decides.

    Attributes:
        family: "llama", "qwen2", …
        source: whose conventions the tensors follow where formats differ ("gguf": rotary pairs of
            llama are interleaved; norm offsets already added), "huggingface".
        layers: blocks of the network.
        hidden: width of the residual stream.
        intermediate: width of the feed-forward network, one per layer.
        heads: query heads, one per layer.
        kv_heads: key/value heads, one per layer.
        head_size: width of a query/key head; value_head_size: of a value head.
        vocabulary: rows of the embedding.
        context: longest context trained for.
        norm_epsilon: of RMS or layer normalization.
        rope: rotary embedding, or None.
        attention_scale: factor of the scores, None = the family's (usually 1/sqrt(head_size)).
        attention_softcap: cap of the scores, 0 = none.
        logit_softcap: cap of the logits, 0 = none.
        window: tokens that a layer with a sliding window attends to (the token itself counted), 0 = none.
        window_pattern: for each layer whether its window slides; None = the family's default.
        embedding_scale, residual_scale, logit_scale: factors, None = the family's.
        experts, experts_used: mixture of experts; 0 where there is none.
        extra: further hyper-parameters of one family, under the canonical names that it documents.
    """

    family: str
    source: str
    layers: int
    hidden: int
    intermediate: tuple[int, ...]
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    head_size: int
    value_head_size: int
    vocabulary: int
    context: int
    norm_epsilon: float
    rope: Rope | None = None
    attention_scale: float | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    window: int | None = None
    window_pattern: tuple[bool, ...] | None = None
    embedding_scale: float | None = None
    residual_scale: float | None = None
    logit_scale: float | None = None
    experts: int = 0
    experts_used: int = 0
    extra: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    """Role to tensor name. Roles: `embedding`, `output`, `output_norm`, `rope_factors` (or
    `rope_factors_long` and `_short`), and in layer N
    `layers.N.` + `attention_norm`, `q`, `k`, `v`, `qkv`, `o`, `q_norm`, `k_norm`,
    `post_attention_norm`, `ffn_norm`, `gate`, `up`, `down`, `post_ffn_norm`, each followed by
    `.weight` or `.bias`; a factor of a whole matrix is `.scale`, one of its input `.input_scale`."""
