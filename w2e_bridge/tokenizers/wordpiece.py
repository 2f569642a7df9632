"""WordPiece vocabularies (`tokenizer.ggml.model` "bert").

llama.cpp writes the start of a word as a mark and what continues it without (`conversion/bert.py`,
"phantom space"); the `tokenizers` library writes the start without and the rest behind "##".
"""

from __future__ import annotations

from collections.abc import Sequence

from w2e_bridge.tokenizers.layout import Json, Layout, sequence, substitute
from w2e_bridge.tokenizers.vocabulary import ADDED_TYPES, SPACE_MARK, Rules, Vocabulary

_CONTINUES = "##"
_LONGEST_WORD = 1000
"""Characters. llama.cpp has no limit; the library's search takes cubic time in a word's length."""


_SYLLABLE = 0xAC00
"""The first Hangul syllable (Unicode 3.12): 588 with each of the 19 leading consonants follow."""


def layout(vocabulary: Vocabulary) -> Layout:
    """The parts of `tokenizer.json` for a WordPiece vocabulary."""
    return Layout(
        normalizer=_normalizer(vocabulary.rules),
        pre_tokenizer={"type": "BertPreTokenizer"},
        model=_model(vocabulary),
        decoder={
            "type": "WordPiece",
            "prefix": _CONTINUES,
            "cleanup": vocabulary.rules.clean_spaces,
        },
    )


def _normalizer(rules: Rules) -> Json | None:
    """What `llm_tokenizer_wpm_session::preprocess` does, said in the library's steps.

    It differs from BERT's own: vertical tab, form feed and next line are spaces; of a character's
    decomposition only the first one stays, and every mark goes.
    """
    bert: Json = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": rules.strip_accents,
        "lowercase": rules.lowercase,
    }
    spaces = substitute("[\x0b\x0c\x85]", " ")
    if not rules.strip_accents:
        return sequence("normalizers", [spaces, bert])
    hangul = [
        substitute(f"[{chr(first)}-{chr(first + 587)}]", chr(0x1100 + index))
        for index, first in enumerate(range(_SYLLABLE, _SYLLABLE + 19 * 588, 588))
    ]
    return sequence("normalizers", [spaces, *hangul, bert, substitute(r"\p{M}", "")])


def _model(vocabulary: Vocabulary) -> Json:
    return {
        "type": "WordPiece",
        "unk_token": vocabulary.text("unk"),
        "continuing_subword_prefix": _CONTINUES,
        "max_input_chars_per_word": _LONGEST_WORD,
        "vocab": {text: index for index, text in enumerate(word_pieces(vocabulary))},
    }


def word_pieces(vocabulary: Vocabulary) -> Sequence[str]:
    """The tokens in the library's spelling; special ones keep theirs."""
    added = set(vocabulary.of_type(*ADDED_TYPES))
    if vocabulary.types is None:
        added = set(vocabulary.special.values())
    return [
        text if index in added or _is_placeholder(text) else _spell(text)
        for index, text in enumerate(vocabulary.tokens)
    ]


def _is_placeholder(text: str) -> bool:
    return len(text) > 2 and text[0] == "[" and text[-1] == "]"


def _spell(text: str) -> str:
    return text[1:] if text.startswith(SPACE_MARK) else _CONTINUES + text
