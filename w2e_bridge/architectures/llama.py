"""Llama 1 to 3.3, Mistral, and what shares their layout.

Queries and keys of a GGUF file have their rows permuted so that rotated pairs are neighbours
(ggml-org/llama.cpp conversion/llama.py, `permute`); in a checkpoint the pairs are halves of a head.
Llama 3.1's stretched frequencies come as a tensor of factors. A window, which Mistral 7B v0.1 states,
holds for all layers.
"""

from __future__ import annotations

from w2e_bridge.architectures.family import GGUF, Family

FAMILY = Family(
    names=("llama", "mistral"),
    biases=frozenset({"q", "k", "v", "qkv", "o", "gate", "up", "down"}),
    interleaved=frozenset({GGUF}),
    window_cycle=(True,),
)
