from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers import reference
from tests.tokenizers.cases import FOLDER
from w2e_bridge.tokenizers.pretokenizers import BY_NAME, ROWS, pre_tokenizer
from w2e_bridge.tokenizers.splits import SPLITS, Split

RECORDED = json.loads((FOLDER / "splits.json").read_text(encoding="utf-8"))
PROVED = [row for row in SPLITS.values() if row.proof]
IN_CODE = {"kimi-k2", "afmoe", "tiny-aya", "lines", "laguna"}
"""llama.cpp has code for an expression of theirs, which the expression does not describe."""

DIGESTS = {
    "default": "0cb07e31283fe434",
    "llama3": "fa003855fbe0f16e",
    "jais2": "a222d586d542e6ee",
    "deepseek-llm": "d0e57e4f663c10fa",
    "deepseek3": "bfb6cd412a9c9638",
    "spark2.5": "c9812f16cdd92700",
    "youtu": "21d12859c3adb6ca",
    "deepseek-coder": "aeb7ec792dc7a85b",
    "falcon": "bfd73216750561ca",
    "starcoder": "9605e6a402d36bf5",
    "gpt2": "451f42b4c6f12cdb",
    "qwen2": "c44a912d90a3fa09",
    "qwen35": "0ba0b8d2193a4995",
    "bloom": "fff38a14a39e422e",
    "viking": "01bc41e6b16a527c",
    "tekken": "702e39778c189136",
    "chameleon": "c599fec34bc26444",
    "gpt-4o": "14d22620f927b8e5",
    "granite-multilingual": "e14833d7e0962861",
    "tiny-aya": "28b1e01f7005c516",
    "kimi-k2": "18595d07a456b941",
    "superbpe": "2d06780e586e18c1",
    "bailingmoe": "eb04d9b972aca246",
    "seed-coder": "b52969e3c183b7a9",
    "ufakzeka": "4aa23009821560c0",
    "afmoe": "eaed97eeca183f33",
    "laguna": "a40a075fd1f1835e",
    "exaone-moe": "1b5d04e3ba68c430",
    "minicpm5": "89927421eed34d2e",
    "lines": "63ebdc01a25690d4",
    "whitespace": "8e2c34f465a0fe9f",
}
"""SHA-256 of llama.cpp's expressions, the first 16 digits: format constants, never to be improved."""


def cutter(patterns: tuple[str, ...]) -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in patterns])


def cut(splitter: Any, text: str) -> list[str]:
    return [piece for piece, _ in splitter.pre_tokenize_str(text)]


@pytest.mark.parametrize("row", SPLITS.values(), ids=lambda row: row.name)
def test_expressions_are_llama_cpps_character_for_character(row: Split) -> None:
    digest = hashlib.sha256("\x00".join(row.expressions).encode()).hexdigest()
    assert digest[:16] == DIGESTS[row.name]


@pytest.mark.parametrize("row", PROVED, ids=lambda row: row.name)
def test_every_rule_cuts_where_llama_cpp_was_seen_to_cut(row: Split) -> None:
    splitter = cutter(row.patterns)
    for text, lengths in zip(RECORDED["texts"], RECORDED["cuts"][row.name], strict=True):
        assert " ".join(str(len(piece)) for piece in cut(splitter, text)) == lengths, text


ALPHABET = "ab'sTlL dRe \n\r\t0123.,!?$+-_/()<>^~`|éÉßΩя中あ가ㄱक\u093f\u0301\u00a0\u3000\u2003²½٣😀…。，“—€ｱＡ１"


@pytest.mark.parametrize(
    "row", [row for row in PROVED if row.name not in IN_CODE], ids=lambda row: row.name
)
@settings(max_examples=60, derandomize=True, deadline=None)
@given(text=st.text(ALPHABET, max_size=24))
def test_every_rule_cuts_where_its_definition_says(row: Split, text: str) -> None:
    assert cut(cutter(row.patterns), text) == reference.split(text, row.expressions)


@pytest.mark.parametrize(
    "row", [row for row in PROVED if row.reader is not None], ids=lambda row: row.name
)
def test_what_is_written_for_another_reader_cuts_nothing_here(row: Split) -> None:
    from tokenizers import Regex, pre_tokenizers

    assert row.reader is not None
    whole = pre_tokenizers.Split(Regex(row.reader), "contiguous")
    for text in RECORDED["texts"]:
        assert cut(whole, text) == [text]


def test_names_are_unique_and_every_row_is_used() -> None:
    names = [name for row in ROWS for name in row.names]
    assert len(names) == len(set(names)) == len(BY_NAME)
    assert {row.split for row in ROWS} == set(SPLITS)


def test_every_rule_has_a_proof_that_is_known() -> None:
    assert {row.proof for row in SPLITS.values()} == {"vocabulary", "splits", ""}
    assert set(RECORDED["cuts"]) == {row.name for row in PROVED}


@pytest.mark.parametrize(
    ("name", "split", "ignore_merges", "add_bos", "clean_spaces"),
    [
        ("llama-bpe", "llama3", True, True, True),
        ("dbrx", "llama3", False, False, True),
        ("qwen2", "qwen2", False, False, False),
        ("tekken", "tekken", True, True, False),
        ("smollm", "starcoder", False, False, False),
        ("gpt-4o", "gpt-4o", False, False, False),
        ("", "default", False, False, True),
    ],
)
def test_aliases_bring_their_rules(
    name: str, split: str, ignore_merges: bool, add_bos: bool, clean_spaces: bool
) -> None:
    row = pre_tokenizer(name)
    assert row is not None
    assert (row.split, row.ignore_merges, row.add_bos, row.clean_spaces) == (
        split, ignore_merges, add_bos, clean_spaces,
    )  # fmt: skip


def test_a_name_that_llama_cpp_does_not_know_has_no_row() -> None:
    assert pre_tokenizer("made-up") is None
