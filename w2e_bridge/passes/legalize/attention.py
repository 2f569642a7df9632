"""Attention and rotary positions in products, sums and a softmax."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule

LOW = float(np.finfo(np.float32).min)
"""What masked scores become: its exponential is 0, and no infinity is subtracted from another."""


def _heads(place: Place, value: ir.Value, count: int) -> ir.Value | None:
    """(batch, sequence, heads · size) as (batch, heads, sequence, size)."""
    if place.rank(value) == 4:
        return value
    shape = place.shape(value)
    if shape is None or not count or not isinstance(shape[-1], int):
        return None
    split = place.add("Reshape", value, place.constant([0, 0, count, shape[-1] // count]))
    return place.add("Transpose", split, attributes={"perm": [0, 2, 1, 3]})


def _repeated(place: Place, value: ir.Value, times: int, count: int, size: int) -> ir.Value:
    """Each head as often as query heads share it."""
    if times == 1:
        return value
    wide = place.add("Unsqueeze", value, place.constant([2]))
    many = place.add("Tile", wide, place.constant([1, 1, times, 1, 1]))
    shape = [0, count * times, -1, size]
    return place.add("Reshape", many, place.constant(shape))


def attention(place: Place) -> bool:
    """Scaled products of queries and keys, masked, by which values are weighed.

    before: Attention(Q, K, V, mask, past_key, past_value).
    after: MatMul(Softmax(MatMul(Q · scale, Kᵀ) + mask), V), heads split and put together by Reshapes.
    why exact: its definition (onnx/onnx docs/Operators.md); the scale as one factor instead of its root
        twice.
    """
    outputs = place.node.outputs
    if len(outputs) > 3 and (outputs[3].uses() or outputs[3].is_graph_output()):
        return False
    q = _heads(place, place.need(0), place.integer("q_num_heads"))
    key, value = (_heads(place, place.need(slot), place.integer("kv_num_heads")) for slot in (1, 2))
    sizes = _sizes(place)
    if q is None or key is None or value is None or sizes is None:
        return False
    key, value = _with_past(place, key, 4), _with_past(place, value, 5)
    present = key, value
    size, width, heads, own = sizes
    key = _repeated(place, key, heads // own, own, size)
    value = _repeated(place, value, heads // own, own, width)
    scale = place.number("scale", 0.0) or 1 / math.sqrt(size)
    scores = place.add(
        "MatMul",
        place.add("Mul", q, place.constant(np.float32(scale))),
        place.add("Transpose", key, attributes={"perm": [0, 1, 3, 2]}),
    )
    weights = place.add("Softmax", _masked(place, _capped(place, scores)), attributes={"axis": -1})
    made = place.add("MatMul", weights, value)
    if place.rank(place.need(0)) == 3:
        turned = place.add("Transpose", made, attributes={"perm": [0, 2, 1, 3]})
        made = place.add("Reshape", turned, place.constant([0, 0, heads * width]))
    return _finish(place, made, present)


def _finish(place: Place, made: ir.Value, present: tuple[ir.Value, ir.Value]) -> bool:
    if len(place.node.outputs) == 1:
        return place.replace(made)
    copies = [place.add("Identity", value) for value in present]
    return place.replace(made, *copies)


def _sizes(place: Place) -> tuple[int, int, int, int] | None:
    """Size of a key head, of a value head, query heads, key heads."""
    found: list[tuple[int, int]] = []
    for slot, name in ((0, "q_num_heads"), (1, "kv_num_heads"), (2, "kv_num_heads")):
        shape = place.shape(place.need(slot))
        if shape is None or not isinstance(shape[-1], int):
            return None
        count = shape[1] if len(shape) == 4 else place.integer(name)
        if not isinstance(count, int) or count < 1:
            return None
        found.append((count, shape[-1] if len(shape) == 4 else shape[-1] // count))
    (heads, _), (own, size), (_, width) = found
    return (size, width, heads, own) if heads % own == 0 else None


def _with_past(place: Place, value: ir.Value, slot: int) -> ir.Value:
    past = place.input(slot)
    return value if past is None else place.add("Concat", past, value, attributes={"axis": 2})


def _capped(place: Place, scores: ir.Value) -> ir.Value:
    """Scores held within a cap by a hyperbolic tangent."""
    cap = place.number("softcap", 0.0)
    if not cap:
        return scores
    factor = place.constant(np.float32(cap))
    return place.add("Mul", place.add("Tanh", place.add("Div", scores, factor)), factor)


def _masked(place: Place, scores: ir.Value) -> ir.Value:
    """Scores of what must not be attended to are as low as can be."""
    mask = place.input(3)
    if mask is not None and place.dtype(mask) == ir.DataType.BOOL:
        scores = place.add("Where", mask, scores, place.constant(np.float32(LOW)))
    elif mask is not None:
        scores = place.add("Add", scores, mask)
    if place.integer("is_causal"):
        scores = place.add("Where", _causal(place), scores, place.constant(np.float32(LOW)))
    return scores


def _causal(place: Place) -> ir.Value:
    """Whether a key stands at or before a query: (queries, keys)."""
    axis = -2 if place.rank(place.need(0)) == 4 else 1
    queries = _places(place, place.need(0), axis, 1)
    keys = place.need(1)
    counted = _places(place, keys, axis, 0)
    past = place.input(4)
    if past is None:
        return place.add("LessOrEqual", counted, queries)
    before = place.add("Shape", past, attributes={"start": 2, "end": 3})
    total = _places(
        place, place.add("Concat", past, _like_past(place), attributes={"axis": 2}), 2, 0
    )
    return place.add("LessOrEqual", total, place.add("Add", queries, before))


def _like_past(place: Place) -> ir.Value:
    """The keys that are new, with heads of their own."""
    keys = _heads(place, place.need(1), place.integer("kv_num_heads"))
    assert keys is not None
    return keys


def _places(place: Place, value: ir.Value, axis: int, unsqueezed: int) -> ir.Value:
    """The numbers along an axis, as a column or a row."""
    bounds = {"start": axis, "end": axis + 1}
    count = place.add("Squeeze", place.add("Shape", value, attributes=bounds), place.constant([0]))
    zero, one = (place.constant(np.int64(n)) for n in (0, 1))
    return place.add(
        "Unsqueeze", place.add("Range", zero, count, one), place.constant([unsqueezed])
    )


def rotary(place: Place) -> bool:
    """Pairs of numbers turned by the angle of their position.

    before: RotaryEmbedding(x, cos, sin, positions).
    after: (a · cos - b · sin, b · cos + a · sin) of halves or neighbours a, b of each head, the rest behind.
    why exact: its definition (onnx/onnx docs/Operators.md).
    """
    x = _heads(place, place.need(0), place.integer("num_heads"))
    shape = place.shape(place.need(0))
    heads = place.integer("num_heads") if shape is not None and len(shape) == 3 else 1
    if x is None or shape is None or not isinstance(shape[-1], int):
        return False
    size = shape[-1] // heads
    turned = place.integer("rotary_embedding_dim") or size
    head, rest = x, None
    if turned < size:
        sizes = place.constant([turned, size - turned])
        head, rest = place.many("Split", [x, sizes], {"axis": -1}, 2)
    cos, sin = (_angles(place, slot) for slot in (1, 2))
    made = _turned(place, head, (cos, sin), turned, neighbours=bool(place.integer("interleaved")))
    if rest is not None:
        made = place.add("Concat", made, rest, attributes={"axis": -1})
    if len(shape) == 3:
        back = place.add("Transpose", made, attributes={"perm": [0, 2, 1, 3]})
        made = place.add("Reshape", back, place.constant([0, 0, shape[-1]]))
    return place.replace(made)


def _angles(place: Place, slot: int) -> ir.Value:
    """Cosines or sines of each position: (batch, 1, sequence, pairs)."""
    table, positions = place.need(slot), place.input(3)
    if positions is not None:
        table = place.add("Gather", table, positions, attributes={"axis": 0})
    return place.add("Unsqueeze", table, place.constant([1]))


def _turned(
    place: Place, x: ir.Value, angles: tuple[ir.Value, ir.Value], size: int, *, neighbours: bool
) -> ir.Value:
    cos, sin = angles
    if neighbours:
        ends = place.constant([(1 << 31) - 1])
        a, b = (
            place.add(
                "Slice", x, place.constant([n]), ends, place.constant([3]), place.constant([2])
            )
            for n in (0, 1)
        )
    else:
        a, b = place.many("Split", [x], {"axis": -1, "num_outputs": 2}, 2)
    first = place.add("Sub", place.add("Mul", a, cos), place.add("Mul", b, sin))
    second = place.add("Add", place.add("Mul", b, cos), place.add("Mul", a, sin))
    if not neighbours:
        return place.add("Concat", first, second, attributes={"axis": -1})
    last = place.constant([-1])
    pairs = [place.add("Unsqueeze", part, last) for part in (first, second)]
    both = place.add("Concat", *pairs, attributes={"axis": -1})
    return place.add("Reshape", both, place.constant([0, 0, -1, size]))


RULES: Mapping[str, tuple[Rule, ...]] = {"Attention": (attention,), "RotaryEmbedding": (rotary,)}
