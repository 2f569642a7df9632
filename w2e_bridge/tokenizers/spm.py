"""SentencePiece vocabularies whose tokens have scores and no merges (`tokenizer.ggml.model` "llama").

llama.cpp (`src/llama-vocab.cpp`, `llm_tokenizer_spm_session`) takes the characters of a text and merges
two neighbours for as long as their concatenation is a token: the highest score first, the leftmost
among equals. The `tokenizers` library merges pairs by rank, the leftmost among equals, so each way to
cut a token into two tokens becomes a merge whose rank is the place of the token's score.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.tokenizers.layout import Layout, bpe_model, mark_spaces, unmark_spaces
from w2e_bridge.tokenizers.vocabulary import Vocabulary


def layout(vocabulary: Vocabulary) -> Layout:
    """The parts of `tokenizer.json` for a vocabulary with scores."""
    prefix = vocabulary.rules.space_prefix
    scores = vocabulary.scores
    if scores is None:
        scores = np.zeros(len(vocabulary), np.float32)
    return Layout(
        normalizer=mark_spaces(prefix=prefix),
        pre_tokenizer=None,
        model=bpe_model(
            vocabulary.tokens,
            partial(merges_from_scores, vocabulary.tokens, scores),
            unk=vocabulary.text("unk"),
            byte_fallback=True,
        ),
        decoder=unmark_spaces(prefix=prefix),
    )


def merges_from_scores(
    tokens: Sequence[str], scores: NDArray[np.float32]
) -> Iterator[tuple[str, str]]:
    """Every way to put a token together from two tokens, in the order in which llama.cpp would.

    Equal scores have no order of their own there, the leftmost pair wins; here longer tokens come first
    among them, and of one token's pairs the one with the longer left part, which is what the leftmost
    pair grows into in a run of one character (SentencePiece gives the runs of spaces in some vocabularies
    all the same score).
    """
    known = set(tokens)
    owners, cuts = array("i"), array("i")
    for index, text in enumerate(tokens):
        for cut in range(len(text) - 1, 0, -1):
            if text[:cut] in known and text[cut:] in known:
                owners.append(index)
                cuts.append(cut)
    owner = np.frombuffer(owners, np.intc)
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    # lexsort is stable and its last key the first: score, then length, then the order above
    order = np.lexsort((-lengths[owner], -scores[owner]))
    for place in order:
        text, cut = tokens[owners[place]], cuts[place]
        yield text[:cut], text[cut:]
