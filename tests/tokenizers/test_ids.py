"""Ids of the `tokenizers` library, reading what we write, against plain implementations."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tokenizers import reference
from tests.tokenizers.cases import KINDS, encode, keys, library, load, vocabulary
from w2e_bridge.tokenizers import Vocabulary, vocabulary_from_gguf_keys
from w2e_bridge.tokenizers.bpe import known_merges
from w2e_bridge.tokenizers.pretokenizers import ROWS
from w2e_bridge.tokenizers.spm import merges_from_scores

LIBRARY = {kind: library(vocabulary(kind)) for kind in KINDS}
ALPHABET = "tolemiravunsha the \n\t.,!?'019éßпмир東京안🌧\u00a0\u3000-_()"
TEXTS = st.text(ALPHABET, max_size=40)
quick = settings(max_examples=150, derandomize=True, deadline=None)


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_ids_come_back(kind: str) -> None:
    for text, ids in load(kind)["ids"].items():
        assert encode(LIBRARY[kind], text) == ids, text


@quick
@given(text=TEXTS)
@pytest.mark.parametrize("prefix", [True, False])
def test_spm_merges_by_score(prefix: bool, text: str) -> None:
    found = SPM[prefix]
    tokens, scores = SPM_TOKENS
    assert encode(found, text) == reference.spm_ids(text, tokens, scores, prefix=prefix)


SPM = {prefix: library(vocabulary("spm", add_space_prefix=prefix)) for prefix in (True, False)}
SPM_TOKENS = (keys("spm")["tokenizer.ggml.tokens"], keys("spm")["tokenizer.ggml.scores"].tolist())


@quick
@given(text=st.text(max_size=20))
def test_spm_says_every_text_in_bytes_at_least(text: str) -> None:
    tokens, scores = SPM_TOKENS
    assert encode(SPM[True], text) == reference.spm_ids(text, tokens, scores, prefix=True)


@quick
@given(text=TEXTS)
def test_bpe_merges_by_rank(text: str) -> None:
    found = keys("bpe")
    expressions = next(row.rule.expressions for row in ROWS if "qwen2" in row.names)
    words = reference.split(text, expressions)
    wanted = reference.bpe_ids(
        words, found["tokenizer.ggml.tokens"], found["tokenizer.ggml.merges"]
    )
    assert encode(LIBRARY["bpe"], text) == wanted


@quick
@given(text=TEXTS)
def test_wordpiece_takes_the_longest(text: str) -> None:
    words = reference.bert_words(
        text.replace("안", "")
    )  # of a syllable llama.cpp keeps the first part
    wanted = reference.wordpiece_ids(words, keys("wordpiece")["tokenizer.ggml.tokens"], 1)
    assert encode(LIBRARY["wordpiece"], text.replace("안", "")) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("안녕", ["ᄋᄂ"]),  # of each decomposition the first character
        ("कि", ["क"]),  # spacing marks go too
        ("a\x0bb\x0cc\x85d", ["a", "b", "c", "d"]),
        ("ÉTÉ", ["ete"]),
        ("漢字", ["漢", "字"]),
        ("a\u00adb\ufffdc", ["abc"]),
    ],
)
def test_wordpiece_normalizes_as_llama_cpp_does(text: str, words: list[str]) -> None:
    normalized = LIBRARY["wordpiece"].normalizer.normalize_str(text)
    pieces = LIBRARY["wordpiece"].pre_tokenizer.pre_tokenize_str(normalized)
    assert [piece for piece, _ in pieces] == words


def test_wordpiece_keeps_case_and_accents_where_the_file_says_so() -> None:
    found = library(vocabulary("wordpiece", **{"normalizer.lowercase": False}))
    assert found.normalizer.normalize_str("ÉTÉ").strip() == "ÉTÉ"


@quick
@given(text=st.text("tolemiravu the\n.,!é東", max_size=14))
def test_unigram_takes_the_likeliest(text: str) -> None:
    found = keys("unigram")
    pairs = zip(
        found["tokenizer.ggml.tokens"], found["tokenizer.ggml.scores"].tolist(), strict=True
    )
    normal = {token: (index, score) for index, (token, score) in enumerate(pairs) if index > 2}
    scores = {token: score for token, (_, score) in normal.items()}
    ids = {token: index for token, (index, _) in normal.items()}
    got = encode(LIBRARY["unigram"], text)
    assert _worth(got, scores, ids) == pytest.approx(
        _worth(reference.unigram_ids(text, scores, ids, 2), scores, ids)
    )


def _worth(path: list[int], scores: dict[str, float], ids: dict[str, int]) -> float:
    texts = {index: text for text, index in ids.items()}
    unknown = min(scores.values()) - 10
    return sum(scores[texts[token]] if token in texts else unknown for token in path)


@pytest.mark.parametrize(
    ("kind", "front", "back"),
    [("spm", [1], []), ("bpe", [], []), ("wordpiece", [2], [3]), ("unigram", [], [1])],
)
def test_special_tokens_stand_around_where_the_model_wants_them(
    kind: str, front: list[int], back: list[int]
) -> None:
    plain = encode(LIBRARY[kind], "the river")
    assert encode(LIBRARY[kind], "the river", special=True) == [*front, *plain, *back]


@pytest.mark.parametrize(
    ("bos", "eos"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_flags_of_the_file_decide_on_special_tokens(bos: bool, eos: bool) -> None:
    found = library(vocabulary("spm", add_bos_token=bos, add_eos_token=eos))
    plain = encode(found, "tolemi")
    assert encode(found, "tolemi", special=True) == [1] * bos + plain + [2] * eos


def test_added_tokens_are_found_in_text_and_the_text_after_them_starts_afresh() -> None:
    spm = LIBRARY["spm"]
    assert encode(spm, "the<s>the</s> the") == [
        *encode(spm, "the"), 1, *encode(spm, "the"), 2, *encode(spm, " the"),
    ]  # fmt: skip
    bpe, end = LIBRARY["bpe"], keys("bpe")["tokenizer.ggml.eos_token_id"]
    assert encode(bpe, "a<|end|><keep>b") == [*encode(bpe, "a"), end, end + 2, *encode(bpe, "b")]


def test_user_defined_tokens_stay_when_special_ones_are_skipped() -> None:
    end = keys("bpe")["tokenizer.ggml.eos_token_id"]
    assert LIBRARY["bpe"].decode([end, end + 2], skip_special_tokens=True) == "<keep>"


@pytest.mark.parametrize("kind", ["spm", "bpe"])
@quick
@given(text=st.text(ALPHABET, max_size=30))
def test_decoding_gives_the_text_back(kind: str, text: str) -> None:
    assert LIBRARY[kind].decode(encode(LIBRARY[kind], text)) == text


def test_a_phi3_token_swallows_the_space_behind_it() -> None:
    found = keys("spm")
    found["tokenizer.ggml.token_type"][-1] = 3
    token = found["tokenizer.ggml.tokens"][-1]
    phi = library(vocabulary_from_gguf_keys({**found, "general.name": "Phi-3 mini"}))
    other = library(vocabulary_from_gguf_keys({**found, "general.name": "Mira"}))
    assert encode(phi, f"{token} \n the") == encode(phi, f"{token}the")
    assert encode(other, f"{token} \n the") != encode(other, f"{token}the")


def small(tokens: list[str], scores: list[float]) -> Any:
    types = np.array([1] * len(tokens), np.int32)
    vocabulary_ = Vocabulary(
        kind="spm", tokens=tokens, scores=np.array(scores, np.float32), types=types
    )
    return library(vocabulary_)


def test_spm_runs_of_equal_score_grow_from_the_left() -> None:
    tokens = ["▁", "▁▁", "▁▁▁", "▁▁▁▁"]
    assert encode(small(tokens, [-1, 0, 0, 0]), " " * 6) == [3, 1]


@settings(max_examples=60, derandomize=True, deadline=None)
@given(data=st.data())
def test_spm_follows_any_vocabulary_whose_scores_differ(data: st.DataObject) -> None:
    longer = data.draw(st.lists(st.text("ab", min_size=2, max_size=5), unique=True, max_size=12))
    tokens = ["a", "b", *longer]
    scores = data.draw(st.permutations([float(-index) for index in range(len(tokens))]))
    text = data.draw(st.text("ab", max_size=16))
    merged = {
        left + right for left, right in merges_from_scores(tokens, np.array(scores, np.float32))
    }
    assert merged <= set(longer)
    wanted = reference.spm_ids(text, tokens, scores, prefix=False)
    assert encode(small(tokens, scores), text) == wanted


def test_merges_keep_the_order_of_scores() -> None:
    found = keys("spm")
    tokens, scores = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.scores"]
    order = [
        scores[tokens.index(left + right)] for left, right in merges_from_scores(tokens, scores)
    ]
    assert all(first >= second for first, second in pairwise(order))


def test_merges_of_a_file_are_cut_at_the_first_space_and_kept_once() -> None:
    tokens = ["a", "b", "ab", " ", " a", "c"]
    merges = ["a b", "  a", "a b", "b c", "zz a"]
    assert list(known_merges(tokens, merges)) == [("a", "b"), (" ", "a")]


def test_a_large_vocabulary_takes_seconds_not_minutes() -> None:
    rng = np.random.default_rng(1)
    letters = np.array(list("abcdefghij"))
    texts = {"".join(rng.choice(letters, rng.integers(1, 9))) for _ in range(30_000)}
    tokens = sorted(texts | set("abcdefghij"))
    scores = np.arange(len(tokens), dtype=np.float32)
    assert len(list(merges_from_scores(tokens, scores))) > 20_000
