"""Self-attention with rotary positions, a causal mask and a cache of keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.architectures.builder import Builder, Dimension
from w2e_bridge.architectures.config import Layer
from w2e_bridge.architectures.family import HeadNorm
from w2e_bridge.architectures.parts import head_norm, linear, norm
from w2e_bridge.architectures.rotary import GLOBAL, Rotation, Wheel, rotation, tables

_FLOAT = ir.DataType.FLOAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """What the layers share.

    Attributes:
        ids: position of each token, int64 [batch, sequence].
        masks: window to mask, bool [batch, 1, sequence, total].
        tables: stem to cosine and sine.
    """

    ids: ir.Value
    masks: dict[int, ir.Value]
    tables: dict[str, tuple[ir.Value, ir.Value]]


def positions(b: Builder, mask: ir.Value, ids: ir.Value) -> Positions:
    """Positions, masks and rotary tables, each made once for all layers that need the same."""
    config = b.config
    windows = sorted({layer.window for layer in config.layers})
    stems = sorted({layer.rope for layer in config.layers})
    shared = [mask, ids]
    return Positions(
        ids=b.call("Positions", shared, "position_ids"),
        masks={
            w: b.call("CausalMask", shared, f"mask.{w}" if w else "mask", window=w) for w in windows
        },
        tables={stem: _tables(b, stem) for stem in stems},
    )


def _tables(b: Builder, stem: str) -> tuple[ir.Value, ir.Value]:
    a = b.config.architecture
    cosine, sine = tables(stem, _rotation(b, stem), a.context)
    return b.own(cosine), b.own(sine)


def _rotation(b: Builder, stem: str) -> Rotation:
    a, pairs = b.config.architecture, b.config.rotated // 2
    factors = _factors(b, pairs) if stem == GLOBAL else None
    wheel = Wheel(pairs=pairs, context=a.context, source=a.source, factors=factors)
    return rotation(b.config.ropes[stem], wheel)


def _factors(b: Builder, pairs: int) -> NDArray[np.float64] | None:
    """Divisors of the rates; of longrope the long ones where the context is longer than the original."""
    rope, context = b.config.ropes[GLOBAL], b.config.architecture.context
    if b.has("rope_factors.weight"):
        return _read_factors(b, "rope_factors.weight", pairs)
    if rope.scaling != "longrope":
        return None
    stretched = context > (rope.original_context or context)
    chosen, other = ("long", "short") if stretched else ("short", "long")
    if b.has(f"rope_factors_{other}.weight"):
        unused = b.named(f"rope_factors_{other}.weight")
        b.spent[unused.name] = f"not used: the graph is built for a context of {context} tokens"
    return _read_factors(b, f"rope_factors_{chosen}.weight", pairs)


def _read_factors(b: Builder, role: str, pairs: int) -> NDArray[np.float64]:
    tensor = b.named(role)
    b.check(tensor, role, (pairs,))
    values = tensor.dequantize().astype(np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise b.config.refusal("expected frequency factors above 0", tensor.name)
    b.spent[tensor.name] = "its factors are in the rotary tables"
    return values.reshape(pairs)


def attention(b: Builder, x: ir.Value, layer: Layer, shared: Positions) -> ir.Value:
    """O(attention(rotate(q(x)), rotate(k(x)), v(x))), with the layer's cache as input and output."""
    a, config = b.config.architecture, b.config
    stem, role = f"layers.{layer.index}.attention", f"layers.{layer.index}"
    query, key, value = _projections(b, x, layer)
    query = _rotated(b, query, "q", layer, shared)
    key = _rotated(b, key, "k", layer, shared)
    past = [_past(b, layer, part) for part in ("key", "value")]
    attributes: dict[str, int | float] = {
        "q_num_heads": layer.heads,
        "kv_num_heads": layer.kv_heads,
        "scale": config.attention_scale,
    }
    if config.attention_softcap:
        attributes["softcap"] = config.attention_softcap
    names = [stem, *(f"present.{layer.index}.{part}" for part in ("key", "value"))]
    mask = shared.masks[layer.window]
    x, *present = b.nodes("Attention", [query, key, value, mask, *past], names, attributes)
    for made, size in zip(present, (a.head_size, a.value_head_size), strict=True):
        b.output(made, _FLOAT, ["batch_size", layer.kv_heads, "total_sequence_length", size])
    width = layer.heads * a.value_head_size
    return linear(b, x, f"{role}.o", (a.hidden, width), f"{stem}.o")


def _past(b: Builder, layer: Layer, part: str) -> ir.Value:
    a = b.config.architecture
    size = a.head_size if part == "key" else a.value_head_size
    shape: list[Dimension] = ["batch_size", layer.kv_heads, "past_sequence_length", size]
    return b.input(f"past_key_values.{layer.index}.{part}", _FLOAT, shape)


def _projections(b: Builder, x: ir.Value, layer: Layer) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Queries, keys and values, each (batch, sequence, heads * size), of one matrix or of three."""
    a = b.config.architecture
    role, stem = f"layers.{layer.index}", f"layers.{layer.index}.attention"
    sizes = (
        layer.heads * a.head_size,
        layer.kv_heads * a.head_size,
        layer.kv_heads * a.value_head_size,
    )
    names = [f"{stem}.{part}" for part in "qkv"]
    if b.has(f"{role}.qkv.weight"):
        x = linear(b, x, f"{role}.qkv", (sum(sizes), a.hidden), f"{stem}.qkv")
        extents = b.constant(f"split.{'.'.join(map(str, sizes))}", np.array(sizes, np.int64))
        query, key, value = b.nodes("Split", [x, extents], names, {"axis": -1})
        return query, key, value
    query, key, value = (
        linear(b, x, f"{role}.{part}", (size, a.hidden), name)
        for part, size, name in zip("qkv", sizes, names, strict=True)
    )
    return query, key, value


def _rotated(b: Builder, x: ir.Value, part: str, layer: Layer, shared: Positions) -> ir.Value:
    """Queries or keys, normalized where the family does so, turned by their positions."""
    config, kind = b.config, b.config.family.head_norm
    name, role = f"layers.{layer.index}.attention.{part}", f"layers.{layer.index}.{part}_norm"
    heads = layer.heads if part == "q" else layer.kv_heads
    if kind is HeadNorm.HEAD:
        x = head_norm(b, x, role, heads, f"{name}.norm")
    elif kind is HeadNorm.WHOLE:
        x = norm(b, x, role, heads * config.architecture.head_size, f"{name}.norm")
    attributes = {"interleaved": int(config.interleaved), "num_heads": heads}
    if config.rotated != config.architecture.head_size:
        attributes["rotary_embedding_dim"] = config.rotated
    inputs = [x, *shared.tables[layer.rope], shared.ids]
    return b.node("RotaryEmbedding", inputs, f"{name}.rotated", **attributes)
