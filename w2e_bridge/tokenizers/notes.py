"""What the files can't say of a vocabulary, and why there may be no files at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.tokenizers.added import around
from w2e_bridge.tokenizers.bpe import bytes_without_token, lost_merges
from w2e_bridge.tokenizers.pretokenizers import pre_tokenizer
from w2e_bridge.tokenizers.vocabulary import TokenType, Vocabulary

Note = tuple[str, str]
"""Name of a behaviour, and what becomes of it."""

_GENAI = 'onnxruntime-genai only with tokenizer.update_options(add_special_tokens="true")'
_SHOWN = 3


def missing(vocabulary: Vocabulary) -> str | None:
    """Why there can be no tokenizer files, or None where there can."""
    if vocabulary.kind == "none":
        return "the file carries no vocabulary"
    check = _CHECKS.get(vocabulary.kind)
    if check is None:
        return f"no proved equivalent of vocabularies of the kind {vocabulary.kind!r}"
    return check(vocabulary) or _texts(vocabulary.tokens)


def notes(vocabulary: Vocabulary) -> tuple[Note, ...]:
    """Behaviours that the files can't say, or that one of their readers does not follow."""
    found = [*_special_tokens(vocabulary)]
    found += _NOTES.get(vocabulary.kind, _nothing)(vocabulary)
    return tuple(found)


def _texts(tokens: Sequence[str]) -> str | None:
    if len(set(tokens)) != len(tokens):
        return "two tokens have the same text"
    try:
        "\n".join(tokens).encode("utf-8")
    except UnicodeEncodeError:
        return "a token's text is not valid UTF-8"
    return None


def _spm(vocabulary: Vocabulary) -> str | None:
    return "the tokens have no scores" if vocabulary.scores is None else None


def _bpe(vocabulary: Vocabulary) -> str | None:
    name = vocabulary.pre_tokenizer
    row = pre_tokenizer(name)
    if row is None:
        return f"the pre-tokenizer {name!r} is not known"
    if not row.rule.proof:
        return f"no proved equivalent of the pre-tokenizer {name!r}"
    if vocabulary.merges is None and name != "kimi-k2":  # llama.cpp's own exception
        return "the vocabulary has no merges"
    return None


def _wordpiece(vocabulary: Vocabulary) -> str | None:
    return None if "unk" in vocabulary.special else "the vocabulary has no unknown token"


def _unigram(vocabulary: Vocabulary) -> str | None:
    if not vocabulary.rules.remove_extra_whitespaces:
        return "no proved equivalent of a unigram vocabulary that keeps runs of spaces"
    return _spm(vocabulary) or _wordpiece(vocabulary)


_CHECKS: dict[str, Callable[[Vocabulary], str | None]] = {
    "spm": _spm,
    "bpe": _bpe,
    "wordpiece": _wordpiece,
    "unigram": _unigram,
}


def _special_tokens(vocabulary: Vocabulary) -> list[Note]:
    """onnxruntime-genai creates its tokenizer with `add_special_tokens` off (`src/models/model.cpp`)."""
    if vocabulary.kind not in ("spm", "bpe"):  # it reads no others
        return []
    front, back = around(vocabulary)
    rows = (("bos", "in front of", front), ("eos", "behind", back))
    return [
        (
            f"tokenizer: {role}",
            f"the model expects {text!r} {place} a text, which is added by {_GENAI}",
        )
        for role, place, text in rows
        if text is not None
    ]


def _bpe_notes(vocabulary: Vocabulary) -> list[Note]:
    found: list[Note] = []
    row = pre_tokenizer(vocabulary.pre_tokenizer)
    if row is not None and row.rule.reader is not None:
        reason = "onnxruntime-genai can't read its expressions and cuts some words in other places"
        found.append((f"tokenizer: pre-tokenizer {vocabulary.pre_tokenizer!r}", reason))
    silent = bytes_without_token(vocabulary.tokens) if vocabulary.rules.byte_level else 0
    if silent:
        reason = "they are left out, and what stands on both sides of one can be merged"
        found.append((f"tokenizer: {silent} bytes that have no token", reason))
    lost = lost_merges(vocabulary.tokens, vocabulary.merges or ())
    if lost:
        reason = "what they make is no token, which tokenizer.json can't say"
        found.append((f"tokenizer: {lost} merges", reason))
    return found


def _spm_notes(vocabulary: Vocabulary) -> list[Note]:
    found: list[Note] = []
    tied = _tied(vocabulary)
    if tied:
        reason = (
            f"among tokens of equal score ({', '.join(map(repr, tied[:_SHOWN]))}) llama.cpp takes the"
            " leftmost, tokenizer.json the longest"
        )
        found.append((f"tokenizer: {len(tied)} tokens of equal score", reason))
    apart = _apart(vocabulary)
    if apart:
        reason = (
            f"a character of theirs is no token ({', '.join(map(repr, apart[:_SHOWN]))}), so"
            " tokenizer.json can't put them together"
        )
        found.append((f"tokenizer: {len(apart)} tokens", reason))
    return found


def _normal(vocabulary: Vocabulary) -> list[int]:
    """Ids of the tokens that text is made of; runs of one character are left out, they do no harm."""
    ids: Iterable[int] = range(len(vocabulary))
    if vocabulary.types is not None:
        ids = vocabulary.of_type(TokenType.NORMAL)
    return [index for index in ids if len(set(vocabulary.tokens[index])) > 1]


def _tied(vocabulary: Vocabulary) -> list[str]:
    """Tokens that merging makes and that share their score with another such token."""
    assert vocabulary.scores is not None
    known = set(vocabulary.tokens)
    ids = _sharing(vocabulary.scores, _normal(vocabulary))
    made = [index for index in ids if _two_of(vocabulary.tokens[index], known)]
    return [vocabulary.tokens[index] for index in _sharing(vocabulary.scores, made)]


def _sharing(scores: NDArray[np.float32], ids: list[int]) -> list[int]:
    _, inverse, counts = np.unique(scores[ids], return_inverse=True, return_counts=True)
    return [ids[i] for i in np.flatnonzero(counts[inverse] > 1).tolist()]


def _apart(vocabulary: Vocabulary) -> list[str]:
    """Tokens that llama.cpp makes out of a character that is no token itself."""
    known = set(vocabulary.tokens)
    texts = [vocabulary.tokens[i] for i in _normal(vocabulary)]
    found = [text for text in texts if not known.issuperset(text)]
    return [text for text in found if _two_of(text, known.union(*found))]


def _two_of(text: str, parts: set[str]) -> bool:
    return any(text[:cut] in parts and text[cut:] in parts for cut in range(1, len(text)))


def _unigram_notes(vocabulary: Vocabulary) -> list[Note]:
    """`Precompiled` works on graphemes (huggingface/tokenizers `src/normalizers/precompiled.rs`)."""
    if vocabulary.charsmap is None:
        return []
    name = "tokenizer: a combining mark behind a character that the vocabulary normalizes"
    return [(name, "the tokenizers library can lose the mark, which llama.cpp keeps")]


def _nothing(_: Vocabulary) -> list[Note]:
    return []


_NOTES: dict[str, Callable[[Vocabulary], list[Note]]] = {
    "spm": _spm_notes,
    "bpe": _bpe_notes,
    "unigram": _unigram_notes,
}
