"""Rotary tables: numbers, and that none is computed before it is asked for."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from tests.architectures.reference import plain_rates, yarn_rates
from w2e_bridge.architectures.rotary import Wheel, rotation, tables
from w2e_bridge.ir.architecture import Rope


def wheel(source: str = "gguf", pairs: int = 32, context: int = 4096) -> Wheel:
    return Wheel(pairs=pairs, context=context, source=source)


def test_tables_are_float64_rounded_once() -> None:
    cosine, sine = tables("rope", rotation(Rope(base=5e5), wheel(pairs=64)), 131072)
    assert (cosine.name, cosine.shape, cosine.dtype) == ("rope.cos", (131072, 64), "float32")
    row = 131071
    for tensor, wave in ((cosine, math.cos), (sine, math.sin)):
        rates = (5e5 ** (-i / 64) for i in range(64))
        expected = np.array([wave(row * rate) for rate in rates])
        found = tensor.decode_rows(row, row + 1)[0]
        # cos and sin of the same float64 angle; the rate's last bit may differ.
        np.testing.assert_allclose(found, expected, rtol=0, atol=6e-8 + 1e-10)


def test_rows_are_made_on_demand() -> None:
    tracemalloc.start()
    cosine, _ = tables("rope", rotation(Rope(), wheel(pairs=64)), 1 << 24)
    cosine.decode_rows(1000, 1010)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_rows_do_not_depend_on_the_chunk() -> None:
    _, sine = tables("rope", rotation(Rope(), wheel()), 100)
    whole = sine.dequantize()
    pieces = [sine.decode_rows(start, start + 25) for start in range(0, 100, 25)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


def ggml_yarn(rope: Rope, pairs: int, original: int, extension: float) -> tuple[np.ndarray, float]:
    """One pair after another, as ggml's own loop does it (ggml-cpu/ops.cpp)."""
    dimensions, rates = 2 * pairs, []

    def dimension(turns: float) -> float:
        return dimensions * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.base))

    low = max(0, math.floor(dimension(rope.beta_fast or 32)))
    high = min(dimensions - 1, math.ceil(dimension(rope.beta_slow or 1)))
    for i in range(0, dimensions, 2):
        own = rope.base ** (-i / dimensions)
        slowed = own / rope.factor
        y = (i // 2 - low) / max(0.001, high - low)
        mix = (1 - min(1, max(0, y))) * extension
        rates.append(slowed * (1 - mix) + own * mix)
    return np.array(rates), 1 + 0.1 * math.log(rope.factor)


@pytest.mark.parametrize("extension", [None, 1.0, 0.5])
def test_yarn_as_ggml_does_it(extension: float | None) -> None:
    rope = Rope(base=1e6, scaling="yarn", factor=4.0, original_context=32768, ext_factor=extension)
    turn = rotation(rope, wheel(pairs=64))
    rates, magnitude = ggml_yarn(rope, 64, 32768, 1.0 if extension is None else extension)
    np.testing.assert_allclose(turn.rates, rates, rtol=1e-14)
    assert turn.magnitude == pytest.approx(magnitude, rel=1e-15)


def test_yarn_as_the_paper_has_it() -> None:
    rope = Rope(base=1e4, scaling="yarn", factor=16.0, original_context=2048)
    turn = rotation(rope, wheel("huggingface", pairs=64))
    np.testing.assert_allclose(turn.rates, yarn_rates(1e4, 128, 16.0, 2048), rtol=1e-14)


def test_yarn_without_an_original_context_takes_the_whole() -> None:
    rope = Rope(base=1e4, scaling="yarn", factor=4.0)
    said = Rope(base=1e4, scaling="yarn", factor=4.0, original_context=4096)
    assert (rotation(rope, wheel()).rates == rotation(said, wheel()).rates).all()


def test_no_scaling_ignores_its_parameters() -> None:
    """`llama-context.cpp`: never scaled if the type is none."""
    turn = rotation(Rope(scaling="none", factor=8.0, original_context=64), wheel())
    np.testing.assert_allclose(turn.rates, plain_rates(1e4, 64), rtol=1e-15)
    assert turn.magnitude == 1.0


@pytest.mark.parametrize(
    ("source", "stated", "magnitude"),
    [
        ("gguf", None, 1.0),
        ("gguf", 1.19, 1.19),
        ("huggingface", None, math.sqrt(1 + math.log(32) / math.log(4096))),
        ("huggingface", 1.5, 1.5),
    ],
)
def test_magnitude_of_longrope(source: str, stated: float | None, magnitude: float) -> None:
    rope = Rope(scaling="longrope", factor=32.0, original_context=4096, attention_factor=stated)
    assert rotation(rope, wheel(source)).magnitude == pytest.approx(magnitude, rel=1e-15)
