"""Blocks that networks are made of. Each appends its nodes under a stem that says where it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.architectures.builder import Builder
from w2e_bridge.architectures.family import Activation, Norm


def linear(b: Builder, x: ir.Value, role: str, extents: tuple[int, int], name: str) -> ir.Value:
    """Y = (X Wᵀ) factor + bias; W is stored (out, in).

    The factor is the one scale of a whole matrix that GGUF files keep beside NVFP4 blocks: part of the
    weights, so it comes before the bias (ggml-org/llama.cpp src/llama-graph.cpp, `build_lora_mm`).
    """
    matrix = b.weight(f"{role}.weight", extents)
    turned = b.node("Transpose", [matrix], f"{name}.weight", perm=[1, 0])
    steps: list[tuple[str, ir.Value, str]] = [("MatMul", turned, "product")]
    if b.has(f"{role}.scale"):
        steps.append(("Mul", b.factor(f"{role}.scale"), "scaled"))
    if b.has(f"{role}.bias") and role.rpartition(".")[2] in b.config.family.biases:
        steps.append(("Add", b.weight(f"{role}.bias", extents[:1]), "biased"))
    for index, (op, operand, suffix) in enumerate(steps):
        last = index == len(steps) - 1
        x = b.node(op, [x, operand], name if last else f"{name}.{suffix}")
    return x


def norm(b: Builder, x: ir.Value, role: str, width: int, name: str) -> ir.Value:
    """Normalization over the last axis, of `width`."""
    scale = b.weight(f"{role}.weight", (width,))
    if b.config.norm_offset:
        offset = b.number("norm_offset", b.config.norm_offset)
        scale = b.node("Add", [scale, offset], f"{name}.weight")
    epsilon = b.config.architecture.norm_epsilon
    if b.config.family.norm is Norm.RMS:
        return b.node("RMSNormalization", [x, scale], name, axis=-1, epsilon=epsilon, stash_type=1)
    inputs = [x, scale]
    if b.has(f"{role}.bias"):
        inputs.append(b.weight(f"{role}.bias", (width,)))
    return b.node("LayerNormalization", inputs, name, axis=-1, epsilon=epsilon, stash_type=1)


def head_norm(b: Builder, x: ir.Value, role: str, heads: int, name: str) -> ir.Value:
    """Normalization of each head by itself; x is (batch, sequence, heads * size) before and after."""
    size = b.config.architecture.head_size
    # 0 keeps an extent as it is.
    split = b.constant(f"shape.{heads}x{size}", np.array([0, 0, heads, size], np.int64))
    whole = b.constant(f"shape.{heads * size}", np.array([0, 0, heads * size], np.int64))
    x = b.node("Reshape", [x, split], f"{name}.heads")
    return b.node("Reshape", [norm(b, x, role, size, f"{name}.each"), whole], name)


def activation(b: Builder, x: ir.Value, name: str) -> ir.Value:
    """The family's nonlinearity."""
    return _ACTIVATIONS[b.config.family.activation](b, x, name)


def _silu(b: Builder, x: ir.Value, name: str) -> ir.Value:
    return b.node("Mul", [x, b.node("Sigmoid", [x], f"{name}.sigmoid")], name)


def _gelu(b: Builder, x: ir.Value, name: str) -> ir.Value:
    return b.node("Gelu", [x], name, approximate="none")


def _gelu_tanh(b: Builder, x: ir.Value, name: str) -> ir.Value:
    return b.node("Gelu", [x], name, approximate="tanh")


_ACTIVATIONS: Mapping[Activation, Callable[[Builder, ir.Value, str], ir.Value]] = {
    Activation.SILU: _silu,
    Activation.GELU: _gelu,
    Activation.GELU_TANH: _gelu_tanh,
}


def feed_forward(b: Builder, x: ir.Value, role: str, width: int, name: str) -> ir.Value:
    """Down(act(gate(x)) * up(x)), or down(act(up(x))) where the family has no gate."""
    hidden = b.config.architecture.hidden
    if b.config.family.gated:
        gate = linear(b, x, f"{role}.gate", (width, hidden), f"{name}.gate")
        gate = activation(b, gate, f"{name}.activation")
        up = linear(b, x, f"{role}.up", (width, hidden), f"{name}.up")
        x = b.node("Mul", [gate, up], f"{name}.gated")
    else:
        up = linear(b, x, f"{role}.up", (width, hidden), f"{name}.up")
        x = activation(b, up, f"{name}.activation")
    return linear(b, x, f"{role}.down", (hidden, width), f"{name}.down")


def softcap(b: Builder, x: ir.Value, cap: float, name: str) -> ir.Value:
    """Cap * tanh(x / cap)."""
    limit = b.number(f"{name}.cap", cap)
    x = b.node("Tanh", [b.node("Div", [x, limit], f"{name}.divided")], f"{name}.tanh")
    return b.node("Mul", [x, limit], name)


def embedding(b: Builder, ids: ir.Value, name: str) -> ir.Value:
    """Rows of the embedding, scaled where the family does so."""
    a = b.config.architecture
    matrix = b.weight("embedding.weight", (a.vocabulary, a.hidden))
    if b.has("embedding.scale"):  # no reader of such files agrees with another
        raise b.config.refusal("a factor of the embedding's whole matrix is not known")
    scale = b.config.embedding_scale
    if scale == 1:
        return b.node("Gather", [matrix, ids], name, axis=0)
    x = b.node("Gather", [matrix, ids], f"{name}.rows", axis=0)
    return b.node("Mul", [x, b.number(f"{name}.scale", scale)], name)


def head(b: Builder, x: ir.Value, name: str) -> ir.Value:
    """Logits, with the embedding's matrix where there is none of the output."""
    a, cap = b.config.architecture, b.config.logit_softcap
    role = "output" if b.has("output.weight") else "embedding"
    stem = f"{name}.uncapped" if cap else name
    x = linear(b, x, role, (a.vocabulary, a.hidden), stem)
    return softcap(b, x, cap, name) if cap else x
