"""Vocabularies, and the tokenizer files that other libraries read them from."""

from w2e_bridge.tokenizers.ggml import consumed_keys, vocabulary_from_gguf_keys
from w2e_bridge.tokenizers.tokenizer import Tokenizer
from w2e_bridge.tokenizers.vocabulary import Rules, TokenType, Vocabulary

__all__ = [
    "Rules",
    "TokenType",
    "Tokenizer",
    "Vocabulary",
    "consumed_keys",
    "vocabulary_from_gguf_keys",
]
