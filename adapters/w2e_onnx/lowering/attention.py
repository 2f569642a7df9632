"""Attention with its rotary embedding and mask to GroupQueryAttention."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.rewriting import constant, given, maker, named, node
from w2e_onnx.lowering.functions import MICROSOFT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lengths:
    """What GroupQueryAttention wants instead of a mask, once for the whole graph.

    Attributes:
        last: index of the last key of each sequence, int32 [batch].
        total: length of the longest sequence, int32 scalar.
    """

    last: ir.Value
    total: ir.Value


def fuse_attention(graph: ir.Graph) -> None:
    """Attention, rotation of queries and keys, and the causal mask as one node.

    before: Attention(Rotary(q), Rotary(k), v, w2e.CausalMask(window), past_key, past_value).
    after:  GroupQueryAttention(q, k, v, past_key, past_value, last, total, cos, sin).
    why exact: the operator rotates with the same tables at the same positions, and attends to keys at
        or before the query, of the last `window` ones where there is a window
        (microsoft/onnxruntime docs/ContribOperators.md).
    """
    lengths: _Lengths | None = None
    for user in list(graph):
        if user.op_type == "Attention" and not user.domain and _fits(user):
            lengths = lengths or _lengths(graph)
            _fuse(graph, user, lengths)


def _fits(user: ir.Node) -> bool:
    """Whether the kernel takes these widths; the standard operators, which are slower, take any.

    One width for keys and values; a multiple of 16 where it rotates, and tables of a multiple of 8
    (onnxruntime 1.32 says so at run time only).
    """
    key, value = _width(user.inputs[4]), _width(user.inputs[5])
    rotation = maker(user.inputs[0], "RotaryEmbedding")
    if key is None or key != value:
        return False
    if rotation is None:
        return True
    half = _width(rotation.inputs[1])
    return key % 16 == 0 and half is not None and half % 8 == 0


def _width(value: ir.Value | None) -> int | None:
    """The last extent of a value where it is known."""
    last = None if value is None or value.shape is None else value.shape[-1]
    return last if isinstance(last, int) else None


def _lengths(graph: ir.Graph) -> _Lengths:
    mask = next(value for value in graph.inputs if value.name == "attention_mask")
    axis, one = np.array([1], np.int64), np.array([1], np.int64)
    rows = constant(graph, "axis.1", axis)
    count = node("", "ReduceSum", [mask, rows], {"keepdims": 0}, "sequence.length")
    last = node("", "Sub", [count.outputs[0], constant(graph, "one", one)], {}, "sequence.last64")
    short = node("", "Cast", [last.outputs[0]], {"to": int(ir.DataType.INT32)}, "sequence.last")
    shape = node("", "Shape", [mask], {}, "mask.shape")
    index = constant(graph, "index.1", np.array(1, np.int64))
    total = node("", "Gather", [shape.outputs[0], index], {"axis": 0}, "sequence.total64")
    whole = node("", "Cast", [total.outputs[0]], {"to": int(ir.DataType.INT32)}, "sequence.total")
    graph.insert_before(graph.node(0), [count, last, short, shape, total, whole])
    return _Lengths(last=short.outputs[0], total=whole.outputs[0])


def _fuse(graph: ir.Graph, user: ir.Node, lengths: _Lengths) -> None:
    mask = maker(user.inputs[3], "CausalMask", "w2e")
    query, key = maker(user.inputs[0], "RotaryEmbedding"), maker(user.inputs[1], "RotaryEmbedding")
    if mask is None:
        raise UnsupportedError(f"attention '{named(user)}' has a mask that is not causal")
    attributes = _attributes(user, mask)
    inputs: list[ir.Value | None] = [given(user, 0), given(user, 1), given(user, 2)]
    inputs += [user.inputs[4], user.inputs[5], lengths.last, lengths.total]
    if query is not None and key is not None:
        inputs[0], inputs[1] = given(query, 0), given(key, 0)
        inputs += [given(query, 1), given(query, 2)]
        attributes |= {"do_rotary": 1, "rotary_interleaved": _int(query, "interleaved")}
    new = node(MICROSOFT, "GroupQueryAttention", inputs, attributes, named(user), 3)
    old = [user, *(r for r in (query, key) if r is not None)]
    ir.convenience.replace_nodes_and_values(
        graph, user, old, [new], list(user.outputs[:3]), list(new.outputs)
    )


def _attributes(user: ir.Node, mask: ir.Node) -> dict[str, object]:
    attributes: dict[str, object] = {
        "num_heads": _int(user, "q_num_heads"),
        "kv_num_heads": _int(user, "kv_num_heads"),
    }
    for name in ("scale", "softcap"):
        given_value = user.attributes.get(name)
        if given_value is not None and given_value.as_float():
            attributes[name] = given_value.as_float()
    if window := _int(mask, "window"):
        attributes["local_window_size"] = window
    return attributes


def _int(user: ir.Node, name: str) -> int:
    value = user.attributes.get(name)
    return 0 if value is None else value.as_int()


def pack_queries(graph: ir.Graph) -> None:
    """Queries, keys and values of one product straight into the attention.

    before: q, k, v = Split(qkv); GroupQueryAttention(q, k, v, …).
    after:  GroupQueryAttention(qkv, , , …).
    why exact: the operator splits its packed input at the same places.
    """
    for user in list(graph):
        if user.op_type != "GroupQueryAttention":
            continue
        split = maker(user.inputs[0], "Split")
        if split is None or list(user.inputs[:3]) != list(split.outputs):
            continue
        if any(len(output.uses()) != 1 for output in split.outputs):
            continue
        for index, value in enumerate((given(split, 0), None, None)):
            user.replace_input_with(index, value)
        graph.remove(split, safe=True)
