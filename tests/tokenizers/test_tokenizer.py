from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tokenizers.cases import KINDS, encode, keys, vocabulary
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.tokenizers import Tokenizer, Vocabulary, dump, vocabulary_from_gguf_keys

G = "tokenizer.ggml."


def saved(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_files_are_what_the_library_reads(kind: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Library

    names = Tokenizer(vocabulary=vocabulary(kind)).save(tmp_path / "new")
    assert sorted(names) == sorted(path.name for path in (tmp_path / "new").iterdir())
    found = Library.from_file(str(tmp_path / "new" / "tokenizer.json"))
    assert found.get_vocab_size() == len(vocabulary(kind))
    assert encode(found, "the river") != []


def test_names_written(tmp_path: Path) -> None:
    always = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
    assert Tokenizer(vocabulary=vocabulary("unigram")).save(tmp_path) == always
    spm = Tokenizer(vocabulary=vocabulary("spm")).save(tmp_path)
    assert spm == [*always, "tokenizer_module.json"]
    bpe = Tokenizer(vocabulary=vocabulary("bpe")).save(str(tmp_path))
    assert bpe == [*always, "chat_template.jinja"]


def test_the_same_vocabulary_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Tokenizer(vocabulary=vocabulary("bpe")).save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("count", [0, 1, 8191, 8192, 8193, 20_000])
def test_long_arrays_are_written_in_batches(count: int, tmp_path: Path) -> None:
    value: dict[str, object] = {
        "list": [f"é{i}" for i in range(count)],
        "map": {f'"{i}': i for i in range(count)},
        "nested": {"pairs": [["a", i] for i in range(count)], "none": None, "flag": True},
    }
    dump.write_compact(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def test_configuration_is_what_both_transformers_take(tmp_path: Path) -> None:
    Tokenizer(vocabulary=vocabulary("spm"), max_length=512).save(tmp_path)
    config = saved(tmp_path, "tokenizer_config.json")
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (config["bos_token"], config["eos_token"], config["unk_token"]) == (
        "<s>",
        "</s>",
        "<unk>",
    )
    assert (config["add_bos_token"], config["add_eos_token"]) == (True, False)
    assert config["model_max_length"] == 512
    assert config["clean_up_tokenization_spaces"] is False
    assert config["added_tokens_decoder"]["1"] == {
        "content": "<s>", "lstrip": False, "normalized": False, "rstrip": False,
        "single_word": False, "special": True,
    }  # fmt: skip
    assert not any(isinstance(value, list) for value in config.values())
    assert "extra_special_tokens" not in config
    assert saved(tmp_path, "special_tokens_map.json")["bos_token"] == "<s>"


def test_configuration_of_an_encoder_leaves_the_flags_to_the_template() -> None:
    config = Tokenizer(vocabulary=vocabulary("wordpiece")).config()
    assert "add_bos_token" not in config
    assert "bos_token" not in config
    assert (config["cls_token"], config["sep_token"]) == ("[CLS]", "[SEP]")


def test_a_configuration_names_no_token_that_is_not_there() -> None:
    config = Tokenizer(vocabulary=vocabulary("bpe")).config()
    assert "bos_token" not in config
    assert config["add_bos_token"] is False
    assert "model_max_length" not in config


def test_templates_are_written_as_they_are(tmp_path: Path) -> None:
    source = keys("bpe") | {
        "tokenizer.chat_template": "{{ a }}\r\n é",
        "tokenizer.chat_templates": ["tools", "../evil"],
        "tokenizer.chat_template.tools": "{{ b }}",
        "tokenizer.chat_template.../evil": "{{ c }}",
    }
    names = Tokenizer(vocabulary=vocabulary_from_gguf_keys(source)).save(tmp_path / "out")
    assert (tmp_path / "out/chat_template.jinja").read_bytes() == "{{ a }}\r\n é".encode()
    assert saved(tmp_path / "out", "tokenizer_config.json")["chat_template"] == "{{ a }}\r\n é"
    assert "additional_chat_templates/tools.jinja" in names
    assert not any("evil" in name for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def broken(kind: str, **changes: Any) -> Vocabulary:
    return vocabulary(kind, **changes)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Vocabulary(kind="none", tokens=()), "the file carries no vocabulary"),
        (vocabulary("spm", model="rwkv"), "no proved equivalent of vocabularies of the kind 'rwkv'"),
        (vocabulary("bpe", pre="made-up"), "the pre-tokenizer 'made-up' is not known"),
        (vocabulary("bpe", pre="whitespace"), "no proved equivalent of the pre-tokenizer"),
        (vocabulary("bpe", merges=None), "the vocabulary has no merges"),
        (vocabulary("spm", scores=None), "the tokens have no scores"),
        (vocabulary("unigram", remove_extra_whitespaces=False), "that keeps runs of spaces"),
        (vocabulary("spm", tokens=["a"] * 600), "two tokens have the same text"),
        (vocabulary("bpe", tokens=[*keys("bpe")[G + "tokens"], "\udc80"], token_type=None),
         "a token's text is not valid UTF-8"),
    ],
)  # fmt: skip
def test_what_is_not_proved_gives_no_files(found: Vocabulary, reason: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(vocabulary=found)
    assert tokenizer.missing is not None
    assert reason in tokenizer.missing
    with pytest.raises(UnsupportedError, match="no tokenizer files"):
        tokenizer.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_proved_lacks_nothing(kind: str) -> None:
    assert Tokenizer(vocabulary=vocabulary(kind)).missing is None


def names_of_notes(found: Vocabulary) -> list[str]:
    return [name for name, _ in Tokenizer(vocabulary=found).notes]


def test_notes_name_what_a_reader_leaves_out() -> None:
    assert names_of_notes(vocabulary("spm")) == ["tokenizer: bos"]
    assert names_of_notes(vocabulary("spm", add_eos_token=True))[1] == "tokenizer: eos"
    assert names_of_notes(vocabulary("bpe")) == []
    assert names_of_notes(vocabulary("wordpiece")) == []
    assert names_of_notes(vocabulary("bpe", pre="falcon")) == ["tokenizer: pre-tokenizer 'falcon'"]


def test_notes_name_what_tokenizer_json_can_not_say() -> None:
    scores = np.zeros(len(keys("spm")[G + "tokens"]), np.float32)
    assert "of equal score" in names_of_notes(vocabulary("spm", scores=scores))[1]
    merges = [*keys("bpe")[G + "merges"], "tolemi zzz"]
    assert names_of_notes(vocabulary("bpe", merges=merges)) == ["tokenizer: 1 merges"]
    charsmap = np.zeros(8, np.uint8)
    assert (
        "combining mark" in names_of_notes(vocabulary("unigram", precompiled_charsmap=charsmap))[0]
    )


def test_notes_name_bytes_that_have_no_token() -> None:
    tokens = [text if text != "Ā" else "nul" for text in keys("bpe")[G + "tokens"]]
    assert names_of_notes(vocabulary("bpe", tokens=tokens)) == [
        "tokenizer: 1 bytes that have no token"
    ]


def test_notes_name_tokens_out_of_characters_that_are_none() -> None:
    source = keys("spm")
    source[G + "tokens"] += ["ж҂"]
    source[G + "scores"] = np.append(source[G + "scores"], np.float32(-999))
    source[G + "token_type"] = np.append(source[G + "token_type"], np.int32(1))
    reasons = dict(Tokenizer(vocabulary=vocabulary_from_gguf_keys(source)).notes)
    assert "'ж҂'" in reasons["tokenizer: 1 tokens"]


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([("a", "b"), ("ab", "c")], True),
        ([("a ", "b")], False),
        ([("a\r", "b")], False),
        ([("#", "b")], False),
        ([("a", "b"), ("#", "b")], True),
        ([("a", "b"), ("#version", "b")], False),
        ([], True),
    ],
)
def test_merges_are_lines_unless_a_line_would_be_ambiguous(
    parts: list[tuple[str, str]], lines: bool
) -> None:
    from w2e_bridge.tokenizers.layout import bpe_model

    tokens = [*dict.fromkeys(text for pair in parts for text in (*pair, "".join(pair)))]
    model = bpe_model(tokens, lambda: parts)
    assert model["merges"] == [" ".join(pair) if lines else list(pair) for pair in parts]
    from tokenizers import Tokenizer as Library

    text = json.dumps({"version": "1.0", "added_tokens": [], "model": model})
    read = json.loads(Library.from_str(text).to_str())["model"]["merges"]
    assert read == [list(pair) for pair in parts]
