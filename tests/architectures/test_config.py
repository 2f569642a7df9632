"""What is refused before a graph is built, and what a family decides."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from tests.architectures.tiny import CONTEXT, tiny
from w2e_bridge.architectures.base import family
from w2e_bridge.architectures.config import LONGEST, resolve
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.ir.architecture import Architecture, Rope

PROBLEMS: list[tuple[str, dict[str, Any], str]] = [
    ("llama", {"source": "tape"}, "conventions of a source 'tape' are not known"),
    ("llama", {"extra": {"unrecognised": "llama.foo"}}, "not known of family llama: llama.foo"),
    ("llama", {"extra": {"clamp_qkv": 8.0}}, "'clamp_qkv' is not known of family llama"),
    ("llama", {"extra": {"norm": "layer"}}, "expected 'rms' normalization of family llama"),
    ("llama", {"experts": 8}, "a mixture of 8 experts can't be built yet"),
    ("llama", {"residual_scale": 0.5}, "'residual_scale' is not known of family llama"),
    ("llama", {"logit_scale": 0.5}, "'logit_scale' is not known of family llama"),
    ("qwen3", {"embedding_scale": 2.0}, "'embedding_scale' is not known of family qwen3"),
    ("llama", {"hidden": 0}, "expected 'hidden' above 0, found 0"),
    ("llama", {"layers": -1}, "expected 'layers' above 0, found -1"),
    ("llama", {"context": LONGEST + 1}, "is longer than"),
    ("llama", {"heads": (4,)}, "expected 'heads' of 2 layers, found 1"),
    ("llama", {"kv_heads": (2, 2, 2)}, "expected 'kv_heads' of 2 layers, found 3"),
    ("llama", {"heads": (4, 0)}, "layer 1: 0 heads can't share 2"),
    ("llama", {"kv_heads": (3, 2)}, "layer 0: 4 heads can't share 3 key/value heads evenly"),
    ("llama", {"kv_heads": (2, 0)}, "layer 1: 4 heads can't share 0"),
    ("llama", {"intermediate": (24, 0)}, "layer 1: expected a feed-forward width above 0"),
    ("llama", {"window": -1}, "expected a window of 0 or more tokens, found -1"),
    ("llama", {"window_pattern": (True,)}, "'window_pattern' of 2 layers, found 1"),
    ("qwen2", {"window": 8}, "nothing says which layers of qwen2 it is for"),
    ("llama", {"attention_scale": 0.0}, "expected 'attention_scale' above 0, found 0.0"),
    ("llama", {"attention_scale": math.nan}, "expected 'attention_scale' above 0, found nan"),
    ("gemma2", {"logit_softcap": -1.0}, "expected 'logit_softcap' of 0 or more, found -1.0"),
    ("llama", {"norm_epsilon": 0.0}, "expected 'norm_epsilon' above 0, found 0.0"),
    ("llama", {"head_size": 7}, "can't rotate 7 dimensions of heads of 7"),
    ("llama", {"rope": Rope(dimensions=16)}, "can't rotate 16 dimensions of heads of 8"),
    ("llama", {"rope": Rope(dimensions=0)}, "can't rotate 0 dimensions"),
    ("llama", {"rope": Rope(scaling="ntk")}, "rotary scaling 'ntk' is not known; known: linear"),
    ("llama", {"rope": Rope(base=1.0)}, "expected a rotary 'base' above 1, found 1.0"),
    ("llama", {"rope": Rope(base=math.inf)}, "expected a rotary 'base' above 1, found inf"),
    ("llama", {"rope": Rope(factor=0.0)}, "expected a rotary 'factor' above 0, found 0.0"),
    ("llama", {"rope": Rope(original_context=1)}, "'original_context' above 1, found 1"),
    ("llama", {"rope": Rope(beta_slow=-1.0)}, "expected a rotary 'beta_slow' above 0"),
    ("llama", {"rope": Rope(ext_factor=math.nan)}, "expected a finite rotary 'ext_factor'"),
]


def of(name: str, **changes: Any) -> Architecture:
    return replace(tiny(name).architecture, **changes)


@pytest.mark.parametrize(("name", "changes", "said"), PROBLEMS)
def test_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError) as raised:
        resolve(of(name, **changes), family(name, "f.gguf"), "f.gguf")
    line = str(raised.value)
    assert line.startswith("f.gguf: ")
    assert said in line
    assert "\n" not in line
    assert raised.value.exit_code == 2


def test_neutral_values_are_accepted() -> None:
    known = {"extra": {"norm": "rms"}, "residual_scale": 1.0, "embedding_scale": 1.0}
    assert resolve(of("llama", **known), family("llama", "f"), "f").embedding_scale == 1.0


def config(name: str, **changes: Any) -> Any:
    return resolve(of(name, **changes), family(name, "f"), "f")


def test_defaults_of_gemma2() -> None:
    found = config("gemma2", hidden=2304, context=8192)
    assert found.embedding_scale == math.sqrt(2304)
    assert (found.attention_softcap, found.logit_softcap) == (50.0, 30.0)
    assert [layer.window for layer in found.layers] == [4096, 0]  # the even ones slide
    assert found.norm_offset == 0.0
    assert config("gemma2", source="huggingface").norm_offset == 1.0


def test_zero_means_none() -> None:
    found = config("gemma2", window=0, attention_softcap=0.0, logit_softcap=0.0)
    assert (found.attention_softcap, found.logit_softcap) == (0.0, 0.0)
    assert all(layer.window == 0 for layer in found.layers)


def test_the_largest_gemma2_scales_by_another_width() -> None:
    count = 46
    lists = {name: (value,) * count for name, value in
             {"heads": 32, "kv_heads": 16, "intermediate": 36864}.items()}  # fmt: skip
    found = config("gemma2", layers=count, hidden=4608, head_size=128, **lists)
    assert found.attention_scale == 1 / math.sqrt(144)
    small = config("gemma2", hidden=4608, head_size=128)
    assert small.attention_scale == 1 / math.sqrt(128)


def test_a_window_as_long_as_the_context_is_none() -> None:
    assert [layer.window for layer in config("llama", window=CONTEXT).layers] == [0, 0]
    assert [layer.window for layer in config("llama", window=CONTEXT - 1).layers] == [63, 63]


def test_conventions_of_pairs() -> None:
    assert config("llama").interleaved
    assert not config("llama", source="huggingface").interleaved
    assert not config("qwen2").interleaved
    assert config("qwen2", rope=Rope(interleaved=True)).interleaved
