"""Language models in plain float64 numpy, from their published definitions; knows nothing of the builder.

Weights are a checkpoint's: (out, in), the rotated pairs are the two halves of a head, Gemma's norms lack
their 1. No cache: every token looks at the whole text before it.

Llama: arXiv 2302.13971, 2307.09288. Qwen 2 and 3: arXiv 2407.10671, 2505.09388. Gemma 2: arXiv
2408.00118. YaRN: arXiv 2309.00071, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Net:
    """Hyper-parameters of a small network and its weights by role."""

    weights: Mapping[str, Array]
    layers: int
    heads: tuple[int, ...]
    kv_heads: tuple[int, ...]
    head_size: int
    value_head_size: int
    epsilon: float
    rates: tuple[Array, ...]
    """Of each layer: radians a token for each rotated pair."""
    windows: tuple[int, ...]
    scale: float
    magnitude: float = 1.0
    score_cap: float = 0.0
    logit_cap: float = 0.0

    def linear(self, role: str, x: Array) -> Array:
        y = x @ self.weights[f"{role}.weight"].T
        y = y * self.weights.get(f"{role}.scale", np.ones(1))
        return y + self.weights.get(f"{role}.bias", np.zeros(1))

    def rms(self, role: str, x: Array, offset: float = 0.0) -> Array:
        mean = np.mean(x * x, axis=-1, keepdims=True)
        y: Array = x / np.sqrt(mean + self.epsilon) * (self.weights[f"{role}.weight"] + offset)
        return y


def llama(net: Net, ids: Ids) -> Array:
    """Llama, Mistral, Qwen 2 (which has biases)."""
    return _pre_norm(net, ids, headed=False)


def qwen3(net: Net, ids: Ids) -> Array:
    return _pre_norm(net, ids, headed=True)


def _pre_norm(net: Net, ids: Ids, *, headed: bool) -> Array:
    x = net.weights["embedding.weight"][ids]
    for n in range(net.layers):
        x = x + attention(net, n, net.rms(f"layers.{n}.attention_norm", x), headed=headed)
        x = x + swiglu(net, n, net.rms(f"layers.{n}.ffn_norm", x))
    return _output(net, net.rms("output_norm", x))


def gemma2(net: Net, ids: Ids) -> Array:
    embedding = net.weights["embedding.weight"]
    x = embedding[ids] * math.sqrt(embedding.shape[1])
    for n in range(net.layers):
        role = f"layers.{n}"
        y = attention(net, n, net.rms(f"{role}.attention_norm", x, 1.0), headed=False)
        x = x + net.rms(f"{role}.post_attention_norm", y, 1.0)
        y = net.rms(f"{role}.ffn_norm", x, 1.0)
        gate = gelu_tanh(net.linear(f"{role}.gate", y))
        y = net.linear(f"{role}.down", gate * net.linear(f"{role}.up", y))
        x = x + net.rms(f"{role}.post_ffn_norm", y, 1.0)
    return _output(net, net.rms("output_norm", x, 1.0))


FORWARD: Mapping[str, Callable[[Net, Ids], Array]] = {
    "llama": llama,
    "mistral": llama,
    "qwen2": llama,
    "qwen3": qwen3,
    "gemma2": gemma2,
}


def _output(net: Net, x: Array) -> Array:
    role = "output" if "output.weight" in net.weights else "embedding"
    logits = net.linear(role, x)
    return net.logit_cap * np.tanh(logits / net.logit_cap) if net.logit_cap else logits


def swiglu(net: Net, n: int, x: Array) -> Array:
    gate = net.linear(f"layers.{n}.gate", x)
    gate = gate / (1 + np.exp(-gate))
    return net.linear(f"layers.{n}.down", gate * net.linear(f"layers.{n}.up", x))


def gelu_tanh(x: Array) -> Array:
    y: Array = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return y


def attention(net: Net, n: int, x: Array, *, headed: bool) -> Array:
    """One head at a time, one token at a time."""
    role, tokens = f"layers.{n}", len(x)
    heads, shared = net.heads[n], net.heads[n] // net.kv_heads[n]
    q = net.linear(f"{role}.q", x).reshape(tokens, heads, net.head_size)
    k = net.linear(f"{role}.k", x).reshape(tokens, net.kv_heads[n], net.head_size)
    v = net.linear(f"{role}.v", x).reshape(tokens, net.kv_heads[n], net.value_head_size)
    if headed:
        q, k = net.rms(f"{role}.q_norm", q), net.rms(f"{role}.k_norm", k)
    q, k = rotate(net, n, q), rotate(net, n, k)
    out = np.zeros((tokens, heads, net.value_head_size))
    for token in range(tokens):
        first = max(0, token - net.windows[n] + 1) if net.windows[n] else 0
        for head in range(heads):
            keys, values = (a[first : token + 1, head // shared] for a in (k, v))
            scores = keys @ q[token, head] * net.scale
            if net.score_cap:
                scores = net.score_cap * np.tanh(scores / net.score_cap)
            share = np.exp(scores - scores.max())
            out[token, head] = share / share.sum() @ values
    return net.linear(f"{role}.o", out.reshape(tokens, -1))


def rotate(net: Net, n: int, x: Array) -> Array:
    """Pair i of a head is (i, i + pairs); what lies behind the pairs stays."""
    rates = net.rates[n]
    pairs, out = len(rates), x.copy()
    for token in range(len(x)):
        cosine = np.cos(token * rates) * net.magnitude
        sine = np.sin(token * rates) * net.magnitude
        first, second = x[token, :, :pairs], x[token, :, pairs : 2 * pairs]
        out[token, :, :pairs] = first * cosine - second * sine
        out[token, :, pairs : 2 * pairs] = second * cosine + first * sine
    return out


def plain_rates(base: float, dimensions: int) -> Array:
    return np.array([base ** (-2 * i / dimensions) for i in range(dimensions // 2)])


def yarn_rates(
    base: float, dimensions: int, factor: float, original: int, turns: tuple[float, float] = (32, 1)
) -> Array:
    """A pair that makes more than `turns[0]` turns keeps its rate, fewer than `turns[1]`: is slowed down."""

    def pair_of(count: float) -> float:
        return dimensions * math.log(original / (count * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_of(turns[0])), 0)
    high = min(math.ceil(pair_of(turns[1])), dimensions - 1)
    rates = []
    for i, rate in enumerate(plain_rates(base, dimensions)):
        slowed = min(max((i - low) / max(high - low, 0.001), 0), 1)
        rates.append(rate * (1 - slowed) + rate / factor * slowed)
    return np.array(rates)


def llama3_factors(base: float, dimensions: int, factor: float, original: int) -> Array:
    """Divisors of the rates of Llama 3.1 (its own `apply_scaling`, low 1, high 4)."""
    divisors = []
    for rate in plain_rates(base, dimensions):
        length = 2 * math.pi / rate
        if length < original / 4:
            divisors.append(1.0)
        elif length > original:
            divisors.append(factor)
        else:
            smooth = (original / length - 1) / (4 - 1)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors)
