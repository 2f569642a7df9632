"""Qwen 3, dense: no biases; each head of queries and keys is normalized before it is rotated."""

from __future__ import annotations

from w2e_bridge.architectures.family import Family, HeadNorm

FAMILY = Family(names=("qwen3",), head_norm=HeadNorm.HEAD)
