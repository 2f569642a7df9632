"""Every weight of the canonical graph to the form that negotiation chose for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.output import Buffer
from w2e_bridge.graph.data import DataFile
from w2e_bridge.graph.rewriting import (
    constant,
    drop_unused,
    first_of,
    given,
    maker,
    named,
    node,
    replace,
)
from w2e_bridge.graph.weights import DTYPES, weights_of
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.parts import Parts
from w2e_bridge.negotiation.decision import Decision, Decisions
from w2e_bridge.negotiation.profile import Role
from w2e_onnx.lowering.blocks import Blocks, place, zero_points
from w2e_onnx.lowering.functions import DOMAIN, MICROSOFT

HALVES = "4+4"
"""What the name of a form says whose 8-bit codes are stored as two halves."""


@dataclass(slots=True, kw_only=True)
class Weights:
    """Places weights and emits what reads them.

    Attributes:
        graph: being rewritten.
        data: the data file.
        decisions: by tensor name.
        accuracy: `accuracy_level` of MatMulNBits: 4 = activations rounded to 8 bits, 0 = float32.
        placed: base name to its arrays, so that a tied weight is stored once.
        functions: names of the model-local functions in use.
        manifest: tensor name to where it is: `{"initializer", "rows"}`.
    """

    graph: ir.Graph
    data: DataFile
    decisions: Decisions
    accuracy: int
    placed: dict[str, list[Blocks]] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    manifest: dict[str, dict[str, object]] = field(default_factory=dict)

    def blocks(self, decisions: Sequence[Decision]) -> list[Blocks]:
        """The arrays of these tensors as one matrix, rows in order."""
        name = "+".join(decision.tensor.name for decision in decisions)
        if name not in self.placed:
            halves = HALVES in decisions[0].form.name
            self.placed[name] = place(self.data, name, decisions, halves=halves)
            self._note(name, decisions)
        return self.placed[name]

    def _note(self, base: str, decisions: Sequence[Decision]) -> None:
        row = 0
        for decision in decisions:
            tensor = decision.tensor
            rows = [row, row + tensor.rows]
            self.manifest[tensor.name] = {"initializer": base, "rows": rows}
            row += tensor.rows

    def multiply(self, x: ir.Value, decisions: Sequence[Decision], name: str) -> list[ir.Node]:
        """Nodes of x Wᵀ for a quantized W, the last one gives the product."""
        halves = self.blocks(decisions)
        first = halves[0]
        centre = (
            self._centre(decisions[0]) if first.minimums is not None and len(halves) == 1 else None
        )
        arrays = [
            v
            for b in halves
            for v in (b.codes.value, b.scale.value, zero_points(self.data, b, centre))
        ]
        attributes: dict[str, object] = {**first.attributes, "accuracy_level": self.accuracy}
        if len(halves) == 1 and first.minimums is None:
            return [node(MICROSOFT, "MatMulNBits", [x, *arrays], attributes, name)]
        op = "MatMul" + ("Halves" if len(halves) > 1 else "")
        if first.minimums is not None:
            op += "Minimums"
            arrays.append(first.minimums.value)
            attributes |= {"blocks": _blocked(x, first.block), "centre": float(centre or 0)}
        self.functions.add(op)
        return [node(DOMAIN, op, [x, *arrays], attributes, name)]

    def _centre(self, decision: Decision) -> int:
        """The middle of the source's codes, where rounded activations do least harm; 0 if they aren't."""
        if not self.accuracy:
            return 0
        codes = decision.source.codes
        bits = codes.bits if isinstance(codes, Integer) else decision.tensor.encoding.codes.bits
        return 1 << (bits - 1)

    def gather(self, ids: ir.Value, decision: Decision, name: str) -> list[ir.Node]:
        """Nodes that give the rows `ids` of a quantized matrix."""
        halves = self.blocks([decision])
        first = halves[0]
        arrays = [
            v for b in halves for v in (self._flat(b), b.scale.value, zero_points(self.data, b))
        ]
        attributes: dict[str, object] = {"bits": first.bits, "block_size": first.block}
        if len(halves) == 1 and first.minimums is None:
            codes, scale, zero = arrays
            attributes |= {"gather_axis": 0, "quantize_axis": 1}
            inputs = [codes, ids, scale, zero]
            return [node(MICROSOFT, "GatherBlockQuantized", inputs, attributes, name)]
        op = "Gather" + ("Halves" if len(halves) > 1 else "")
        if first.minimums is not None:
            op += "Minimums"
            arrays.append(first.minimums.value)
            rank = 2 if ids.shape is None else len(ids.shape)
            attributes |= {"blocks": [0] * rank + [-1, first.block], "rows": [0] * rank + [-1]}
        self.functions.add(op)
        return [node(DOMAIN, op, [*arrays, ids], attributes, name)]

    def _flat(self, blocks: Blocks) -> ir.Value:
        """The codes as GatherBlockQuantized wants them, (rows, bytes): the same bytes of the file."""
        if blocks.columns % blocks.block:
            raise UnsupportedError(f"'{blocks.name}': rows to look up are no whole blocks")
        name = f"{blocks.name}.rows"
        if name in self.graph.initializers:
            return self.graph.initializers[name]
        return self.data.alias(blocks.codes, name, (blocks.rows, blocks.codes.row_bytes))

    def plain(self, value: ir.Value, decision: Decision) -> None:
        """Store plain numbers as they are; a Cast follows where the graph computes in another type."""
        tensor = decision.tensor
        name, uses = tensor.name, list(value.uses())
        self.graph.initializers.pop(name)
        dtype, wanted = DTYPES[str(tensor.encoding.codes)], DTYPES[tensor.dtype]
        stored = self.data.region(name, dtype, tensor.shape, rows=tensor.rows)
        self.data.fill(tensor, [stored], _numbers)
        self.manifest[name] = {"initializer": name, "rows": [0, tensor.rows]}
        source = stored.value
        if wanted != dtype:
            cast = node("", "Cast", [source], {"to": int(wanted)}, f"{name}.cast")
            self.graph.insert_before(first_of(self.graph, [user for user, _ in uses]), cast)
            source = cast.outputs[0]
        for user, index in uses:
            user.replace_input_with(index, source)


def emit(weights: Weights) -> None:
    """Replace every weight of the graph, in execution order.

    before: initializers without data; `MatMul(x, Transpose(W))`, `Gather(W, ids)`, others.
    after:  MatMulNBits, GatherBlockQuantized, functions of `w2e.ort`, or plain arrays; all in the file.
    why exact: each form decodes to what the source decodes to (`negotiation`); matrices that read the
        same value and have one form stand row under row in one array, each row computed as before.
    """
    quantized = {n for n, d in weights.decisions.items() if d.tensor.encoding.scale is not None}
    for user in list(weights.graph):
        name = _weight_name(user) if user.graph is not None else None  # or gone with its group
        if name not in quantized:
            continue
        decision = weights.decisions[name]
        if user.op_type == "Gather":
            rows = weights.gather(given(user, 1), decision, named(user))
            replace(weights.graph, [user], rows)
        else:
            _multiply(weights, user, decision)
    drop_unused(weights.graph)
    for name, value in list(weights_of(weights.graph)):
        weights.plain(value, weights.decisions[name])


def _multiply(weights: Weights, user: ir.Node, decision: Decision) -> None:
    """Replace a product, and with it those of the same input that fit in one matrix with it."""
    x = given(user, 0)
    group = [(user, decision)]
    if Role.EMBEDDING not in decision.roles:
        group += [
            (other, mate)
            for other, index in x.uses()
            if other is not user
            and index == 0
            and (mate := weights.decisions.get(_weight_name(other) or "")) is not None
            and _alike(mate, decision)
        ]
    group.sort(key=lambda pair: pair[1].tensor.order)
    users, decisions = [n for n, _ in group], [d for _, d in group]
    new = weights.multiply(x, decisions, named(user) if len(group) == 1 else _group_name(users))
    if len(group) > 1:
        sizes = [decision.tensor.rows for decision in decisions]
        names = [named(n) for n in users]
        new.append(_split(weights.graph, new[-1].outputs[0], sizes, names))
    replace(weights.graph, users, new)


def _alike(a: Decision, b: Decision) -> bool:
    return (
        a.form == b.form
        and a.tensor.encoding == b.tensor.encoding
        and Role.EMBEDDING not in a.roles
    )


def _weight_name(user: ir.Node) -> str | None:
    """The weight that a product or a look-up reads; None of any other user."""
    if user.op_type == "Gather" and not user.domain:
        return given(user, 0).name
    if user.op_type == "MatMul" and not user.domain:
        turned = maker(given(user, 1), "Transpose")
        if turned is not None:
            return given(turned, 0).name
    return None


def _blocked(x: ir.Value, block: int) -> list[int]:
    """The shape that cuts the last axis of an activation into blocks, as Reshape says it."""
    rank = 3 if x.shape is None else len(x.shape)
    return [0] * (rank - 1) + [-1, block]


def _group_name(users: Iterable[ir.Node]) -> str:
    return "+".join(named(user) for user in users)


def _numbers(parts: Parts) -> Sequence[Buffer]:
    return [np.ascontiguousarray(parts.codes)]


def _split(graph: ir.Graph, value: ir.Value, sizes: list[int], names: list[str]) -> ir.Node:
    lengths = constant(graph, "split." + "_".join(map(str, sizes)), np.array(sizes, np.int64))
    made = node("", "Split", [value, lengths], {"axis": -1}, f"{value.name}.split", len(sizes))
    for output, name in zip(made.outputs, names, strict=True):
        output.name = name
    return made
