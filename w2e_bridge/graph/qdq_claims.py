"""Which values of a graph are codes, and of what: from the nodes that quantize, through those that move codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, is_weight, name_of, needed, only_output
from w2e_bridge.graph.qdq_movement import Movement, movement_of
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE, QUANTIZE, is_linear, key_of, parameters_of
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Float, Integer


@dataclass(slots=True, kw_only=True)
class Claims:
    """What is known of the values of a graph that are codes.

    Attributes:
        editor: the model.
        of: a value to the quantization whose codes it holds.
        written: each `QuantizeLinear` whose parameters are known.
        read: a `DequantizeLinear` to the quantization that it reads its input as.
    """

    editor: Editor
    of: dict[ir.Value, ActivationQuantization] = field(default_factory=dict)
    written: set[ir.Node] = field(default_factory=set)
    read: dict[ir.Node, ActivationQuantization] = field(default_factory=dict)

    def same(self, value: ir.Value, p: ActivationQuantization) -> bool:
        """Whether a value holds codes of that quantization."""
        own = self.of.get(value)
        return own is not None and key_of(own) == key_of(p)

    def dequantizes(self, node: ir.Node) -> bool:
        """Whether a node turns codes into the numbers that they stand for."""
        p = self.read.get(node)
        return p is not None and self.same(needed(node, 0), p)

    def quantizes(self, node: ir.Node) -> bool:
        """Whether a node is `QuantizeLinear` with parameters that are known."""
        return node in self.written

    def moves(self, node: ir.Node) -> Movement | None:
        """The row of a node all of whose codes are of one quantization; None of any other node."""
        row = movement_of(node)
        if row is None:
            return None
        tied = tied_values(node, row)
        p = self.of.get(tied[0]) if tied else None
        if p is None or not all(self.same(value, p) for value in tied):
            return None
        return row if all(self._is_number(given(node, index)) for index in row.numbers) else None

    def _is_number(self, value: ir.Value | None) -> bool:
        """Whether an input is left out or one constant code."""
        tensor = None if value is None else self.editor.tensors.get(name_of(value))
        return value is None or (tensor is not None and is_weight(value) and tensor.elements == 1)


def tied_values(node: ir.Node, row: Movement) -> list[ir.Value]:
    """The inputs and outputs of a node that hold codes of one quantization."""
    read = [needed(node, index) for index in row.inputs_of(node)]
    return [*read, *row.outputs_of(node)] if read else []


def claims_of(editor: Editor) -> Claims:
    """Find the codes of a graph.

    What makes codes is asked first, then what reads them; both ways it is carried on through nodes that move
    codes. Where two disagree, the first stands and the other is a node that stays.
    """
    claims = Claims(editor=editor)
    nodes = editor.nodes()
    for node in nodes:
        if is_linear(node, QUANTIZE):
            _claim_output(node, claims)
    _spread(claims, list(claims.of))
    for node in nodes:
        if is_linear(node, DEQUANTIZE):
            _claim_input(node, claims)
    return claims


def _claim_output(node: ir.Node, claims: Claims) -> None:
    try:
        needed(node, 0)
        claims.of[only_output(node)] = parameters_of(node, claims.editor)
        claims.written.add(node)
    except Unrecognised:
        return


def _claim_input(node: ir.Node, claims: Claims) -> None:
    try:
        value = needed(node, 0)
        own = claims.of.get(value)
        known = None if own is None or not isinstance(own.codes, Integer | Float) else own.codes
        p = parameters_of(node, claims.editor, known)
    except Unrecognised:
        return
    claims.read[node] = p
    if own is None and _holds(value, p, claims.editor):
        claims.of[value] = p
        _spread(claims, [value])


def _spread(claims: Claims, values: Iterable[ir.Value]) -> None:
    """Carry claims on until nothing changes."""
    todo = list(values)
    while todo:
        value = todo.pop()
        p = claims.of[value]
        if p.granularity is not Granularity.TENSOR:
            continue  # an axis may move
        for node in _around(value):
            row = movement_of(node)
            tied = [] if row is None else tied_values(node, row)
            if value not in tied:
                continue
            for other in tied:
                if other not in claims.of and _holds(other, p, claims.editor):
                    claims.of[other] = p
                    todo.append(other)


def _around(value: ir.Value) -> list[ir.Node]:
    made = value.producer()
    return [*([] if made is None else [made]), *(user for user, _ in value.uses())]


def _holds(value: ir.Value, p: ActivationQuantization, editor: Editor) -> bool:
    """Whether a value may hold codes of a type; of most values inside a graph no type is known."""
    if is_weight(value):
        tensor = editor.tensors.get(name_of(value))
        return tensor is not None and tensor.encoding.plain and tensor.dtype == str(p.codes)
    return value.dtype in (None, DTYPES[str(p.codes)])
