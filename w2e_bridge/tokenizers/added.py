"""Tokens that are found in the raw text, and those that are put around it."""

from __future__ import annotations

from w2e_bridge.tokenizers.layout import Json
from w2e_bridge.tokenizers.vocabulary import ADDED_TYPES, TokenType, Vocabulary


def added_tokens(vocabulary: Vocabulary) -> list[Json]:
    """Entries of `added_tokens`: control, unknown and user-defined tokens, by id.

    llama.cpp always looks for user-defined tokens in a text, and for the others where the caller trusts
    it (`parse_special`), which is what this library does unless it is told not to
    (`encode_special_tokens`).
    """
    ids = vocabulary.of_type(*ADDED_TYPES)
    plain = set(vocabulary.of_type(TokenType.USER_DEFINED))
    return [
        {
            "id": index,
            "content": vocabulary.tokens[index],
            "single_word": False,
            "lstrip": index in vocabulary.lstrip,
            "rstrip": index in vocabulary.rstrip,
            "normalized": False,
            "special": index not in plain,
        }
        for index in ids
    ]


def around(vocabulary: Vocabulary) -> tuple[str | None, str | None]:
    """The tokens that the model expects in front of a text and behind it."""
    rules, special = vocabulary.rules, vocabulary.special
    if vocabulary.kind == "wordpiece":  # always both, llama.cpp asks no flag
        return _text(vocabulary, "bos", "cls"), _text(vocabulary, "sep", "eos")
    front = vocabulary.text("bos") if rules.add_bos and "bos" in special else None
    back = vocabulary.text("eos") if rules.add_eos and "eos" in special else None
    return front, back


def _text(vocabulary: Vocabulary, *roles: str) -> str | None:
    return next((text for role in roles if (text := vocabulary.text(role)) is not None), None)


def post_processor(vocabulary: Vocabulary) -> Json | None:
    """A `TemplateProcessing` that adds what `around` says; None where that is nothing."""
    front, back = around(vocabulary)
    if front is None and back is None:
        return None
    ids = {text: index for index, text in enumerate(vocabulary.tokens) if text in (front, back)}
    return {
        "type": "TemplateProcessing",
        "single": _template("A", 0, front, back),
        "pair": _template("A", 0, front, back)
        + _template("B", 1, _second(vocabulary, front), back),
        "special_tokens": {
            text: {"id": text, "ids": [index], "tokens": [text]} for text, index in ids.items()
        },
    }


def _second(vocabulary: Vocabulary, front: str | None) -> str | None:
    return None if vocabulary.kind == "wordpiece" else front


def _template(name: str, type_id: int, front: str | None, back: str | None) -> list[Json]:
    parts: list[Json] = [
        {"SpecialToken": {"id": front, "type_id": type_id}},
        {"Sequence": {"id": name, "type_id": type_id}},
        {"SpecialToken": {"id": back, "type_id": type_id}},
    ]
    there = (front is not None, True, back is not None)
    return [part for part, wanted in zip(parts, there, strict=True) if wanted]
