"""What the tensors of a file are for: name to role, and to a place in the order of execution.

Names: ggml-org/llama.cpp `src/llama-arch.cpp` (`LLM_TENSOR_NAMES`). Roles: `ir.architecture`, and
below for those that only some families have. A tensor without a row has no role: a graph that does
not use it must be refused by whoever builds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

SUFFIXES = ("weight", "bias", "scale", "input_scale")
"""`scale` is a factor that the product with the weight is multiplied by (NVFP4, ternary types),
`input_scale` one for the activation: roles of their own, so that none can be dropped without
notice."""

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

_BLOCK = re.compile(r"blk\.(0|[1-9][0-9]{0,5})\.(.+)", re.DOTALL)
_EXPERT_NAME = re.compile(r"(ffn_gate|ffn_up|ffn_down)\.(0|[1-9][0-9]{0,5})")
_OUTSIDE = dict((*_FIRST, *_LAST))
_INSIDE = dict(_LAYER)
_PLACES = {base: place for place, (base, _) in enumerate((*_FIRST, *_LAST))}
_PLACES_INSIDE = {base: place for place, (base, _) in enumerate(_LAYER)}
_BEFORE = frozenset(base for base, _ in _FIRST)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A name taken apart: `blk.LAYER.BASE.EXPERT.SUFFIX`."""

    layer: int | None
    base: str
    expert: int | None
    suffix: str

    @property
    def role(self) -> str | None:
        """Without the suffix."""
        if self.layer is None:
            return _OUTSIDE.get(self.base)
        if self.expert is None:
            inside = _INSIDE.get(self.base)
            return None if inside is None else f"layers.{self.layer}.{inside}"
        return f"layers.{self.layer}.experts.{self.expert}.{_EXPERT[self.base]}"


def _parts(name: str) -> _Parts:
    stem, _, suffix = name.rpartition(".")
    block = _BLOCK.fullmatch(stem)
    layer, base = (None, stem) if block is None else (int(block[1]), block[2])
    expert = None if layer is None else _EXPERT_NAME.fullmatch(base)
    if expert is None:
        return _Parts(layer=layer, base=base, expert=None, suffix=suffix)
    return _Parts(layer=layer, base=expert[1], expert=int(expert[2]), suffix=suffix)


def roles(names: Iterable[str]) -> dict[str, str]:
    """Role to name, of those that have a role."""
    return {role: name for name in names if (role := role_of(name)) is not None}


def role_of(name: str) -> str | None:
    """The role of a tensor, or None where none is known."""
    parts = _parts(name)
    known = parts.role is not None and parts.suffix in SUFFIXES
    return f"{parts.role}.{parts.suffix}" if known else None


def execution_order(names: Iterable[str]) -> list[str]:
    """The names in the order in which a network needs them.

    Names without a row stay as they were, at the end of their layer, or of all.
    """
    return sorted(names, key=_place)


def _place(name: str) -> tuple[int, ...]:
    parts = _parts(name)
    suffix = SUFFIXES.index(parts.suffix) if parts.suffix in SUFFIXES else len(SUFFIXES)
    if parts.layer is not None:
        known = parts.role is not None
        place = (
            (_PLACES_INSIDE[parts.base], parts.expert or 0, suffix)
            if known
            else (len(_LAYER), 0, 0)
        )
        return (1, parts.layer, *place)
    if parts.role is None:
        return (3,)
    first = parts.base in _BEFORE
    return (0 if first else 2, 0, _PLACES[parts.base], 0, suffix)
