"""The files around a language model that onnxruntime-genai and Hugging Face readers expect.

Keys: microsoft/onnxruntime-genai src/config.cpp; checked against what its model builder 0.18 writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

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
    tokens = special_tokens(model)
    files = {
        "genai_config.json": _genai(architecture, tokens, stem),
        "config.json": _config(architecture, tokens, model),
        "generation_config.json": _generation(tokens),
    }
    return [small_file(name, _json(content)) for name, content in files.items()]


def special_tokens(model: Model) -> dict[str, int | list[int]]:
    """Ids of the tokens that begin and end a text, as far as the vocabulary says."""
    vocabulary = getattr(model.tokenizer, "vocabulary", None)
    if vocabulary is None:
        return {}
    found: dict[str, int | list[int]] = {}
    for key in ("bos", "eos", "pad"):
        value = getattr(vocabulary, key, None)
        if isinstance(value, int) and value >= 0:
            found[key] = value
    ends = [getattr(vocabulary, key, None) for key in ("eos", "eot", "eom")]
    stop = list(dict.fromkeys(e for e in ends if isinstance(e, int) and e >= 0))
    if stop:
        found["stop"] = stop if len(stop) > 1 else stop[0]
    return found


def _genai(a: Architecture, tokens: Mapping[str, int | list[int]], stem: str) -> dict[str, object]:
    stop = tokens.get("stop", 0)
    pad = tokens.get("pad", stop if isinstance(stop, int) else stop[0])
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
    return {
        "model": {
            "bos_token_id": tokens.get("bos", stop if isinstance(stop, int) else stop[0]),
            "context_length": a.context,
            "decoder": decoder,
            "eos_token_id": stop,
            "pad_token_id": pad,
            "type": a.family if a.family in GENAI_TYPES else "llama",
            "vocab_size": a.vocabulary,
        },
        "search": {
            "diversity_penalty": 0.0,
            "do_sample": False,
            "early_stopping": True,
            "length_penalty": 1.0,
            "max_length": a.context,
            "min_length": 0,
            "no_repeat_ngram_size": 0,
            "num_beams": 1,
            "num_return_sequences": 1,
            # One cache buffer for past and present needs every layer to have the same shape.
            "past_present_share_buffer": len(set(a.kv_heads)) == 1,
            "repetition_penalty": 1.0,
            "temperature": 1.0,
            "top_k": 1,
            "top_p": 1.0,
        },
    }


def _config(
    a: Architecture, tokens: Mapping[str, int | list[int]], model: Model
) -> dict[str, object]:
    kind, name = HUGGING_FACE.get(a.family, (a.family, ""))
    roles = a.roles
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
        "rms_norm_eps": a.norm_epsilon,
        "rope_theta": a.rope.base if a.rope else None,
        "tie_word_embeddings": "output.weight" not in roles,
        "bos_token_id": tokens.get("bos"),
        "eos_token_id": tokens.get("stop"),
        "sliding_window": a.window,
        "attn_logit_softcapping": a.attention_softcap or None,
        "final_logit_softcapping": a.logit_softcap or None,
    }
    return {key: value for key, value in config.items() if value is not None}


def _generation(tokens: Mapping[str, int | list[int]]) -> dict[str, object]:
    names = {"bos": "bos_token_id", "stop": "eos_token_id", "pad": "pad_token_id"}
    return {names[key]: tokens[key] for key in names if key in tokens}


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
