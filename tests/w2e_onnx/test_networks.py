"""Whole networks lowered to ONNX Runtime's own operators, against the plain implementation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.architectures.evaluate import Runner
from tests.architectures.reference import FORWARD, plain_rates
from tests.architectures.tiny import BASE, Tiny, tiny
from w2e_bridge import api
from w2e_bridge.ir.architecture import Rope

TOKENS = 14
IDS = np.random.default_rng(1).integers(0, 40, TOKENS)
PIECES = ([TOKENS], [5, 9], [1] * TOKENS)
WIDE: dict[str, Any] = {"head_size": 16, "value_head_size": 16}
"""GroupQueryAttention rotates heads of a multiple of 16."""


def lowered(case: Tiny, folder: Path) -> Path:
    path = folder / "model.onnx"
    api.lower(case.model(), api.Wishes(to="onnx", out=path, options={"activations": "float"}))
    return path


def operators(path: Path) -> set[str]:
    return {node.op_type for node in ir.load(path).graph}


def check(case: Tiny, folder: Path) -> Path:
    path = lowered(case, folder)
    expected = FORWARD[case.architecture.family](case.net, IDS)
    runner = Runner(path)
    for pieces in PIECES:
        found = runner.logits(IDS, pieces)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4, err_msg=str(pieces))
    return path


@pytest.mark.parametrize("source", ["gguf", "huggingface"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2"])
def test_family_with_fused_attention(family: str, source: str, tmp_path: Path) -> None:
    case = tiny(family, source, biases=("q", "k", "v") if family == "qwen2" else (), **WIDE)
    windows = (TOKENS // 3, 0) if family == "gemma2" else (0, 0)
    case = replace(
        case,
        architecture=replace(case.architecture, window=windows[0] or None),
        net=replace(case.net, windows=windows),
    )
    found = operators(check(case, tmp_path))
    assert {"GroupQueryAttention", "SkipSimplifiedLayerNormalization"} <= found
    assert not found & {"Attention", "RotaryEmbedding", "RMSNormalization", "CausalMask"}


@pytest.mark.parametrize("window", [1, 5, TOKENS])
def test_window_of_all_layers(window: int, tmp_path: Path) -> None:
    case = tiny("mistral", "huggingface", window=window, **WIDE)
    check(replace(case, net=replace(case.net, windows=(window, window))), tmp_path)


@pytest.mark.parametrize(("score", "logit"), [(2.0, 5.0), (0.0, 3.0), (1.0, 0.0)])
def test_caps(score: float, logit: float, tmp_path: Path) -> None:
    case = tiny("gemma2", attention_softcap=score, logit_softcap=logit, **WIDE)
    check(replace(case, net=replace(case.net, score_cap=score, logit_cap=logit)), tmp_path)


def test_layers_differ(tmp_path: Path) -> None:
    check(tiny("llama", heads=(4, 6), kv_heads=(4, 2), intermediate=(24, 40), **WIDE), tmp_path)


def test_scaled_positions_and_a_factor_of_the_scores(tmp_path: Path) -> None:
    case = tiny("qwen2", rope=Rope(base=BASE, scaling="linear", factor=4.0), **WIDE)
    rates = (plain_rates(BASE, 16) / 4,) * case.net.layers
    check(replace(case, net=replace(case.net, rates=rates)), tmp_path)


@pytest.mark.parametrize(
    "case", [tiny("llama"), tiny("llama", value_head_size=12, head_size=16), tiny("qwen3")],
    ids=["narrow heads", "values of another width", "narrow heads with norms"],
)  # fmt: skip
def test_what_the_fused_operator_does_not_take_stays_standard(case: Tiny, tmp_path: Path) -> None:
    found = operators(check(case, tmp_path))
    assert {"Attention", "RotaryEmbedding", "CausalMask"} <= found
