"""Unigram vocabularies (`tokenizer.ggml.model` "t5"): the likeliest way to put a text together.

llama.cpp (`src/llama-vocab.cpp`, `llm_tokenizer_ugm_session`) rewrites the text by SentencePiece's
compiled map, folds its spaces, and runs Viterbi's algorithm over logarithms of probabilities, as the
`tokenizers` library does.
"""

from __future__ import annotations

import base64

import numpy as np

from w2e_bridge.tokenizers.layout import Json, Layout, replace, sequence, substitute
from w2e_bridge.tokenizers.vocabulary import SPACE_MARK, TokenType, Vocabulary

_FOLD: tuple[Json, ...] = (
    substitute(r"\A +| +\z", ""),
    {"type": "Prepend", "prepend": " "},
    substitute(" +", SPACE_MARK),
)
"""Each word gets one mark in front, the first one too, whatever the rule for prefixes says."""


def layout(vocabulary: Vocabulary) -> Layout:
    """The parts of `tokenizer.json` for a unigram vocabulary that folds spaces."""
    compiled = [] if vocabulary.charsmap is None else [_compiled(vocabulary.charsmap)]
    strip: Json = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    return Layout(
        normalizer=sequence("normalizers", [*compiled, *_FOLD]),
        pre_tokenizer=None,
        model=_model(vocabulary),
        decoder={
            "type": "Sequence",
            "decoders": [replace(SPACE_MARK, " "), {"type": "Fuse"}, strip],
        },
    )


def _compiled(charsmap: bytes) -> Json:
    text = base64.b64encode(charsmap).decode("ascii")
    return {"type": "Precompiled", "precompiled_charsmap": text}


def _model(vocabulary: Vocabulary) -> Json:
    scores = vocabulary.scores
    assert scores is not None, "a unigram vocabulary without scores has no tokenizer"
    values = scores.astype(np.float64)
    values[vocabulary.of_type(TokenType.USER_DEFINED)] = 0.0  # they always win
    pairs = zip(vocabulary.tokens, values.tolist(), strict=True)
    return {
        "type": "Unigram",
        "unk_id": vocabulary.special["unk"],
        "vocab": [list(pair) for pair in pairs],
        "byte_fallback": False,
    }
