"""The tokenizer of a model, and the files that other libraries read it from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.tokenizers import bpe, dump, spm, unigram, wordpiece
from w2e_bridge.tokenizers.added import added_tokens, post_processor
from w2e_bridge.tokenizers.config import (
    reader_overrides,
    special_tokens_map,
    template_files,
    tokenizer_config,
)
from w2e_bridge.tokenizers.layout import Json, Layout
from w2e_bridge.tokenizers.notes import missing, notes
from w2e_bridge.tokenizers.vocabulary import Vocabulary

_LAYOUTS: dict[str, Callable[[Vocabulary], Layout]] = {
    "spm": spm.layout,
    "bpe": bpe.layout,
    "wordpiece": wordpiece.layout,
    "unigram": unigram.layout,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tokenizer:
    """A vocabulary that can be saved.

    Attributes:
        vocabulary: tokens and rules.
        max_length: the longest text in tokens that the model takes, where it is known.
    """

    vocabulary: Vocabulary
    max_length: int | None = None

    @property
    def missing(self) -> str | None:
        """Why there are no tokenizer files to be had, or None where there are."""
        return missing(self.vocabulary)

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """(name, reason) of behaviours that the files can't say."""
        return notes(self.vocabulary)

    def to_json(self) -> Json:
        """What `tokenizer.json` says: the format of the `tokenizers` library.

        Raises:
            UnsupportedError: there is none, see `missing`.
        """
        reason = self.missing
        if reason is not None:
            raise UnsupportedError(f"no tokenizer files: {reason}")
        parts = _LAYOUTS[self.vocabulary.kind](self.vocabulary)
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added_tokens(self.vocabulary),
            "normalizer": parts.normalizer,
            "pre_tokenizer": parts.pre_tokenizer,
            "post_processor": post_processor(self.vocabulary),
            "decoder": parts.decoder,
            "model": parts.model,
        }

    def config(self) -> Json:
        """What `tokenizer_config.json` says."""
        return tokenizer_config(self.vocabulary, self.max_length)

    def save(self, folder: Path | str) -> list[str]:
        """Write `tokenizer.json`, `tokenizer_config.json` and their companions.

        Args:
            folder: where; made if it is not there.

        Returns:
            The names written.

        Raises:
            UnsupportedError: there are none, see `missing`; nothing is written.
        """
        contents = self.to_json()
        files = {
            "tokenizer_config.json": dump.text(self.config()),
            "special_tokens_map.json": dump.text(special_tokens_map(self.vocabulary)),
        }
        overrides = reader_overrides(self.vocabulary)
        if overrides:
            files["tokenizer_module.json"] = dump.text(overrides)
        files |= template_files(self.vocabulary)
        Path(folder).mkdir(parents=True, exist_ok=True)
        dump.write_compact(Path(folder) / "tokenizer.json", contents)
        for name, text in files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        return ["tokenizer.json", *files]
