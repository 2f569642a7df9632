"""A tokenizer's vocabulary and rules, in no file format's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

SPACE_MARK = "\N{LOWER ONE EIGHTH BLOCK}"
"""What SentencePiece writes for a space (U+2581)."""


class TokenType(IntEnum):
    """What a token is for; the numbers of SentencePiece and of `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


ADDED_TYPES = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED)
"""Tokens that are looked for in the raw text before anything else happens to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What happens to text before the vocabulary is asked, and around it.

    Attributes:
        add_bos, add_eos, add_sep: special tokens that the model expects around a text.
        space_prefix: text gets a space in front where it starts or follows a special token.
        remove_extra_whitespaces: runs of spaces become one (unigram only).
        escape_whitespaces: spaces become `SPACE_MARK` before the vocabulary is asked.
        clean_spaces: decoding takes the space before punctuation away.
        ignore_merges: a word that is a token is that token, whatever its merges say.
        byte_level: text becomes bytes, and these GPT-2's printable characters, before merging.
        lowercase, strip_accents: normalization of WordPiece vocabularies.
    """

    add_bos: bool = False
    add_eos: bool = False
    add_sep: bool = False
    space_prefix: bool = False
    remove_extra_whitespaces: bool = False
    escape_whitespaces: bool = False
    clean_spaces: bool = False
    ignore_merges: bool = False
    byte_level: bool = False
    lowercase: bool = False
    strip_accents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Vocabulary:
    """Tokens with all that is known of them.

    Attributes:
        kind: the algorithm: "spm" (merging by score), "bpe" (by rank), "wordpiece", "unigram", "none"
            (no vocabulary at all), or another word that nothing here understands.
        tokens: the text of each token, by id.
        scores: float32 for each token; the higher of two possible merges happens first ("spm"), or the
            logarithm of a probability ("unigram").
        types: a `TokenType` for each token, or None where all are normal.
        merges: "left right" in order of rank ("bpe").
        pre_tokenizer: name of the rule that cuts text into words ("bpe"), a row of `pretokenizers`.
        special: role ("bos", "eos", "unk", "sep", "pad", "cls", "mask", "eot", "eom", "fim_pre", …) to id.
        rules: what happens around the vocabulary.
        lstrip, rstrip: ids of special tokens that swallow whitespace to their left or right.
        chat_template: Jinja source of the default template.
        chat_templates: further ones, by name.
        charsmap: SentencePiece's compiled normalization ("unigram").
    """

    kind: str
    tokens: Sequence[str]
    scores: NDArray[np.float32] | None = None
    types: NDArray[np.int32] | None = None
    merges: Sequence[str] | None = None
    pre_tokenizer: str = ""
    special: Mapping[str, int] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    lstrip: frozenset[int] = frozenset()
    rstrip: frozenset[int] = frozenset()
    chat_template: str | None = None
    chat_templates: Mapping[str, str] = field(default_factory=dict)
    charsmap: bytes | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def text(self, role: str) -> str | None:
        """The token that plays a role, or None where the vocabulary has none."""
        index = self.special.get(role)
        return None if index is None else self.tokens[index]

    def of_type(self, *types: TokenType) -> list[int]:
        """Ids of all tokens of some types, ascending."""
        if self.types is None:
            return []
        return [int(i) for i in np.flatnonzero(np.isin(self.types, types))]
