"""Tokenizers as records of the manifest, and back."""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict

import msgspec
import numpy as np

from w2e_bridge.ir.records import TokenizerLike
from w2e_bridge.protocol import jcs
from w2e_bridge.protocol.manifest import ArrayRecord, Json, Record, from_json
from w2e_bridge.protocol.values import array_of, array_record
from w2e_bridge.tokenizers.tokenizer import Tokenizer
from w2e_bridge.tokenizers.vocabulary import Rules, Vocabulary


class VocabularyRecord(Record, frozen=True):
    """`tokenizers.vocabulary.Vocabulary` and the length that goes with it.

    Attributes:
        rules: those that are set.
        charsmap: in base64.
        max_length: `Tokenizer.max_length`; text where JSON has no exact number for it.
    """

    kind: str
    tokens: tuple[str, ...] = ()
    scores: ArrayRecord | None = None
    types: ArrayRecord | None = None
    merges: tuple[str, ...] | None = None
    pre_tokenizer: str = ""
    special: dict[str, int] = msgspec.field(default_factory=dict)
    rules: tuple[str, ...] = ()
    lstrip: tuple[int, ...] = ()
    rstrip: tuple[int, ...] = ()
    chat_template: str | None = None
    chat_templates: dict[str, str] = msgspec.field(default_factory=dict)
    charsmap: str | None = None
    max_length: int | str | None = None


def tokenizer_json(tokenizer: TokenizerLike | None) -> Json | None:
    """A tokenizer as JSON; None of one that is not this project's own."""
    if not isinstance(tokenizer, Tokenizer):
        return None
    v, length = tokenizer.vocabulary, tokenizer.max_length
    record = VocabularyRecord(
        kind=v.kind,
        tokens=tuple(v.tokens),
        scores=None if v.scores is None else array_record(v.scores),
        types=None if v.types is None else array_record(v.types),
        merges=None if v.merges is None else tuple(v.merges),
        pre_tokenizer=v.pre_tokenizer,
        special=dict(v.special),
        rules=tuple(sorted(name for name, value in asdict(v.rules).items() if value)),
        lstrip=tuple(sorted(v.lstrip)),
        rstrip=tuple(sorted(v.rstrip)),
        chat_template=v.chat_template,
        chat_templates=dict(v.chat_templates),
        charsmap=None if v.charsmap is None else base64.b64encode(v.charsmap).decode("ascii"),
        max_length=str(length) if length is not None and abs(length) > jcs.EXACT else length,
    )
    document = msgspec.to_builtins(record)
    assert isinstance(document, dict)
    return document


def tokenizer_of(document: object) -> Tokenizer:
    """The tokenizer in JSON.

    Raises:
        ValueError: not of the schema.
    """
    r = from_json(document, VocabularyRecord)
    try:
        rules = Rules(**dict.fromkeys(r.rules, True))
        charsmap = None if r.charsmap is None else base64.b64decode(r.charsmap, validate=True)
    except (TypeError, binascii.Error) as error:
        raise ValueError(f"tokenizer: {error}") from error
    vocabulary = Vocabulary(
        kind=r.kind,
        tokens=r.tokens,
        scores=None if r.scores is None else array_of(r.scores).astype(np.float32, copy=False),
        types=None if r.types is None else array_of(r.types).astype(np.int32, copy=False),
        merges=r.merges,
        pre_tokenizer=r.pre_tokenizer,
        special=r.special,
        rules=rules,
        lstrip=frozenset(r.lstrip),
        rstrip=frozenset(r.rstrip),
        chat_template=r.chat_template,
        chat_templates=r.chat_templates,
        charsmap=charsmap,
    )
    _check_ids(vocabulary)
    return Tokenizer(
        vocabulary=vocabulary, max_length=None if r.max_length is None else int(r.max_length)
    )


def _check_ids(vocabulary: Vocabulary) -> None:
    count = len(vocabulary.tokens)
    ids = [*vocabulary.special.values(), *vocabulary.lstrip, *vocabulary.rstrip]
    lengths = [len(a) for a in (vocabulary.scores, vocabulary.types) if a is not None]
    if any(not 0 <= index < count for index in ids) or any(n != count for n in lengths):
        raise ValueError(f"tokenizer: ids, scores or types beyond its {count} tokens")
