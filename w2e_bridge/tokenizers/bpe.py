"""Vocabularies with merges (`tokenizer.ggml.model` "gpt2" and "gemma4")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from w2e_bridge.tokenizers.layout import (
    Json,
    Layout,
    bpe_model,
    mark_spaces,
    sequence,
    split,
    unmark_spaces,
)
from w2e_bridge.tokenizers.pretokenizers import pre_tokenizer
from w2e_bridge.tokenizers.splits import Split
from w2e_bridge.tokenizers.vocabulary import Vocabulary

_BYTES: Json = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}


def layout(vocabulary: Vocabulary) -> Layout:
    """The parts of `tokenizer.json` for a vocabulary with merges and a proved pre-tokenizer."""
    row = pre_tokenizer(vocabulary.pre_tokenizer)
    assert row is not None, "a vocabulary without a known pre-tokenizer has no tokenizer"
    byte_level = vocabulary.rules.byte_level
    model = bpe_model(
        vocabulary.tokens,
        partial(known_merges, vocabulary.tokens, vocabulary.merges or ()),
        unk=None if byte_level else vocabulary.text("unk"),
        byte_fallback=not byte_level,
        ignore_merges=vocabulary.rules.ignore_merges,
    )
    escape = vocabulary.rules.escape_whitespaces
    return Layout(
        normalizer=mark_spaces(prefix=False) if escape else None,
        pre_tokenizer=_pre_tokenizer(row.rule),
        model=model,
        decoder=_BYTES if byte_level else unmark_spaces(prefix=False),
    )


def _pre_tokenizer(rule: Split) -> Json | None:
    """The cuts, then the bytes.

    Where onnxruntime-extensions can't read the expressions, they go into a sequence of their own, which
    its reader passes over (`BpeModel::LoadPreTokenizer`), and what it reads instead stands behind, with a
    behaviour that it does not look at and that leaves text whole for everybody else: matches that
    touch are one piece, and these always touch.
    """
    steps = [split(pattern) for pattern in rule.patterns]
    if rule.reader is not None:
        steps = [{"type": "Sequence", "pretokenizers": steps}, split(rule.reader, "Contiguous")]
    if rule.byte_level:
        steps.append(_BYTES)
    return sequence("pretokenizers", steps)


def known_merges(tokens: Sequence[str], merges: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Merges as pairs, each once; llama.cpp cuts "left right" at the first space behind the first character.

    A merge of which a part or the result is no token can't be said in `tokenizer.json`, and a pair has
    the rank where it stands first.
    """
    known = set(tokens)
    for merge in dict.fromkeys(merges):
        cut = merge.find(" ", 1)
        left, right = merge[:cut], merge[cut + 1 :]
        if cut > 0 and left in known and right in known and left + right in known:
            yield left, right


def lost_merges(tokens: Sequence[str], merges: Sequence[str]) -> int:
    """How many merges make something that is no token."""
    results = {merge[:1] + merge[1:].replace(" ", "", 1) for merge in merges}
    return len(results.difference(tokens))


def bytes_without_token(tokens: Sequence[str]) -> int:
    """How many bytes have no token in GPT-2's alphabet: printable Latin-1 as it is, the rest from U+0100.

    Source: openai/gpt-2 `src/encoder.py`, `bytes_to_unicode`.
    """
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    alphabet = {chr(code) for code in (*plain, *range(0x100, 0x200 - len(plain)))}
    return len(alphabet.difference(tokens))
