"""`tokenizer_config.json` and `special_tokens_map.json`.

Readers: transformers 4 and 5 (`tokenization_utils_base.py`), onnxruntime-extensions
(`operators/tokenizer/tokenizer_jsconfig.hpp`). The class is the one that takes all it does from
`tokenizer.json`, under the name that all of them know.
"""

from __future__ import annotations

import re

from w2e_bridge.tokenizers.added import added_tokens
from w2e_bridge.tokenizers.layout import Json
from w2e_bridge.tokenizers.vocabulary import Vocabulary

TOKENIZER_CLASS = "PreTrainedTokenizerFast"
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def special_tokens_map(vocabulary: Vocabulary) -> Json:
    """Role to token, for the roles that transformers knows."""
    texts = {f"{role}_token": vocabulary.text(role) for role in _ROLES}
    if vocabulary.kind == "wordpiece":  # what llama.cpp calls BOS is the classifier's token there
        texts["cls_token"] = texts["cls_token"] or texts["bos_token"]
        texts["bos_token"] = None
    return {role: text for role, text in texts.items() if text is not None}


def tokenizer_config(vocabulary: Vocabulary, max_length: int | None = None) -> Json:
    """What `tokenizer_config.json` says.

    Args:
        vocabulary: the vocabulary.
        max_length: the longest text in tokens that the model takes, where it is known.
    """
    config: Json = {"tokenizer_class": TOKENIZER_CLASS}
    if vocabulary.kind != "wordpiece":  # there the flags would take away [CLS] and [SEP]
        config |= {
            "add_bos_token": vocabulary.rules.add_bos and "bos" in vocabulary.special,
            "add_eos_token": vocabulary.rules.add_eos and "eos" in vocabulary.special,
        }
    config |= special_tokens_map(vocabulary)
    config |= {"clean_up_tokenization_spaces": vocabulary.rules.clean_spaces}
    if max_length is not None:
        config["model_max_length"] = max_length
    config["added_tokens_decoder"] = {
        str(entry["id"]): {name: value for name, value in entry.items() if name != "id"}
        for entry in added_tokens(vocabulary)
    }
    if vocabulary.chat_template is not None:
        config["chat_template"] = vocabulary.chat_template
    return config


def reader_overrides(vocabulary: Vocabulary) -> Json:
    """What `tokenizer_module.json` says: entries of the configuration for onnxruntime-extensions alone.

    Text whose spaces are marks it merges word by word, cut by the expression for LLaMA 3, unless the
    class is Gemma's (`operators/tokenizer/bpe_kernels.cc`, `SpmTokenize`); to transformers 5 that class
    would mean more.
    """
    marked = vocabulary.kind in ("spm", "bpe") and not vocabulary.rules.byte_level
    return {"tokenizer_class": "GemmaTokenizer"} if marked else {}


def template_files(vocabulary: Vocabulary) -> dict[str, str]:
    """The chat templates as files, where transformers 4.52 and later look for them.

    A name that could lead out of the folder is left out.
    """
    files = {
        f"additional_chat_templates/{name}.jinja": text
        for name, text in vocabulary.chat_templates.items()
        if _NAME.fullmatch(name)
    }
    if vocabulary.chat_template is not None:
        files["chat_template.jinja"] = vocabulary.chat_template
    return files
