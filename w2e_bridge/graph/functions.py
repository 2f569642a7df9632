"""Model-local functions of the domain `w2e`: what a language model's graph computes besides its network.

Their bodies are plain ONNX, so that every tool can evaluate them; a target that has something of its own
for one knows it by its name.

- `Positions(attention_mask, input_ids) -> position_ids`: where each token stands among the real ones.
- `CausalMask(attention_mask, input_ids; window) -> mask`: which keys each token attends to.

`attention_mask` is int64 [batch, total], 1 for a token and 0 for padding, over the cached tokens and
those of `input_ids` [batch, sequence]; the latter are its last `sequence` columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

DOMAIN = "w2e"
VERSION = 1
OPSET = 23
"""The first with RMSNormalization, RotaryEmbedding and Attention."""

_INT64_MAX = (1 << 63) - 1


class Body:
    """Nodes of a model-local function, appended in order; other domains' functions are made of it too."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []

    def add(
        self,
        op: str,
        inputs: Sequence[ir.Value],
        name: str,
        attributes: Sequence[ir.Attr] = (),
        domain: str = "",
    ) -> ir.Value:
        """A node whose one output has a name."""
        output = ir.Value(name=name)
        self.nodes.append(
            ir.Node(domain, op, inputs, attributes, outputs=[output], name=f"{name}_node")
        )
        return output

    def integer(self, value: int, name: str) -> ir.Value:
        """A constant of rank 0."""
        return self.add("Constant", [], name, [ir.AttrInt64("value_int", value)])

    def integers(self, values: Sequence[int], name: str) -> ir.Value:
        """A constant of rank 1."""
        return self.add("Constant", [], name, [ir.AttrInt64s("value_ints", values)])

    def finish(
        self,
        name: str,
        inputs: Sequence[ir.Value],
        output: ir.Value,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Function:
        """The function of these nodes."""
        graph = ir.Graph(inputs, [output], nodes=self.nodes, opset_imports={"": OPSET}, name=name)
        return ir.Function(DOMAIN, name, graph=graph, attributes=attributes)


def _inputs() -> tuple[ir.Value, ir.Value]:
    return ir.Value(name="attention_mask"), ir.Value(name="input_ids")


def _all_positions(body: Body, mask: ir.Value) -> ir.Value:
    """The number of real tokens before each of [batch, total]; of padding it only has to be a valid index."""
    counted = body.add("CumSum", [mask, body.integer(1, "axis")], "counted")
    before = body.add("Sub", [counted, body.integer(1, "one")], "before")
    return body.add("Max", [before, body.integer(0, "zero")], "positions")


def _last(body: Body, positions: ir.Value, ids: ir.Value, name: str) -> ir.Value:
    """The last `sequence` columns, [batch, sequence]."""
    bounds = [ir.AttrInt64("start", 1), ir.AttrInt64("end", 2)]
    length = body.add("Shape", [ids], "length", bounds)
    start = body.add("Neg", [length], "start")
    end, axes = body.integers([_INT64_MAX], "end"), body.integers([1], "columns")
    return body.add("Slice", [positions, start, end, axes], name)


def positions() -> ir.Function:
    """`Positions(attention_mask, input_ids) -> position_ids`, int64 [batch, sequence]."""
    body, (mask, ids) = Body(), _inputs()
    output = _last(body, _all_positions(body, mask), ids, "position_ids")
    return body.finish("Positions", [mask, ids], output)


def causal_mask() -> ir.Function:
    """`CausalMask(attention_mask, input_ids; window) -> mask`, bool [batch, 1, sequence, total].

    A query attends to the keys that are real tokens, stand at or before it, and fewer than `window`
    tokens before it, where `window` isn't 0.
    """
    body, (mask, ids) = Body(), _inputs()
    keys = _all_positions(body, mask)
    queries = _last(body, keys, ids, "queries")
    rows, columns = body.integers([2], "rows"), body.integers([1], "one_axis")
    across = body.add("Unsqueeze", [queries, rows], "across")  # (batch, sequence, 1)
    along = body.add("Unsqueeze", [keys, columns], "along")  # (batch, 1, total)
    distance = body.add("Sub", [across, along], "distance")
    past = body.add("GreaterOrEqual", [distance, body.integer(0, "none")], "past")
    near = body.add("Less", [distance, _limit(body)], "near")
    reach = body.add("And", [past, near], "reach")
    to_bool = [ir.AttrInt64("to", int(ir.DataType.BOOL))]
    real = body.add("Cast", [mask], "real", to_bool)
    real_keys = body.add("Unsqueeze", [real, columns], "real_keys")
    attended = body.add("And", [reach, real_keys], "attended")
    output = body.add("Unsqueeze", [attended, columns], "mask")
    return body.finish("CausalMask", [mask, ids], output, [ir.AttrInt64("window", 0)])


def _limit(body: Body) -> ir.Value:
    """The attribute `window`, or no limit where it is 0."""
    reference = ir.RefAttr("value_int", "window", ir.AttributeType.INT)
    window = body.add("Constant", [], "window_size", [reference])
    unlimited = body.add("Equal", [window, body.integer(0, "unlimited_size")], "unlimited")
    largest = body.integer(_INT64_MAX, "largest")
    return body.add("Where", [unlimited, largest, window], "limit")


FUNCTIONS: Mapping[str, Callable[[], ir.Function]] = {
    "Positions": positions,
    "CausalMask": causal_mask,
}
"""Functions of the domain by name; each call makes a fresh copy."""


def declare(model: ir.Model, name: str) -> None:
    """Give a model the definition of a function that its graph calls."""
    made = FUNCTIONS[name]()
    model.functions[made.identifier()] = made
    model.graph.opset_imports[DOMAIN] = VERSION
