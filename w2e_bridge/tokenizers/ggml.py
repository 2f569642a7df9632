"""A `Vocabulary` out of the `tokenizer.*` keys of a GGUF.

Keys and their types: gguf-py `constants.py` (`Keys.Tokenizer`); what a missing key means:
ggml-org/llama.cpp `src/llama-vocab.cpp` (`llama_vocab::impl::load`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.tokenizers.pretokenizers import pre_tokenizer
from w2e_bridge.tokenizers.vocabulary import Rules, TokenType, Vocabulary

_PREFIX = "tokenizer.ggml."
_TEMPLATE = "tokenizer.chat_template"
_TEMPLATES = "tokenizer.chat_templates"
_NONE_ID = (-1, 0xFFFFFFFF)
_LARGEST = 1 << 24  # tokens; the largest vocabulary known has 2^18

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Defaults:
    """What a value of `tokenizer.ggml.model` brings with it where no other key says otherwise."""

    kind: str
    special: Mapping[str, int] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)


_MODELS = {
    "llama": _Defaults(
        kind="spm",
        special={"bos": 1, "eos": 2, "unk": 0},
        rules=Rules(add_bos=True, space_prefix=True, escape_whitespaces=True),
    ),
    "gpt2": _Defaults(kind="bpe"),
    "gemma4": _Defaults(kind="bpe"),
    "bert": _Defaults(
        kind="wordpiece",
        special={"bos": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103},
        rules=Rules(
            add_bos=True, add_sep=True, clean_spaces=True, lowercase=True, strip_accents=True
        ),
    ),
    "t5": _Defaults(
        kind="unigram",
        special={"eos": 1, "unk": 2, "pad": 0},
        rules=Rules(add_eos=True, escape_whitespaces=True),
    ),
    "none": _Defaults(kind="none"),
    "no_vocab": _Defaults(kind="none"),
}

_SPECIAL = {
    "bos": ("bos_token_id",),
    "eos": ("eos_token_id",),
    "unk": ("unknown_token_id",),
    "sep": ("seperator_token_id",),  # spelled so in every file
    "pad": ("padding_token_id",),
    "cls": ("cls_token_id",),
    "mask": ("mask_token_id",),
    "eot": ("eot_token_id",),
    "eom": ("eom_token_id",),
    "fim_pre": ("fim_pre_token_id", "prefix_token_id"),
    "fim_suf": ("fim_suf_token_id", "suffix_token_id"),
    "fim_mid": ("fim_mid_token_id", "middle_token_id"),
    "fim_pad": ("fim_pad_token_id",),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}
_FLAGS = {
    "add_bos": "add_bos_token",
    "add_eos": "add_eos_token",
    "add_sep": "add_sep_token",
    "space_prefix": "add_space_prefix",
    "remove_extra_whitespaces": "remove_extra_whitespaces",
    "lowercase": "normalizer.lowercase",
    "strip_accents": "normalizer.strip_accents",
}
_OTHER = ("model", "pre", "tokens", "scores", "token_type", "merges", "precompiled_charsmap")
_CONSUMED = frozenset(
    _PREFIX + name
    for name in (*_OTHER, *_FLAGS.values(), *(key for keys in _SPECIAL.values() for key in keys))
)


def consumed_keys(keys: Mapping[str, object]) -> frozenset[str]:
    """Those of the keys that `vocabulary_from_gguf_keys` understands, for the caller to list the rest."""
    return frozenset(
        key for key in keys if key in _CONSUMED or key.startswith((_TEMPLATE, _TEMPLATES))
    )


@dataclass(frozen=True, slots=True)
class _Keys:
    """Typed look-ups; every failure is a `FormatError` that names the key."""

    values: Mapping[str, object]
    path: str | PathLike[str]

    def wrong(self, key: str, expected: str, found: object) -> FormatError:
        where = Where(path=self.path, tensor=key)
        return FormatError(where, f"expected {expected}, found {str(found)[:60]!r}")

    def get(self, key: str, type_: type[_Value], fallback: _Value) -> _Value:
        value = self.values.get(key, fallback)
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(value, type_):
            raise self.wrong(key, f"a value of type {type_.__name__}", type(value).__name__)
        return value

    def strings(self, key: str) -> Sequence[str] | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or set(map(type, value)) - {str}:
            raise self.wrong(key, "an array of strings", type(value).__name__)
        return value

    def numbers(self, key: str, kinds: str, count: int | None = None) -> NDArray[Any] | None:
        """A one-dimensional array; the first `count` of its numbers, which it must have."""
        value = self.values.get(key)
        if value is None:
            return None
        array = np.asarray(value)
        if array.ndim != 1 or array.dtype.kind not in kinds:
            raise self.wrong(key, "an array of numbers", f"{array.dtype} of {array.ndim} axes")
        if count is not None and array.size < count:
            raise self.wrong(key, f"{count} numbers, one for each token", array.size)
        return array[:count]


def vocabulary_from_gguf_keys(
    keys: Mapping[str, object], path: str | PathLike[str] = "GGUF"
) -> Vocabulary:
    """The vocabulary that a GGUF's keys describe.

    Arrays of strings may be lists or tuples and are kept, not copied; numbers may be Python's or numpy's.
    `general.name` and `general.architecture` are looked at too where they are given: llama.cpp knows by
    them which special tokens swallow whitespace.

    Args:
        keys: key to value, at least the `tokenizer.*` ones.
        path: the file, for errors.

    Raises:
        FormatError: a length, a type or an id does not fit.
    """
    read = _Keys(keys, path)
    model = read.get(_PREFIX + "model", str, "none")
    defaults = _MODELS.get(model, _Defaults(kind=model))
    if defaults.kind == "none":
        return Vocabulary(kind="none", tokens=())
    tokens = _tokens(read)
    name = model if model == "gemma4" else read.get(_PREFIX + "pre", str, "")
    rules = _rules(read, defaults, name)
    special = _special(read, defaults, rules, len(tokens))
    lstrip, rstrip = _strips(read, tokens, name)
    return Vocabulary(
        kind=defaults.kind,
        tokens=tokens,
        scores=_scores(read, len(tokens)),
        types=_types(read, len(tokens)),
        merges=read.strings(_PREFIX + "merges"),
        pre_tokenizer=name,
        special=special,
        rules=rules,
        lstrip=lstrip,
        rstrip=rstrip,
        chat_template=read.get(_TEMPLATE, str, "") or None,
        chat_templates=_named_templates(read),
        charsmap=_charsmap(read),
    )


def _tokens(read: _Keys) -> Sequence[str]:
    key = _PREFIX + "tokens"
    tokens = read.strings(key)
    if tokens is None or not 0 < len(tokens) <= _LARGEST:
        found = "none" if tokens is None else len(tokens)
        raise read.wrong(key, f"1 to {_LARGEST} tokens", found)
    if "" in tokens:  # llama.cpp gives them a name, so that texts stay unique
        return [text or f"[EMPTY_{index}]" for index, text in enumerate(tokens)]
    return tokens


def _scores(read: _Keys, count: int) -> NDArray[np.float32] | None:
    key = _PREFIX + "scores"
    scores = read.numbers(key, "fi", count)
    if scores is None:
        return None
    values = scores.astype(np.float32)
    if np.isnan(values).any():
        raise read.wrong(key, "scores that can be compared", "NaN")
    return values


def _types(read: _Keys, count: int) -> NDArray[np.int32] | None:
    types = read.numbers(_PREFIX + "token_type", "iu", count)
    if types is None:
        return None
    known = np.isin(types, [int(kind) for kind in TokenType])
    return np.where(known, types, int(TokenType.UNDEFINED)).astype(np.int32)


def _charsmap(read: _Keys) -> bytes | None:
    bytes_ = read.numbers(_PREFIX + "precompiled_charsmap", "iu")
    return None if bytes_ is None else bytes_.astype(np.uint8).tobytes()


def _rules(read: _Keys, defaults: _Defaults, name: str) -> Rules:
    values = {slot: getattr(defaults.rules, slot) for slot in Rules.__dataclass_fields__}
    row = pre_tokenizer(name) if defaults.kind == "bpe" else None
    if row is not None:
        values |= {
            "add_bos": row.add_bos,
            "add_sep": row.add_sep,
            "clean_spaces": row.clean_spaces,
            "ignore_merges": row.ignore_merges,
            "escape_whitespaces": row.escape_whitespaces,
            "byte_level": row.rule.byte_level,
        }
    for slot, key in _FLAGS.items():
        if slot == "strip_accents":
            values[slot] = values["lowercase"]
        values[slot] = read.get(_PREFIX + key, bool, values[slot])
    if row is not None and row.source == "GEMMA4":
        values["add_bos"] = True  # whatever the file says: llama.cpp pull request 21500
    return Rules(**values)


def _special(read: _Keys, defaults: _Defaults, rules: Rules, count: int) -> dict[str, int]:
    special = {role: index for role, index in defaults.special.items() if index < count}
    if defaults.kind == "bpe" and count > 11:  # GPT-2 files without ids: the comma's place
        special |= {role: 11 for role in ("bos", "eos") if getattr(rules, f"add_{role}")}
    for role, names in _SPECIAL.items():
        for key in (_PREFIX + name for name in names):
            index = read.get(key, int, -1)
            if index in _NONE_ID:
                continue
            if not 0 <= index < count:
                raise read.wrong(key, f"a token id below {count}", index)
            special[role] = index
    return special


def _named_templates(read: _Keys) -> dict[str, str]:
    names = read.strings(_TEMPLATES) or ()
    keys = {name: f"{_TEMPLATE}.{name}" for name in names}
    return {name: read.get(key, str, "") for name, key in keys.items() if key in read.values}


_PHI3_KEEP = ("<unk>", "<s>", "<|endoftext|>")


def _strips(read: _Keys, tokens: Sequence[str], name: str) -> tuple[frozenset[int], frozenset[int]]:
    """Ids that swallow whitespace to their left and to their right.

    No key says it; llama.cpp knows some models by their names (`src/llama-vocab.cpp`, "Handle per token
    attributes").
    """
    model = read.get("general.name", str, "").lower()
    architecture = read.get("general.architecture", str, "")
    by_pre = any(word in name for word in ("jina-v2-de", "jina-v2-es", "jina-v2-code"))
    by_arch = any(word in architecture for word in ("nomic-bert-moe", "jina-bert-v3"))
    if by_pre or by_arch:
        return _positions(tokens, ("<mask>",)), frozenset()
    if "phi-3" in model or "phi3" in model:
        types = _types(read, len(tokens))
        added = () if types is None else np.flatnonzero(np.isin(types, (2, 3, 4)))
        ids = frozenset(int(i) for i in added) | _positions(tokens, ("</s>",))
        return frozenset(), ids - _positions(tokens, _PHI3_KEEP)
    if "modern-bert" in model:
        return _positions(tokens, ("[MASK]",)), frozenset()
    return frozenset(), frozenset()


def _positions(tokens: Sequence[str], texts: tuple[str, ...]) -> frozenset[int]:
    return frozenset(tokens.index(text) for text in texts if text in tokens)
