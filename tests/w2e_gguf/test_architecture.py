"""The network that the keys describe, and that no key is passed over."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import gguf
import pytest

from tests.w2e_gguf.maker import BOOL, F32, I32, U32, Recipe, items, key, number, tensor, text
from w2e_bridge.errors import FormatError
from w2e_bridge.ir.architecture import Architecture, Rope
from w2e_bridge.ir.model import Model
from w2e_gguf.keys import DENSE_FIRST, KEYS, Use
from w2e_gguf.read import lift


def real(name: str, value: float) -> bytes:
    return key(name, F32, struct.pack("<f", value))


def counts(name: str, *values: int, type_: int = I32) -> bytes:
    return items(name, type_, len(values), struct.pack(f"<{len(values)}i", *values))


LLAMA = (
    text("general.architecture", "llama"),
    number("llama.block_count", 2),
    number("llama.context_length", 64),
    number("llama.embedding_length", 32),
    number("llama.feed_forward_length", 48),
    number("llama.attention.head_count", 4),
    real("llama.attention.layer_norm_rms_epsilon", 0.5),
)


def model(tmp_path: Path, *keys: bytes, base: tuple[bytes, ...] = LLAMA) -> Model:
    recipe = Recipe(
        keys=(*base, *keys), tensors=(tensor("token_embd.weight", [32, 7]),), data=bytes(32 * 7 * 4)
    )
    return lift(recipe.write(tmp_path / "a.gguf"), {})


def network(tmp_path: Path, *keys: bytes) -> Architecture:
    found = model(tmp_path, *keys).architecture
    assert found is not None
    return found


def test_what_is_not_said_is_llama_cpps_default(tmp_path: Path) -> None:
    assert network(tmp_path) == Architecture(
        family="llama",
        source="gguf",
        layers=2,
        hidden=32,
        intermediate=(48, 48),
        heads=(4, 4),
        kv_heads=(4, 4),
        head_size=8,
        value_head_size=8,
        vocabulary=7,
        context=64,
        norm_epsilon=0.5,
        rope=Rope(),
        extra={"norm": "rms"},
        roles={"embedding.weight": "token_embd.weight"},
    )


def test_everything_said(tmp_path: Path) -> None:
    found = network(
        tmp_path,
        counts("llama.attention.head_count_kv", 2, 1),
        number("llama.attention.key_length", 16),
        number("llama.attention.value_length", 12),
        number("llama.vocab_size", 9),
        real("llama.rope.freq_base", 5e5),
        real("llama.rope.freq_base_swa", 1e4),
        number("llama.rope.dimension_count", 8),
        text("llama.rope.scaling.type", "yarn"),
        real("llama.rope.scaling.factor", 4),
        number("llama.rope.scaling.original_context_length", 16),
        real("llama.rope.scaling.attn_factor", 0.5),
        real("llama.rope.scaling.yarn_beta_fast", 31),
        real("llama.rope.scaling.yarn_beta_slow", 2),
        real("llama.rope.scaling.yarn_ext_factor", 0.25),
        real("llama.attention.scale", 0.125),
        real("llama.attn_logit_softcapping", 50),
        real("llama.final_logit_softcapping", 30),
        number("llama.attention.sliding_window", 16),
        items("llama.attention.sliding_window_pattern", BOOL, 2, b"\1\0"),
        real("llama.embedding_scale", 12),
        real("llama.residual_scale", 0.25),
        real("llama.logit_scale", 8),
        number("llama.expert_count", 8),
        number("llama.expert_used_count", 2),
        number("llama.expert_shared_count", 1),
    )
    assert (found.kv_heads, found.head_size, found.value_head_size) == ((2, 1), 16, 12)
    assert found.vocabulary == 7, "the embedding has the last word"
    assert found.rope == Rope(
        base=5e5, local_base=1e4, dimensions=8, scaling="yarn", factor=4, original_context=16,
        attention_factor=0.5, beta_fast=31, beta_slow=2, ext_factor=0.25,
    )  # fmt: skip
    assert (found.attention_scale, found.attention_softcap, found.logit_softcap) == (0.125, 50, 30)
    assert (found.window, found.window_pattern) == (16, (True, False))
    assert (found.embedding_scale, found.residual_scale, found.logit_scale) == (12, 0.25, 8)
    assert (found.experts, found.experts_used) == (8, 2)
    assert found.extra == {"norm": "rms", "shared_experts": 1}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ((), ("none", 1)),
        ((("factor", 2.0),), ("linear", 2)),
        ((("type", "linear"), ("factor", 0.0)), ("none", 1)),
        ((("type", "none"), ("factor", 8.0)), ("none", 1)),
        ((("type", "longrope"),), ("longrope", 1)),
        ((("type", "yarn"), ("factor", 1.0)), ("yarn", 1)),
    ],
)
def test_rotary_scaling(tmp_path: Path, keys: Any, expected: tuple[str, float]) -> None:
    made = [
        text(f"llama.rope.scaling.{n}", v)
        if isinstance(v, str)
        else real(f"llama.rope.scaling.{n}", v)
        for n, v in keys
    ]
    rope = network(tmp_path, *made).rope
    assert rope is not None
    assert (rope.scaling, rope.factor) == expected


def test_the_old_name_of_the_rotary_factor(tmp_path: Path) -> None:
    rope = network(tmp_path, real("llama.rope.scale_linear", 3)).rope
    assert rope is not None
    assert (rope.scaling, rope.factor) == ("linear", 3)


def test_neutral_values_are_as_good_as_none(tmp_path: Path) -> None:
    found = network(
        tmp_path,
        real("llama.attention.clamp_kqv", 0),
        real("llama.rope.scaling.alpha", 0),
        real("llama.attention.scale", 0),
        key("llama.attention.causal", BOOL, b"\1"),
        number("llama.attention.sliding_window", 0),
        text("llama.tensor_data_layout", "Meta AI original pth"),
        key("llama.rope.scaling.finetuned", BOOL, b"\1"),
    )
    assert found.extra == {"norm": "rms"}
    assert found.attention_scale is None
    assert found.window == 0  # said: there is none, whatever the family has by default


def test_other_values_are_for_the_family_to_know_or_refuse(tmp_path: Path) -> None:
    found = network(tmp_path, real("llama.attention.clamp_kqv", 8), number("llama.pooling_type", 1))
    assert found.extra == {"norm": "rms", "clamp_qkv": 8, "pooling": 1}


def test_no_key_is_passed_over(tmp_path: Path) -> None:
    found = model(
        tmp_path,
        number("llama.brand_new", 1),
        number("llama.ssm.state_size", 16),
        real("llama.rope.scaling.alpha", 2),
        text("llama.rope.scaling.type", "dynamic"),
        counts("llama.rope.dimension_sections", 1, 2, 3, 4),
        counts("llama.attention.key_length", 8, 16),
        items("xielu.beta", F32, 1, bytes(4)),
    )
    reasons = {remark.name: remark.reason for remark in found.remarks}
    assert found.architecture is not None
    assert set(str(found.architecture.extra["unrecognised"]).split(",")) == set(reasons)
    assert reasons.keys() == {
        "llama.brand_new", "llama.ssm.state_size", "llama.rope.scaling.alpha",
        "llama.rope.scaling.type", "llama.rope.dimension_sections", "llama.attention.key_length",
        "xielu.beta",
    }  # fmt: skip
    assert "not known" in reasons["llama.brand_new"]


def test_keys_of_nobody_in_particular_are_metadata_alone(tmp_path: Path) -> None:
    found = model(tmp_path, text("mytool.note", "hello"), number("general.file_type", 2))
    assert not found.remarks
    assert found.metadata["mytool.note"] == "hello"


def test_a_network_without_normalization_is_not_understood(tmp_path: Path) -> None:
    found = model(tmp_path, base=LLAMA[:-1])
    assert found.architecture is not None
    assert found.architecture.extra == {"unrecognised": "llama.attention.layer_norm_rms_epsilon"}


def test_both_kinds_of_normalization_are_told_apart(tmp_path: Path) -> None:
    layer = real("llama.attention.layer_norm_epsilon", 0.25)
    assert network(tmp_path, layer).extra == {"norm": "rms", "layer_norm_epsilon": 0.25}
    alone = model(tmp_path, layer, base=LLAMA[:-1]).architecture
    assert alone is not None
    assert (alone.norm_epsilon, alone.extra) == (0.25, {"norm": "layer"})


@pytest.mark.parametrize("missing", ["block_count", "context_length", "embedding_length"])
def test_without_its_shape_a_network_is_none(tmp_path: Path, missing: str) -> None:
    base = tuple(one for one in LLAMA if missing.encode() not in one)
    found = model(tmp_path, base=base)
    assert found.architecture is None
    assert [remark.name for remark in found.remarks] == [f"llama.{missing}"]
    assert model(tmp_path, base=()).architecture is None


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (text("llama.attention.key_length", "8"), "kind integer, found string"),
        (key("llama.attention.key_length", F32, bytes(4)), "kind integer, found float32"),
        (key("llama.attention.key_length", BOOL, b"\1"), "kind integer, found bool"),
        (text("llama.rope.freq_base", "8"), "kind float, found string"),
        (number("llama.rope.scaling.type", 1), "kind string, found uint32"),
        (real("llama.rope.freq_base", float("nan")), "impossible value nan"),
        (real("llama.rope.freq_base", float("inf")), "impossible value inf"),
        (number("llama.attention.key_length", (1 << 32) - 1), "impossible value 4294967295"),
        (number("llama.attention.key_length", (1 << 32) - 1, I32), "impossible value -1"),
        (counts("llama.attention.head_count_kv", 2, 1, 4), "expected 2 values"),
        (counts("llama.attention.head_count_kv"), "expected 2 values, one for each layer, found 0"),
    ],
)
def test_values_that_can_not_be(tmp_path: Path, one: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        model(tmp_path, one)


@pytest.mark.parametrize("name", ["lla\x1bma", "x" * 65])
def test_a_family_has_a_name_that_can_be_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="not the name of an architecture"):
        model(tmp_path, base=(text("general.architecture", name),))


def test_a_count_of_layers_beyond_all_measure(tmp_path: Path) -> None:
    base = tuple(number("llama.block_count", 1 << 20) if b"block" in k else k for k in LLAMA)
    with pytest.raises(FormatError, match=r"'llama\.block_count': expected at most 4096"):
        model(tmp_path, base=base)


@pytest.mark.parametrize("family", ["gemma3", *sorted(DENSE_FIRST)])
@pytest.mark.parametrize("period", [0, 1, 3])
def test_a_period_of_windows(tmp_path: Path, family: str, period: int) -> None:
    keys = (
        text("general.architecture", family),
        number(f"{family}.block_count", 6),
        number(f"{family}.context_length", 64),
        number(f"{family}.embedding_length", 32),
        number(f"{family}.attention.sliding_window_pattern", period),
    )
    found = model(tmp_path, base=keys).architecture
    assert found is not None
    full = {0: set(), 1: set(range(6)), 3: {2, 5} if family == "gemma3" else {0, 3}}[period]
    assert found.window_pattern == tuple(n not in full for n in range(6))


def _names(scope: type) -> Iterator[str]:
    for value in vars(scope).values():
        if isinstance(value, str) and value.startswith("{arch}."):
            yield value.removeprefix("{arch}.")
        if isinstance(value, type):
            yield from _names(value)


def test_every_key_of_gguf_py_has_a_row() -> None:
    names = {name.replace("{dense}", "dense_2") for name in _names(gguf.Keys)}
    assert len(names) > 100
    assert not names - KEYS.keys()


def test_rows_name_fields_that_there_are() -> None:
    architecture, rope = ({f.name for f in fields(record)} for record in (Architecture, Rope))
    own = {"rms_epsilon", "layer_epsilon", "old_factor"}
    targets = [row.target for row in KEYS.values() if row.target]
    assert len(targets) == len(set(targets))
    for row in KEYS.values():
        assert row.name == row.name.lower()
        if row.use is Use.FIELD:
            assert row.target in architecture | own
        if row.use is Use.ROPE:
            assert row.target in rope | own
        if row.use in (Use.NEUTRAL, Use.INFORMATION):
            assert row.reason


def test_u32_arrays_are_counts_too(tmp_path: Path) -> None:
    one = counts("llama.feed_forward_length", 48, 0, type_=U32)
    base = tuple(k for k in LLAMA if b"feed_forward" not in k)
    found = model(tmp_path, one, base=base).architecture
    assert found is not None
    assert found.intermediate == (48, 0)
