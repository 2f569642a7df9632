"""Gemma 2: norms before and after each block, capped scores and logits, every other layer slides.

Defaults, and the scale of the scores, which GGUF has no key for: ggml-org/llama.cpp
src/models/gemma2.cpp; the even layers slide (`set_swa_pattern(2)`). The embedding is multiplied by the
square root of its width in float32. Norms of a checkpoint lack the 1 that GGUF files have added.
"""

from __future__ import annotations

import math

from w2e_bridge.architectures.family import Activation, Family, inverse_root_of_head
from w2e_bridge.ir.architecture import Architecture

_LAYERS_27B = 46


def _attention_scale(architecture: Architecture) -> float:
    """The 27B model alone scales by the width of a head that its hidden width would give."""
    if architecture.layers == _LAYERS_27B:
        return 1 / math.sqrt(architecture.hidden // architecture.heads[0])
    return inverse_root_of_head(architecture)


def _embedding_scale(architecture: Architecture) -> float:
    return math.sqrt(architecture.hidden)


FAMILY = Family(
    names=("gemma2",),
    norm_offset=1.0,
    post_norm=True,
    activation=Activation.GELU_TANH,
    window=4096,
    window_cycle=(True, False),
    attention_scale=_attention_scale,
    embedding_scale=_embedding_scale,
    attention_softcap=50.0,
    logit_softcap=30.0,
)
