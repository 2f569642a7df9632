"""A decoder: embedding, layers of attention and feed-forward network, logits.

Inputs and outputs are those of onnxruntime-genai: `input_ids`, `attention_mask`,
`past_key_values.N.key|value` to `logits`, `present.N.key|value`.
"""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.architectures.attention import Positions, attention, positions
from w2e_bridge.architectures.builder import Builder
from w2e_bridge.architectures.config import Layer
from w2e_bridge.architectures.parts import embedding, feed_forward, head, norm


def decoder(b: Builder) -> None:
    """Append the whole network."""
    a = b.config.architecture
    ids = b.input("input_ids", ir.DataType.INT64, ["batch_size", "sequence_length"])
    mask = b.input("attention_mask", ir.DataType.INT64, ["batch_size", "total_sequence_length"])
    x = embedding(b, ids, "embedding")
    shared = positions(b, mask, ids)
    for each in b.config.layers:
        x = layer(b, x, each, shared)
    x = norm(b, x, "output_norm", a.hidden, "output_norm")
    logits = head(b, x, "logits")
    b.output(logits, ir.DataType.FLOAT, ["batch_size", "sequence_length", a.vocabulary])
    outputs = b.graph.outputs
    outputs.insert(0, outputs.pop())


def layer(b: Builder, x: ir.Value, which: Layer, shared: Positions) -> ir.Value:
    """Attention, then the feed-forward network, each added to the residual stream."""
    hidden, family = b.config.architecture.hidden, b.config.family
    role = f"layers.{which.index}"
    for block, before, after in (
        ("attention", "attention_norm", "post_attention_norm"),
        ("feed_forward", "ffn_norm", "post_ffn_norm"),
    ):
        stem, y = f"{role}.{block}", x
        if family.pre_norm:
            y = norm(b, y, f"{role}.{before}", hidden, f"{stem}.norm")
        if block == "attention":
            y = attention(b, y, which, shared)
        else:
            y = feed_forward(b, y, role, which.intermediate, stem)
        if family.post_norm:
            y = norm(b, y, f"{role}.{after}", hidden, f"{stem}.post_norm")
        x = b.node("Add", [x, y], f"{stem}.residual")
    return x
