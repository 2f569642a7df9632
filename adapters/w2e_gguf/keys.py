"""What the keys `{architecture}.*` mean: a row for each that llama.cpp knows.

Names: ggml-org/llama.cpp `src/llama-arch.cpp` (`LLM_KV_NAMES`), and gguf-py `constants.py`. A key
without a row may change how the network computes, so it is never passed over: see `architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

ValueKind = Literal["integer", "float", "bool", "string"]
Neutral = int | float | bool | str | None


class Use(Enum):
    """What becomes of a key.

    FIELD: a field of `ir.architecture.Architecture`. ROPE: a field of its `Rope`.
    EXTRA: an entry of `Architecture.extra`, which the family must know or refuse.
    NEUTRAL: nothing is known that does it, so only the value that means "not done" is let pass.
    INFORMATION: it does not change what the network computes.
    """

    FIELD = "field"
    ROPE = "rope"
    EXTRA = "extra"
    NEUTRAL = "neutral"
    INFORMATION = "information"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A row.

    Attributes:
        name: without the architecture.
        use: what becomes of it.
        target: name of the field or entry, "" where there is none.
        kind: what the value must be.
        per_layer: whether there may be an array with a value for each layer.
        neutral: the value that is as good as none; None = there is no such value.
        reason: why it is not carried.
    """

    name: str
    use: Use
    target: str = ""
    kind: ValueKind = "integer"
    per_layer: bool = False
    neutral: Neutral = None
    reason: str = ""


def _field(name: str, target: str, kind: ValueKind = "integer", neutral: Neutral = None) -> Key:
    return Key(name=name, use=Use.FIELD, target=target, kind=kind, neutral=neutral)


def _layers(name: str, target: str) -> Key:
    return Key(name=name, use=Use.FIELD, target=target, per_layer=True)


def _rope(name: str, target: str, kind: ValueKind = "float", neutral: Neutral = None) -> Key:
    return Key(name=f"rope.{name}", use=Use.ROPE, target=target, kind=kind, neutral=neutral)


def _extra(name: str, target: str, kind: ValueKind = "integer", neutral: Neutral = None) -> Key:
    return Key(name=name, use=Use.EXTRA, target=target, kind=kind, neutral=neutral)


def _only(name: str, neutral: Neutral, kind: ValueKind, reason: str) -> Key:
    return Key(name=name, use=Use.NEUTRAL, kind=kind, neutral=neutral, reason=reason)


def _none(reason: str, *names: str) -> tuple[Key, ...]:
    return tuple(Key(name=name, use=Use.NEUTRAL, reason=reason) for name in names)


def _information(name: str, kind: ValueKind, reason: str) -> Key:
    return Key(name=name, use=Use.INFORMATION, kind=kind, reason=reason)


_SHAPE = (
    _field("vocab_size", "vocabulary"),
    _field("context_length", "context"),
    _field("embedding_length", "hidden"),
    _field("block_count", "layers"),
    _layers("feed_forward_length", "intermediate"),
    _layers("attention.head_count", "heads"),
    _layers("attention.head_count_kv", "kv_heads"),
    _field("attention.key_length", "head_size"),
    _field("attention.value_length", "value_head_size"),
    _field("attention.layer_norm_rms_epsilon", "rms_epsilon", "float"),
    _field("attention.layer_norm_epsilon", "layer_epsilon", "float"),
    _field("attention.scale", "attention_scale", "float", 0.0),
    _field("attn_logit_softcapping", "attention_softcap", "float"),
    _field("final_logit_softcapping", "logit_softcap", "float"),
    _field("attention.sliding_window", "window"),
    Key(
        name="attention.sliding_window_pattern",
        use=Use.FIELD,
        target="window_pattern",
        per_layer=True,
    ),
    _field("embedding_scale", "embedding_scale", "float", 0.0),
    _field("residual_scale", "residual_scale", "float", 0.0),
    _field("logit_scale", "logit_scale", "float", 0.0),
    _field("expert_count", "experts"),
    _field("expert_used_count", "experts_used"),
)

_ROPE = (
    _rope("freq_base", "base"),
    _rope("freq_base_swa", "local_base"),
    _rope("dimension_count", "dimensions", "integer"),
    _rope("scaling.type", "scaling", "string"),
    _rope("scaling.factor", "factor", "float", 0.0),
    _rope("scale_linear", "old_factor", "float", 0.0),
    _rope("scaling.original_context_length", "original_context", "integer", 0),
    _rope("scaling.attn_factor", "attention_factor"),
    _rope("scaling.yarn_beta_fast", "beta_fast"),
    _rope("scaling.yarn_beta_slow", "beta_slow"),
    _rope("scaling.yarn_ext_factor", "ext_factor"),
    _extra("rope.scaling.yarn_attn_factor", "yarn_attention_factor", "float", 1.0),
    _extra("rope.scaling.yarn_log_multiplier", "yarn_log_multiplier", "float", 0.0),
    _only("rope.scaling.alpha", 0.0, "float", "base of the rotary frequencies scaled by alpha"),
    _information("rope.scaling.finetuned", "bool", "says how the network was trained"),
    *_none("rotary positions of several axes", "rope.dimension_sections"),
    *_none("other rotary dimensions in layers with a window", "rope.dimension_count_swa"),
)

_FAMILIES = (
    _extra("use_parallel_residual", "parallel_residual", "bool", neutral=False),
    _extra("attention.causal", "causal", "bool", neutral=True),
    _extra("attention.clamp_kqv", "clamp_qkv", "float", 0.0),
    _extra("attention.max_alibi_bias", "alibi_bias", "float", 0.0),
    _extra("hidden_activation", "activation", "string"),
    _extra("pooling_type", "pooling", "integer", 0),
    _extra("leading_dense_block_count", "leading_dense_layers", "integer", 0),
    _extra("interleave_moe_layer_step", "experts_every", "integer", 1),
    _extra("moe_every_n_layers", "experts_every_n_layers", "integer", 0),
    _extra("expert_feed_forward_length", "expert_intermediate", "integer", 0),
    _extra("expert_shared_count", "shared_experts", "integer", 0),
    _extra("expert_shared_feed_forward_length", "shared_expert_intermediate", "integer", 0),
    _extra("expert_gating_func", "expert_gating", "integer", 0),
    _extra("expert_weights_norm", "expert_weights_norm", "bool", neutral=False),
    _extra("expert_weights_scale", "expert_weights_scale", "float", 0.0),
    _extra("expert_group_count", "expert_groups", "integer", 0),
    _extra("expert_group_used_count", "expert_groups_used", "integer", 0),
    _extra("router_logit_softcapping", "router_softcap", "float", 0.0),
    _extra("attention.q_lora_rank", "q_rank", "integer", 0),
    _extra("attention.kv_lora_rank", "kv_rank", "integer", 0),
    _extra("attention.key_length_mla", "mla_head_size", "integer", 0),
    _extra("attention.value_length_mla", "mla_value_head_size", "integer", 0),
    _extra("attention.temperature_length", "attention_temperature_length", "integer", 0),
    _extra("attention.temperature_scale", "attention_temperature_scale", "float", 0.0),
    _extra("attention.output_scale", "attention_output_scale", "float", 0.0),
    _extra("attention.value_scale", "attention_value_scale", "float", 0.0),
    _extra("attention.key_length_swa", "window_head_size", "integer", 0),
    _extra("attention.value_length_swa", "window_value_head_size", "integer", 0),
    _extra("attention.shared_kv_layers", "shared_kv_layers", "integer", 0),
    _extra("attention.relative_buckets_count", "relative_buckets", "integer", 0),
    _extra("embedding_length_per_layer_input", "per_layer_embedding", "integer", 0),
    _extra("full_attention_interval", "full_attention_interval", "integer", 0),
    _extra("decoder_start_token_id", "decoder_start_token"),
    _extra("decoder_block_count", "decoder_layers"),
    _extra("nextn_predict_layers", "prediction_layers", "integer", 0),
    _extra("swin_norm", "swin_norm", "bool", neutral=False),
    _information("tensor_data_layout", "string", "llama.cpp knows one layout for each family"),
)

_RECURRENT = "state-space and other recurrent networks"
_OTHER = (
    *_none(
        _RECURRENT, "ssm.conv_kernel", "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank",
        "ssm.group_count", "ssm.dt_b_c_rms", "kda.head_dim", "wkv.head_size", "shortconv.l_cache",
        "rescale_every_n_layers", "time_mix_extra_dim", "time_decay_extra_dim", "token_shift_count",
        "attention.decay_lora_rank", "attention.iclr_lora_rank", "attention.gate_lora_rank",
        "attention.value_residual_mix_lora_rank", "attention.recurrent_layers",
    ),
    *_none(
        "networks for sound", "features_length", "posnet.embedding_length", "posnet.block_count",
        "convnext.embedding_length", "convnext.block_count", "attention.group_norm_epsilon",
        "attention.group_norm_groups",
    ),
    *_none(
        "sparse attention", "attention.indexer.head_count", "attention.indexer.key_length",
        "attention.indexer.top_k", "attention.compress_ratios", "attention.compress_rope_freq_base",
        "attention.output_group_count", "attention.output_lora_rank", "hash_layer_count",
    ),
    *_none(
        "hyper-connections", "hyper_connection.count", "hyper_connection.sinkhorn_iterations",
        "hyper_connection.epsilon",
    ),
    *_none(
        "variants of mixtures of experts", "expert_chunk_feed_forward_length", "expert_group_scale",
        "experts_per_group", "moe_latent_size", "swiglu_clamp_exp", "swiglu_clamp_shexp",
    ),
    *_none(
        "several inputs a layer", "altup.active_idx", "altup.num_inputs", "activation_sparsity_scale",
    ),
    *_none("images put into several layers", "n_deepstack_layers", "deepstack_mapping"),
    *_none("draft networks", "target_layers", "target_hidden_size", "norm_before_residual"),
    *_none(
        "embeddings projected after the network", "embedding_length_out", "dense_2_feat_in",
        "dense_2_feat_out", "dense_3_feat_in", "dense_3_feat_out", "classifier.output_labels",
    ),
)  # fmt: skip

KEYS: Mapping[str, Key] = {row.name: row for row in (*_SHAPE, *_ROPE, *_FAMILIES, *_OTHER)}
"""Name of a key without its architecture to row."""

UNPREFIXED = ("xielu.alpha_n", "xielu.alpha_p", "xielu.beta", "xielu.eps")
"""Keys that change the network without naming the architecture: parameters of an activation."""

DENSE_FIRST = frozenset({"modern-bert", "smallthinker", "cohere2moe"})
"""Families in which the first of every n layers has no sliding window, in all others the last of
them (`llama_hparams::set_swa_pattern`, ggml-org/llama.cpp `src/llama-hparams.cpp`)."""
