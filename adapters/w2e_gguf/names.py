"""What the tensors of a file are for: name to role, and to a place in the order of execution.

Names: ggml-org/llama.cpp `src/llama-arch.cpp` (`LLM_TENSOR_NAMES`). Roles: `ir.architecture`, and below
for those that only some families have. A tensor without a row has no role: a graph that does not use
it must be refused by whoever builds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

SUFFIXES = ("weight", "bias", "scale", "input_scale")
"""`scale` is a factor that the product with the weight is multiplied by (NVFP4, ternary types),
`input_scale` one for the activation: roles of their own, so that none can be dropped without notice."""

_FIRST = (
    ("token_embd", "embedding"),
    ("token_types", "token_type_embedding"),
    ("position_embd", "position_embedding"),
    ("token_embd_norm", "embedding_norm"),
    ("rope_freqs", "rope_factors"),
    ("rope_factors_long", "rope_factors_long"),
    ("rope_factors_short", "rope_factors_short"),
)
"""Tensors before the layers, in the order of execution."""

_LAYER = (
    ("attn_norm", "attention_norm"),
    ("attn_norm_2", "attention_norm_2"),
    ("rope_freqs", "rope_factors"),
    ("rope_factors_long", "rope_factors_long"),
    ("rope_factors_short", "rope_factors_short"),
    ("attn_qkv", "qkv"),
    ("attn_q", "q"),
    ("attn_q_a", "q_a"),
    ("attn_q_a_norm", "q_a_norm"),
    ("attn_q_b", "q_b"),
    ("attn_k", "k"),
    ("attn_v", "v"),
    ("attn_kv_a_mqa", "kv_a"),
    ("attn_kv_a_norm", "kv_a_norm"),
    ("attn_kv_b", "kv_b"),
    ("attn_k_b", "k_b"),
    ("attn_v_b", "v_b"),
    ("attn_q_norm", "q_norm"),
    ("attn_k_norm", "k_norm"),
    ("attn_rot_embd", "rotary_embedding"),
    ("attn_sinks", "sinks"),
    ("attn_gate", "attention_gate"),
    ("attn_sub_norm", "attention_sub_norm"),
    ("attn_output", "o"),
    ("attn_output_norm", "attention_output_norm"),
    ("post_attention_norm", "post_attention_norm"),
    ("ffn_norm", "ffn_norm"),
    ("ffn_gate_inp", "router"),
    ("exp_probs_b", "router_correction"),
    ("ffn_gate", "gate"),
    ("ffn_up", "up"),
    ("ffn_act", "activation"),
    ("ffn_sub_norm", "ffn_sub_norm"),
    ("ffn_down", "down"),
    ("ffn_norm_exps", "experts.norm"),
    ("ffn_gate_exps", "experts.gate"),
    ("ffn_up_exps", "experts.up"),
    ("ffn_gate_up_exps", "experts.gate_up"),
    ("ffn_down_exps", "experts.down"),
    ("ffn_gate_inp_shexp", "shared_expert.router"),
    ("ffn_gate_shexp", "shared_expert.gate"),
    ("ffn_up_shexp", "shared_expert.up"),
    ("ffn_down_shexp", "shared_expert.down"),
    ("post_ffw_norm", "post_ffn_norm"),
    ("layer_output_norm", "layer_output_norm"),
    ("layer_output_scale", "layer_output_scale"),
)
"""Tensors of layer N, `blk.N.` before the name and `layers.N.` before the role."""

_LAST = (
    ("output_norm", "output_norm"),
    ("output", "output"),
    ("cls.norm", "classifier_norm"),
    ("cls", "classifier"),
    ("cls.output", "classifier_output"),
)
"""Tensors after the layers."""

_EXPERT = {"ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down"}
"""`blk.N.ffn_gate.M.weight`: older files keep each expert by itself."""

_NAME = re.compile(
    r"(?:blk\.(?P<layer>0|[1-9][0-9]{0,5})\.)?(?P<base>[a-z0-9_]+?(?:\.[a-z]+)??)"
    r"(?:\.(?P<expert>0|[1-9][0-9]{0,5}))?\.(?P<suffix>weight|bias|scale|input_scale)"
)
_OUTSIDE = dict((*_FIRST, *_LAST))
_INSIDE = dict(_LAYER)
_PLACES = {base: place for place, (base, _) in enumerate(_LAYER)}
_BEFORE = {base: place for place, (base, _) in enumerate(_FIRST)}
_AFTER = {base: place for place, (base, _) in enumerate(_LAST)}
_FAR = 1 << 30


def roles(names: Iterable[str]) -> dict[str, str]:
    """Role to name, of those that have a role."""
    return {role: name for name in names if (role := role_of(name)) is not None}


def role_of(name: str) -> str | None:
    """The role of a tensor, or None where none is known."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    layer, base, expert, suffix = found.group("layer", "base", "expert", "suffix")
    if layer is None:
        role = None if expert else _OUTSIDE.get(base)
        return None if role is None else f"{role}.{suffix}"
    part = _EXPERT.get(base) if expert else _INSIDE.get(base)
    if part is None:
        return None
    return f"layers.{layer}.{f'experts.{expert}.{part}' if expert else part}.{suffix}"


def execution_order(names: Iterable[str]) -> list[str]:
    """The names in the order in which a network needs them; those without a row come last where they belong."""
    return [name for _, name in sorted((_place(n), n) for n in _listed(names))]


def _listed(names: Iterable[str]) -> list[str]:
    return list(names)


@lru_cache(maxsize=1)
def _tables() -> Mapping[str, int]:
    return {}


def _place(name: str) -> tuple[int, int, int, int]:
    """(before, layers or after; layer; place in it; expert or suffix)."""
    found = _NAME.fullmatch(name)
    return (0, 0, 0, 0) if found is None else (1, 1, 1, 1)
