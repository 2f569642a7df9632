from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from tests.tokenizers.cases import KINDS, keys, vocabulary
from w2e_bridge.errors import FormatError
from w2e_bridge.tokenizers import TokenType, consumed_keys, vocabulary_from_gguf_keys

G = "tokenizer.ggml."


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    found = vocabulary(kind)
    assert found.kind == kind
    assert len(found) == len(keys(kind)["tokenizer.ggml.tokens"])


def test_arrays_of_strings_are_kept_not_copied() -> None:
    source = keys("bpe")
    found = vocabulary_from_gguf_keys(source)
    assert found.tokens is source[G + "tokens"]
    assert found.merges is source[G + "merges"]


def test_ids_and_flags() -> None:
    found = vocabulary("spm")
    assert (found.text("bos"), found.text("eos"), found.text("unk")) == ("<s>", "</s>", "<unk>")
    assert found.text("pad") is None
    assert found.rules.add_bos
    assert not found.rules.add_eos
    assert found.rules.space_prefix
    assert found.of_type(TokenType.CONTROL) == [1, 2]


def test_what_a_missing_key_means() -> None:
    bare = {name: keys("spm")[name] for name in (G + "model", G + "tokens", G + "scores")}
    found = vocabulary_from_gguf_keys(bare)
    assert found.special == {"bos": 1, "eos": 2, "unk": 0}
    assert found.rules.add_bos
    assert found.types is None
    assert found.of_type(TokenType.BYTE) == []
    assert vocabulary_from_gguf_keys({}).kind == "none"


@pytest.mark.parametrize("name", ["none", "no_vocab"])
def test_a_file_without_a_vocabulary(name: str) -> None:
    assert vocabulary_from_gguf_keys({G + "model": name}).kind == "none"


def test_a_model_that_nothing_understands_keeps_its_name() -> None:
    assert vocabulary("spm", model="rwkv").kind == "rwkv"


@pytest.mark.parametrize(
    ("pre", "add_bos", "ignore_merges"),
    [("llama-bpe", True, True), ("qwen2", False, False), ("made-up", False, False)],
)
def test_the_pre_tokenizer_brings_rules(pre: str, add_bos: bool, ignore_merges: bool) -> None:
    rules = vocabulary("bpe", pre=pre, bos_token_id=0).rules
    assert (rules.add_bos, rules.ignore_merges) == (add_bos, ignore_merges)


def test_the_file_overrides_the_pre_tokenizer_except_gemma4s() -> None:
    assert not vocabulary("bpe", pre="llama-bpe", add_bos_token=False).rules.add_bos
    assert vocabulary("bpe", model="gemma4", add_bos_token=False).rules.add_bos


def test_accents_go_with_case_unless_said_otherwise() -> None:
    both = {"normalizer.lowercase": False}
    assert not vocabulary("wordpiece", **both).rules.strip_accents
    assert vocabulary("wordpiece", **both, **{"normalizer.strip_accents": True}).rules.strip_accents


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tokens": None}, "expected 1 to 16777216 tokens, found 'none'"),
        ({"tokens": []}, "found '0'"),
        ({"tokens": "abc"}, "expected an array of strings, found 'str'"),
        ({"tokens": ["a", 1]}, "expected an array of strings"),
        ({"merges": np.zeros(3)}, "expected an array of strings, found 'ndarray'"),
        ({"scores": np.zeros(3, np.float32)}, "numbers, one for each token, found '3'"),
        ({"scores": ["x"]}, "expected an array of numbers"),
        ({"scores": np.full(999, np.nan, np.float32)}, "scores that can be compared, found 'NaN'"),
        ({"token_type": np.zeros((2, 999), np.int32)}, "expected an array of numbers"),
        ({"token_type": np.zeros(5, np.int32)}, "numbers, one for each token"),
        ({"bos_token_id": 99999}, "expected a token id below"),
        ({"eos_token_id": -7}, "expected a token id below"),
        ({"padding_token_id": "0"}, "a value of type int, found 'str'"),
        ({"add_bos_token": 1}, "a value of type bool, found 'int'"),
        ({"model": 7}, "a value of type str, found 'int'"),
        ({"precompiled_charsmap": np.zeros(4)}, "expected an array of numbers"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    broken = {f"{G}{name}": value for name, value in changes.items()}
    source = {name: value for name, value in (keys("spm") | broken).items() if value is not None}
    with pytest.raises(FormatError) as caught:
        vocabulary_from_gguf_keys(source, "model.gguf")
    assert words in str(caught.value)
    assert f"model.gguf '{G}{next(iter(changes))}'" in str(caught.value)


def test_an_id_that_says_none_is_none() -> None:
    assert "pad" not in vocabulary("spm", padding_token_id=0xFFFFFFFF).special
    assert "mask" not in vocabulary("spm", mask_token_id=-1).special


def test_numpy_scalars_are_values_too() -> None:
    found = vocabulary("spm", bos_token_id=np.uint32(2), add_eos_token=np.True_)
    assert found.special["bos"] == 2
    assert found.rules.add_eos


def test_unknown_types_are_undefined_and_empty_tokens_get_a_name() -> None:
    source = keys("spm")
    source[G + "token_type"][5] = 99
    source[G + "tokens"] = ["x" if i else "" for i in range(len(source[G + "tokens"]))]
    found = vocabulary_from_gguf_keys(source)
    assert found.types is not None
    assert found.types[5] == TokenType.UNDEFINED
    assert found.tokens[0] == "[EMPTY_0]"


def test_longer_arrays_than_tokens_are_cut() -> None:
    count = len(keys("spm")[G + "tokens"])
    found = vocabulary("spm", scores=np.zeros(count + 4, np.float32))
    assert found.scores is not None
    assert found.scores.shape == (count,)


def test_templates() -> None:
    source = keys("bpe") | {
        "tokenizer.chat_templates": ["tools", "gone"],
        "tokenizer.chat_template.tools": "{{ tools }}",
    }
    found = vocabulary_from_gguf_keys(source)
    assert found.chat_templates == {"tools": "{{ tools }}"}
    assert found.chat_template is not None
    assert "<|user|>" in found.chat_template


def test_consumed_keys_are_those_that_are_understood() -> None:
    source = {
        **keys("bpe"), "tokenizer.chat_template.x": "", "tokenizer.chat_templates": [],
        "tokenizer.ggml.suppress_tokens": [1], "tokenizer.huggingface.json": "{}", "general.name": "M",
    }  # fmt: skip
    rest = set(source) - consumed_keys(source)
    assert rest == {
        "tokenizer.ggml.suppress_tokens", "tokenizer.huggingface.json", "general.name",
    }  # fmt: skip


def test_mask_tokens_swallow_space_in_the_models_that_need_it() -> None:
    source = keys("unigram")
    source[G + "tokens"][5] = "<mask>"
    found = vocabulary_from_gguf_keys(source | {"general.architecture": "nomic-bert-moe"})
    assert (found.lstrip, found.rstrip) == (frozenset({5}), frozenset())
    assert vocabulary_from_gguf_keys(source).lstrip == frozenset()


def test_opening_a_vocabulary_of_150_000_tokens_is_quick() -> None:
    count = 150_000
    source = {
        G + "model": "gpt2",
        G + "pre": "qwen2",
        G + "tokens": [f"token{i}" for i in range(count)],
        G + "merges": [f"a{i} b{i}" for i in range(count)],
        G + "token_type": np.ones(count, np.int32),
    }
    start = time.perf_counter()
    vocabulary_from_gguf_keys(source)
    assert time.perf_counter() - start < 0.4  # a tenth of that where nothing else runs
