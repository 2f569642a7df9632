"""The files around a language model that onnxruntime-genai and Hugging Face readers expect.

Keys: microsoft/onnxruntime-genai src/config.cpp; checked against what its model builder 0.18 writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from w2e_bridge.formats.output import OutputFile, small_file
from w2e_bridge.ir.architecture import Architecture
from w2e_bridge.ir.model import Model
from w2e_bridge.loss import Ignored

HUGGING_FACE = {
    "llama": ("llama", "LlamaForCausalLM"),
    "mistral": ("mistral", "MistralForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
    "gemma2": ("gemma2", "Gemma2ForCausalLM"),
}
"""Family to `model_type` and class of a Hugging Face configuration."""

GENAI_TYPES = {"llama", "mistral", "qwen2", "qwen3", "gemma2"}
"""Values of `model.type` that onnxruntime-genai 0.18 reads as a decoder of its own family."""


def settings(model: Model, stem: str) -> list[OutputFile]:
    """`genai_config.json`, `config.json` and `generation_config.json` of a language model."""
    architecture = model.architecture
    if architecture is None:
        return []
    tokens, sampling = special_tokens(model), _sampling(model)
    files = {
        "genai_config.json": _genai(architecture, tokens, sampling, stem),
        "config.json": _config(architecture, tokens),
        "generation_config.json": _generation(tokens, sampling),
    }
    return [small_file(name, _json(content)) for name, content in files.items()]


def special_tokens(model: Model) -> dict[str, int | list[int]]:
    """Ids of the tokens that begin, end and pad a text, as far as the vocabulary says.

    `eos` is a list where further tokens end a turn.
    """
    special: Mapping[str, int] = getattr(
        getattr(model.tokenizer, "vocabulary", None), "special", {}
    )
    found: dict[str, int | list[int]] = {k: special[k] for k in ("bos", "pad") if k in special}
    ends = list(dict.fromkeys(special[k] for k in ("eos", "eot", "eom") if k in special))
    if ends:
        found["eos"] = ends if len(ends) > 1 else ends[0]
        found.setdefault("pad", ends[0])
    return found


SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty")
"""Hints `sampling.*` that onnxruntime-genai and Hugging Face read under the same names."""


def _sampling(model: Model) -> dict[str, object]:
    values = {name: model.hints.values.get(f"sampling.{name}") for name in SAMPLING}
    return {name: shortest(value) for name, value in values.items() if value is not None}


def effects(model: Model) -> tuple[tuple[str, str], ...]:
    """What became of each hint."""
    applied = {f"sampling.{name}" for name in SAMPLING} if model.architecture else set[str]()
    return tuple((k, "applied" if k in applied else "ignored") for k in model.hints.values)


def shortest(value: object) -> object:
    """A float that came from float32 as the shortest decimal that is the same float32."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _genai(
    a: Architecture,
    tokens: Mapping[str, int | list[int]],
    sampling: Mapping[str, object],
    stem: str,
) -> dict[str, object]:
    decoder = {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": f"{stem}.onnx",
        "head_size": a.head_size,
        "hidden_size": a.hidden,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
        "num_attention_heads": a.heads[0],
        "num_hidden_layers": a.layers,
        "num_key_value_heads": a.kv_heads[0],
    }
    network: dict[str, object] = {
        "type": a.family if a.family in GENAI_TYPES else "llama",
        "vocab_size": a.vocabulary,
        "context_length": a.context,
        "decoder": decoder,
    }
    search: dict[str, object] = {
        "do_sample": bool(sampling),
        "max_length": a.context,
        "num_beams": 1,
        # One cache buffer for past and present needs every layer to have the same shape.
        "past_present_share_buffer": len(set(a.kv_heads)) == 1,
    }
    return {"model": network | _ids(tokens), "search": search | dict(sampling)}


def _ids(tokens: Mapping[str, int | list[int]]) -> dict[str, object]:
    return {f"{role}_token_id": ids for role, ids in tokens.items()}


def _config(a: Architecture, tokens: Mapping[str, int | list[int]]) -> dict[str, object]:
    kind, name = HUGGING_FACE.get(a.family, (a.family, ""))
    config: dict[str, object] = {
        "architectures": [name] if name else [],
        "model_type": kind,
        "vocab_size": a.vocabulary,
        "hidden_size": a.hidden,
        "intermediate_size": a.intermediate[0] if a.intermediate else 0,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads[0],
        "num_key_value_heads": a.kv_heads[0],
        "head_dim": a.head_size,
        "max_position_embeddings": a.context,
        "rms_norm_eps": shortest(a.norm_epsilon),
        "rope_theta": shortest(a.rope.base) if a.rope else None,
        "tie_word_embeddings": "output.weight" not in a.roles,
        "sliding_window": a.window or None,
        "attn_logit_softcapping": shortest(a.attention_softcap) or None,
        "final_logit_softcapping": shortest(a.logit_softcap) or None,
    }
    return {k: v for k, v in config.items() if v is not None} | _ids(tokens)


def _generation(
    tokens: Mapping[str, int | list[int]], sampling: Mapping[str, object]
) -> dict[str, object]:
    return _ids(tokens) | ({"do_sample": True, **sampling} if sampling else {})


def companions(model: Model) -> tuple[tuple[Callable[[Path], list[str]], ...], tuple[Ignored, ...]]:
    """The tokenizer's files, and what they can't say."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        return (), ()
    if tokenizer.missing is not None:
        return (), (Ignored(name="tokenizer", reason=tokenizer.missing),)
    notes = tuple(Ignored(name=name, reason=reason) for name, reason in tokenizer.notes)
    return (tokenizer.save,), notes


def _json(content: Mapping[str, object]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
