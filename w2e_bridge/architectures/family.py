"""What makes a family of networks: a record whose fields choose among the blocks of `parts`."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

from w2e_bridge.ir.architecture import Architecture

GGUF, HUGGING_FACE = "gguf", "huggingface"
"""Values of `Architecture.source`: whose conventions the tensors follow."""


class Norm(enum.Enum):
    """RMS: by the root mean square. LAYER: mean taken away first; with or without a bias."""

    RMS = "rms"
    LAYER = "layer"


class Activation(enum.Enum):
    """The nonlinearity of a feed-forward network; GELU_TANH is the approximation by a tanh."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"


class HeadNorm(enum.Enum):
    """What of queries and keys is normalized before they are rotated.

    NONE: nothing. HEAD: each head by itself. WHOLE: all heads of a token together.
    """

    NONE = "none"
    HEAD = "head"
    WHOLE = "whole"


def inverse_root_of_head(architecture: Architecture) -> float:
    """The usual factor of the scores."""
    return 1 / math.sqrt(architecture.head_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A family of decoders, as data. What `Architecture` says goes before the defaults here.

    Attributes:
        names: values of `Architecture.family`.
        norm: kind of normalization.
        norm_offset: added to the weights of every norm where the source is a checkpoint (GGUF files hold
            the sum).
        pre_norm: whether attention and feed-forward network see a normalized input.
        post_norm: whether their output is normalized before it is added to the residual stream.
        head_norm: what of queries and keys is normalized.
        activation: of the feed-forward network.
        gated: whether its activation is multiplied by a second projection.
        biases: roles of layers (and "output") that may have a bias.
        interleaved: sources in which the rotated pairs are neighbours.
        window: tokens that a sliding window covers, None = no default.
        window_cycle: which layers slide, repeated over the layers; `()` = the family doesn't say.
        local_scaled: whether layers that slide share the scaling of the rotary frequencies.
        attention_scale: factor of the scores.
        embedding_scale: factor of the embedding, None = 1.
        attention_softcap, logit_softcap: caps where the source doesn't say, 0 = none.
        extras: keys of `Architecture.extra` that the family knows.
    """

    names: tuple[str, ...]
    norm: Norm = Norm.RMS
    norm_offset: float = 0.0
    pre_norm: bool = True
    post_norm: bool = False
    head_norm: HeadNorm = HeadNorm.NONE
    activation: Activation = Activation.SILU
    gated: bool = True
    biases: frozenset[str] = frozenset()
    interleaved: frozenset[str] = frozenset()
    window: int | None = None
    window_cycle: tuple[bool, ...] = ()
    local_scaled: bool = True
    attention_scale: Callable[[Architecture], float] = inverse_root_of_head
    embedding_scale: Callable[[Architecture], float] | None = None
    attention_softcap: float = 0.0
    logit_softcap: float = 0.0
    extras: frozenset[str] = frozenset()
