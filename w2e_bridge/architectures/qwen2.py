"""Qwen 1.5 to 2.5: llama's blocks with biases of queries, keys and values."""

from __future__ import annotations

from w2e_bridge.architectures.family import Family

FAMILY = Family(names=("qwen2",), biases=frozenset({"q", "k", "v", "qkv", "output"}))
