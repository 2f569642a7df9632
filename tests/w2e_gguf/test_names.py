"""Roles and order of the tensors."""

from __future__ import annotations

import random

import gguf
import pytest

from w2e_gguf.names import execution_order, role_of, roles

COMMON = [
    "LLAMA",
    "QWEN2",
    "QWEN3",
    "GEMMA2",
    "GEMMA3",
    "PHI3",
    "GPT2",
    "BERT",
    "QWEN2MOE",
    "STARCODER2",
]


def names_of(architecture: str) -> list[str]:
    """The names that gguf-py has for a family, in layer 3."""
    model = gguf.MODEL_ARCH[architecture]
    found = [gguf.TENSOR_NAMES[t].format(bid=3) for t in gguf.MODEL_TENSORS[model]]
    return [f"{name}.weight" for name in found]


@pytest.mark.parametrize("architecture", COMMON)
def test_every_tensor_of_common_families_has_a_role_of_its_own(architecture: str) -> None:
    names = names_of(architecture)
    assert len(names) > 8
    assert sorted(roles(names).values()) == sorted(names)


def test_roles() -> None:
    expected = {
        "token_embd.weight": "embedding.weight",
        "output_norm.weight": "output_norm.weight",
        "output_norm.bias": "output_norm.bias",
        "output.weight": "output.weight",
        "rope_freqs.weight": "rope_factors.weight",
        "rope_factors_long.weight": "rope_factors_long.weight",
        "blk.3.rope_freqs.weight": "layers.3.rope_factors.weight",
        "blk.0.attn_norm.weight": "layers.0.attention_norm.weight",
        "blk.0.attn_q.weight": "layers.0.q.weight",
        "blk.0.attn_q.bias": "layers.0.q.bias",
        "blk.0.attn_q.scale": "layers.0.q.scale",
        "blk.0.attn_q.input_scale": "layers.0.q.input_scale",
        "blk.12.attn_k.weight": "layers.12.k.weight",
        "blk.0.attn_v.weight": "layers.0.v.weight",
        "blk.0.attn_qkv.weight": "layers.0.qkv.weight",
        "blk.0.attn_output.weight": "layers.0.o.weight",
        "blk.0.attn_q_norm.weight": "layers.0.q_norm.weight",
        "blk.0.attn_k_norm.weight": "layers.0.k_norm.weight",
        "blk.0.post_attention_norm.weight": "layers.0.post_attention_norm.weight",
        "blk.0.ffn_norm.weight": "layers.0.ffn_norm.weight",
        "blk.0.ffn_gate.weight": "layers.0.gate.weight",
        "blk.0.ffn_up.weight": "layers.0.up.weight",
        "blk.0.ffn_down.weight": "layers.0.down.weight",
        "blk.0.post_ffw_norm.weight": "layers.0.post_ffn_norm.weight",
        "blk.0.ffn_gate_inp.weight": "layers.0.router.weight",
        "blk.0.ffn_gate_exps.weight": "layers.0.experts.gate.weight",
        "blk.0.ffn_gate.7.weight": "layers.0.experts.7.gate.weight",
        "blk.0.exp_probs_b.bias": "layers.0.router_correction.bias",
    }
    assert {name: role_of(name) for name in expected} == expected


@pytest.mark.parametrize(
    "name",
    [
        "", "weight", ".weight", "token_embd", "token_embd.counts", "blk.0.weight",
        "blk.x.attn_q.weight",
        "blk.01.attn_q.weight", "blk.-1.attn_q.weight", "blk.0.attn_q.weight.in_sum2",
        "attn_q.weight",
        "blk.0.token_embd.weight", "blk.0.attn_q.3.weight", "ffn_up.0.weight",
        "v.blk.0.attn_q.weight",
        "blk.0.ssm_a", "blk.99999999.attn_q.weight", "rope_freqs.weight\n",
    ],
)  # fmt: skip
def test_what_is_not_in_the_table_has_no_role(name: str) -> None:
    assert role_of(name) is None


def test_order_of_execution() -> None:
    expected = [
        "token_embd.weight", "rope_freqs.weight",
        "blk.0.attn_norm.weight", "blk.0.attn_q.weight", "blk.0.attn_q.bias", "blk.0.attn_q.scale",
        "blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.0.attn_q_norm.weight",
        "blk.0.attn_output.weight", "blk.0.ffn_norm.weight", "blk.0.ffn_gate.0.weight",
        "blk.0.ffn_gate.1.weight", "blk.0.ffn_gate.10.weight", "blk.0.ffn_up.0.weight",
        "blk.2.attn_norm.weight", "blk.2.ffn_down.weight",
        "blk.10.attn_norm.weight",
        "output_norm.weight", "output.weight",
    ]  # fmt: skip
    mixed = random.Random(1).sample(expected, len(expected))
    assert execution_order(mixed) == expected


def test_unknown_names_stay_in_their_layer_and_in_their_order() -> None:
    names = [
        "zebra.weight", "blk.0.zebra.weight", "blk.0.ant.weight", "blk.1.attn_norm.weight",
        "blk.0.ffn_down.weight", "output.weight", "ant.weight",
    ]  # fmt: skip
    assert execution_order(names) == [
        "blk.0.ffn_down.weight", "blk.0.zebra.weight", "blk.0.ant.weight", "blk.1.attn_norm.weight",
        "output.weight", "zebra.weight", "ant.weight",
    ]  # fmt: skip
