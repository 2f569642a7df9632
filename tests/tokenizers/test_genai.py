"""What onnxruntime-genai's own reader makes of the files; it needs no model for that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tokenizers.cases import encode, keys, library, load, vocabulary
from w2e_bridge.tokenizers import Tokenizer, Vocabulary, vocabulary_from_gguf_keys
from w2e_bridge.tokenizers.pretokenizers import ROWS

CONFIG = {
    "model": {
        "type": "llama", "vocab_size": 1000, "context_length": 64, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 2, "decoder": {"filename": "model.onnx"},
    },
    "search": {"max_length": 64},
}  # fmt: skip
PROSE = (
    "Mira runs to the river.", " mira's boat isn't new, they'll see it!", "tolemi ravu\n\nshako (be) la",
    "x = 12345;\n    return 7\n", "café naïve Éclair привет мир", "東京の川 안녕 🚤", "   four  spaces",
)  # fmt: skip


def genai(found: Vocabulary, folder: Path) -> Any:
    og = pytest.importorskip("onnxruntime_genai")
    Tokenizer(vocabulary=found).save(folder)
    (folder / "genai_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return og.Tokenizer(og.Config(str(folder)))


def ids(tokenizer: Any, text: str) -> list[int]:
    return [int(token) for token in tokenizer.encode(text)]


@pytest.mark.parametrize("kind", ["spm", "bpe"])
def test_recorded_ids_come_back(kind: str, tmp_path: Path) -> None:
    tokenizer = genai(vocabulary(kind), tmp_path)
    for text, wanted in load(kind)["ids"].items():
        assert ids(tokenizer, text) == wanted, text


@pytest.mark.parametrize("prefix", [True, False])
def test_spm_with_and_without_a_prefix(prefix: bool, tmp_path: Path) -> None:
    found = vocabulary("spm", add_space_prefix=prefix)
    tokenizer, judge = genai(found, tmp_path), library(found)
    for text in PROSE:
        assert ids(tokenizer, text) == encode(judge, text), text


def test_bos_is_added_only_on_request(tmp_path: Path) -> None:
    tokenizer = genai(vocabulary("spm"), tmp_path)
    plain = ids(tokenizer, "the river")
    assert plain[0] != 1
    tokenizer.update_options(add_special_tokens="true")
    assert ids(tokenizer, "the river") == [1, *plain]


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.rule.proof], ids=lambda row: row.names[0]
)
def test_every_pre_tokenizer_can_be_read(row: Any, tmp_path: Path) -> None:
    source = keys("bpe", pre=row.names[0])
    if not row.rule.byte_level:
        source["tokenizer.ggml.tokens"] += [f"<0x{byte:02X}>" for byte in range(256)]
        source["tokenizer.ggml.token_type"] = None
    found = vocabulary_from_gguf_keys({name: v for name, v in source.items() if v is not None})
    tokenizer, judge = genai(found, tmp_path), library(found)
    equal = [ids(tokenizer, text) == encode(judge, text) for text in PROSE]
    assert all(equal) or row.rule.reader is not None
    assert sum(equal) >= len(PROSE) // 2
    assert ids(tokenizer, "tolemi " * 5000)[:3] == encode(judge, "tolemi " * 9)[:3]
