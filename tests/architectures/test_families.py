"""Every family and every option, against the plain implementation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.architectures.evaluate import Runner
from tests.architectures.reference import (
    FORWARD,
    Array,
    llama3_factors,
    plain_rates,
    yarn_rates,
)
from tests.architectures.tiny import BASE, CONTEXT, HEAD, Tiny, single, tensor, tiny
from w2e_bridge.ir.architecture import Rope
from w2e_bridge.passes.attach_graph import AttachGraph

TOKENS = 14
IDS = np.random.default_rng(1).integers(0, 40, TOKENS)
PIECES = ([TOKENS], [5, 9], [1] * TOKENS)
TOLERANCE = 1e-4


def check(case: Tiny, extra: dict[str, Array] | None = None) -> None:
    """The whole text at once, in two pieces, and token by token."""
    expected = FORWARD[case.architecture.family](case.net, IDS)
    runner = Runner(AttachGraph()(case.model(extra)).model)
    for pieces in PIECES:
        np.testing.assert_allclose(
            runner.logits(IDS, pieces), expected, rtol=0, atol=TOLERANCE, err_msg=str(pieces)
        )


@pytest.mark.parametrize("source", ["gguf", "huggingface"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2"])
def test_family_of_either_source(family: str, source: str) -> None:
    biases = ("q", "k", "v") if family == "qwen2" else ()
    case = tiny(family, source, biases=biases)
    windows = (TOKENS // 3, 0) if family == "gemma2" else (0, 0)
    case = replace(
        case,
        architecture=replace(case.architecture, window=windows[0] or None),
        net=replace(case.net, windows=windows),
    )
    check(case)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_output_is_the_embedding(family: str) -> None:
    check(tiny(family, tied=True))


def test_output_beside_the_embedding() -> None:
    check(tiny("gemma2", tied=False))


def test_biases_everywhere() -> None:
    check(tiny("llama", biases=("q", "k", "v", "o", "gate", "up", "down")))


def test_factor_of_a_whole_matrix_comes_before_the_bias() -> None:
    parts = ("q", "k", "v", "o", "gate", "up", "down")
    check(tiny("llama", scales=parts, biases=parts))


def test_layers_differ() -> None:
    check(tiny("llama", heads=(4, 6), kv_heads=(4, 2), intermediate=(24, 40)))


def test_values_are_wider_than_keys() -> None:
    check(tiny("llama", value_head_size=12))


def test_heads_wider_than_the_stream() -> None:
    check(tiny("qwen3", head_size=20, value_head_size=20))


@pytest.mark.parametrize("window", [1, 5, TOKENS - 1, TOKENS, CONTEXT])
def test_window_of_all_layers(window: int) -> None:
    case = tiny("mistral", "huggingface", window=window)
    check(replace(case, net=replace(case.net, windows=(window, window))))


def test_window_of_some_layers() -> None:
    case = tiny("qwen2", layers=3, window=4, window_pattern=(False, True, True))
    check(replace(case, net=replace(case.net, windows=(0, 4, 4))))


def test_window_that_covers_the_context_needs_no_pattern() -> None:
    check(tiny("qwen2", window=CONTEXT))


@pytest.mark.parametrize(("score", "logit"), [(0.0, 0.0), (2.0, 5.0), (0.0, 3.0), (1.0, 0.0)])
@pytest.mark.parametrize("family", ["gemma2", "llama"])
def test_caps(family: str, score: float, logit: float) -> None:
    case = tiny(family, attention_softcap=score, logit_softcap=logit)
    check(replace(case, net=replace(case.net, score_cap=score, logit_cap=logit)))


def test_scale_of_scores() -> None:
    check(tiny("gemma2", attention_scale=0.9))


def rotated(case: Tiny, rates: Array, magnitude: float = 1.0) -> Tiny:
    net = replace(case.net, rates=(rates,) * case.net.layers, magnitude=magnitude)
    return replace(case, net=net)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_linear_scaling(family: str) -> None:
    case = tiny(family, rope=Rope(base=BASE, scaling="linear", factor=4.0))
    check(rotated(case, plain_rates(BASE, HEAD) / 4))


@pytest.mark.parametrize(
    ("source", "stated", "magnitude"),
    [
        ("gguf", None, 1 + 0.1 * np.log(4)),
        ("gguf", 0.8, 0.8 * (1 + 0.1 * np.log(4))),
        ("huggingface", None, 1 + 0.1 * np.log(4)),
        ("huggingface", 0.8, 0.8),
    ],
)
def test_yarn(source: str, stated: float | None, magnitude: float) -> None:
    rope = Rope(
        base=BASE, scaling="yarn", factor=4.0, original_context=16,
        attention_factor=stated, beta_fast=2.0, beta_slow=0.1,
    )  # fmt: skip
    case = tiny("llama", source, rope=rope, head_size=16, value_head_size=16)
    rates = yarn_rates(BASE, 16, 4.0, 16, (2.0, 0.1))
    assert len({*np.round(plain_rates(BASE, 16) / rates, 6)}) > 3  # kept, mixed and slowed pairs
    check(rotated(case, rates, float(magnitude)))


def test_factors_of_frequencies() -> None:
    factors = single(llama3_factors(BASE, HEAD, 8.0, 40))
    assert len({*factors}) > 2
    case = rotated(tiny("llama"), plain_rates(BASE, HEAD) / factors)
    check(case, {"rope_factors.weight": factors})


@pytest.mark.parametrize(("original", "chosen"), [(CONTEXT // 2, "long"), (CONTEXT, "short")])
def test_long_and_short_factors(original: int, chosen: str) -> None:
    rope = Rope(base=BASE, scaling="longrope", original_context=original, attention_factor=1.19)
    factors = {"long": single(np.linspace(1, 9, 4)), "short": single(np.linspace(1, 2, 4))}
    case = rotated(tiny("llama", rope=rope), plain_rates(BASE, HEAD) / factors[chosen], 1.19)
    check(case, {f"rope_factors_{name}.weight": f for name, f in factors.items()})


@pytest.mark.parametrize("source", ["gguf", "huggingface"])
def test_part_of_a_head_is_rotated(source: str) -> None:
    check(tiny("qwen2", source, rope=Rope(base=BASE, dimensions=4)))


def test_pairs_where_the_source_says_so() -> None:
    """A file may say it against its family's convention."""
    check(tiny("llama", "huggingface", rope=Rope(base=BASE, interleaved=False)))
    gguf = tiny("llama")
    as_halves = replace(
        gguf.architecture, source="huggingface", rope=Rope(base=BASE, interleaved=True)
    )
    model = replace(gguf.model(), architecture=as_halves)
    model = replace(model, architecture=replace(as_halves, roles={n[2:]: n for n in model.tensors}))
    expected = FORWARD["llama"](gguf.net, IDS)
    found = Runner(AttachGraph()(model).model).logits(IDS, [TOKENS])
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_other_base_in_layers_that_slide() -> None:
    case = tiny("gemma2", window=5, rope=Rope(base=BASE, local_base=20.0))
    net = replace(
        case.net, windows=(5, 0), rates=(plain_rates(20.0, HEAD), plain_rates(BASE, HEAD))
    )
    check(replace(case, net=net))


def test_one_matrix_of_queries_keys_and_values() -> None:
    case = tiny("llama", biases=("q", "k", "v"))
    model = case.model()
    assert model.architecture is not None
    tensors, roles = dict(model.tensors), dict(model.architecture.roles)
    for n in range(case.net.layers):
        for kind in ("weight", "bias"):
            parts = [tensors.pop(roles.pop(f"layers.{n}.{p}.{kind}")).dequantize() for p in "qkv"]
            name = roles[f"layers.{n}.qkv.{kind}"] = f"qkv.{n}.{kind}"
            whole = np.concatenate(parts).astype(np.float64)
            tensors[name] = tensor(name, whole)
    model = replace(model, tensors=tensors, architecture=replace(model.architecture, roles=roles))
    found = Runner(AttachGraph()(model).model).logits(IDS, [4, 10])
    expected = FORWARD["llama"](case.net, IDS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batch(family: str, side: str) -> None:
    """A shorter text in a batch gives what it gives alone, and padding never gives NaN."""
    case = tiny(family, window=4 if family == "gemma2" else None)
    runner = Runner(AttachGraph()(case.model()).model)
    short, long = IDS[:6], IDS[4:13]
    alone = [runner.logits(text, [len(text)]) for text in (short, long)]
    ids, mask = np.zeros((2, 9), np.int64), np.zeros((2, 9), np.int64)
    place = slice(3, 9) if side == "left" else slice(0, 6)
    ids[0, place], mask[0, place], ids[1], mask[1] = short, 1, long, 1
    runner.reset(batch=2)
    logits = runner.step(ids, mask)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(logits[0, place], alone[0], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(logits[1], alone[1], rtol=0, atol=TOLERANCE)
    new = np.array([[7], [7]], np.int64)
    after = runner.step(new, np.concatenate([mask, np.ones((2, 1), np.int64)], 1))[:, 0]
    for row, text in zip(after, (short, long), strict=True):
        whole = runner.logits(np.append(text, 7), [len(text) + 1])[-1]
        np.testing.assert_allclose(row, whole, rtol=0, atol=TOLERANCE)
