"""The fixtures of this folder's tests, and the library that judges what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from w2e_bridge.tokenizers import Tokenizer, Vocabulary, vocabulary_from_gguf_keys

FOLDER = Path(__file__).parents[2] / "fixtures" / "tokenizers"
KINDS = ("spm", "bpe", "wordpiece", "unigram")


def load(kind: str) -> dict[str, Any]:
    """A fixture: `keys` of a GGUF and `ids` of texts."""
    case: dict[str, Any] = json.loads((FOLDER / f"{kind}.json").read_text(encoding="utf-8"))
    return case


def keys(kind: str, **changes: object) -> dict[str, Any]:
    """The keys of a fixture as a reader gives them; `changes` by their last part, None to leave out."""
    found = dict(load(kind)["keys"])
    if "tokenizer.ggml.scores" in found:
        found["tokenizer.ggml.scores"] = np.array(found["tokenizer.ggml.scores"], np.float32)
    found["tokenizer.ggml.token_type"] = np.array(found["tokenizer.ggml.token_type"], np.int32)
    found |= {f"tokenizer.ggml.{name}": value for name, value in changes.items()}
    return {name: value for name, value in found.items() if value is not None}


def vocabulary(kind: str, **changes: object) -> Vocabulary:
    """The vocabulary of a fixture."""
    return vocabulary_from_gguf_keys(keys(kind, **changes))


def library(vocabulary_: Vocabulary) -> Any:
    """The `tokenizers` library's tokenizer, read from what we write."""
    from tokenizers import Tokenizer as Library

    return Library.from_str(json.dumps(Tokenizer(vocabulary=vocabulary_).to_json()))


def encode(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    """Ids of a text."""
    found: list[int] = tokenizer.encode(text, add_special_tokens=special).ids
    return found
