"""Long short-term memory over a sequence, in real numbers, as TensorFlow Lite's operators have it.

The three operators with 20 and more operands become calls of a function of domain `w2e` with the same
operands in the same order, and the operator's attributes. A call also gives the states as they are after
the last step (`kernels.state`). What is computed: tensorflow/lite/kernels/lstm_eval.cc, `LstmStepFloat`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.function import Functional, plain_attributes
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.lstm_cell import (
    CELL,
    OPERATORS,
    OUTPUT,
    Cell,
    Operands,
    cells,
    lone,
    needed,
    time_first,
)
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.scope import Match, Scope, attribute

NORM_EPSILON = 1e-8
"""tensorflow/lite/kernels/internal/reference/portable_tensor_utils.cc, MeanStddevNormalization."""


def activate(body: Functional, value: ir.Value, kind: str) -> ir.Value:
    """A fused activation."""
    if kind == "NONE":
        return value
    if kind in ("TANH", "RELU"):
        return body.add(kind.title(), [value])
    bounds = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}.get(kind)
    if bounds is None:
        raise UnsupportedError(f"fused activation {kind}")
    return body.add("Clip", [value, *(body.real(bound) for bound in bounds)])


def clipped(body: Functional, value: ir.Value, limit: float) -> ir.Value:
    """A value held between -limit and limit; 0 for no limit."""
    if limit <= 0:
        return value
    return body.add("Clip", [value, body.real(-limit), body.real(limit)])


Multiply = Callable[[ir.Value], ir.Value]
"""The product of a value with weights that were made ready before."""

Ready = Callable[[Functional, Sequence[ir.Value]], Multiply]
"""Makes the weights of several gates ready; their products stand behind each other."""


def floats(body: Functional, weights: Sequence[ir.Value]) -> Multiply:
    """Products of real numbers."""
    turned = body.add("Transpose", [body.joined(weights)], {"perm": (1, 0)})
    return lambda value: body.add("MatMul", [value, turned])


def as_it_is(_body: Functional, value: ir.Value) -> ir.Value:
    """The value itself."""
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """How values are multiplied with weights.

    Attributes:
        before: of the sequences, all steps at once.
        inside: of a state, in each step.
        widened: a product as it goes into the functions behind it.
        kept: a state as it is kept from one step to the next.
    """

    before: Ready = floats
    inside: Ready = floats
    widened: Callable[[Functional, ir.Value], ir.Value] = as_it_is
    kept: Callable[[Functional, ir.Value], ir.Value] = as_it_is


FLOATS = Products()


def from_input(
    body: Functional, cell: Cell, sequences: Sequence[ir.Value], products: Products
) -> ir.Value:
    """What the sequences give to all gates of all steps, (time, batch, gates)."""
    layout = cell.layout
    total = None
    if cell.at(layout.norm[CELL]) is None:  # else it comes behind the norm
        total = body.joined(cell.each(layout.bias))
    for x, places in zip(sequences, (layout.weights, layout.auxiliary_weights), strict=False):
        made = products.before(body, cell.each(places))(x)
        total = made if total is None else body.add("Add", [made, total])
    assert total is not None
    return total


def run(
    body: Functional, cell: Cell, sequences: Sequence[ir.Value], products: Products
) -> tuple[ir.Value, ...]:
    """Append a direction: the hidden state of every step, the last one, and the cell's last state."""
    x = from_input(body, cell, sequences, products)
    recurrent, across = _recurrent(body, cell, products), _across(body, cell, products)

    def step(states: tuple[ir.Value, ...], part: ir.Value) -> tuple[tuple[ir.Value, ...], ir.Value]:
        hidden, state = states
        gates = products.widened(body, body.add("Add", [part, recurrent(hidden)]))
        after, output = _step(body, cell, gates, state)
        activated = activate(body, after, cell.settings.activation)
        result = body.add("Mul", [output, activated])
        following = products.kept(body, result)
        if across is not None:
            result = _projected(body, cell, products.widened(body, across(following)))
            following = products.kept(body, result)
        return (following, after), result

    begin = [cell.needed(place) for place in (cell.layout.hidden, cell.layout.state)]
    (last, kept), every = body.over(step, begin, x, backward=cell.settings.backward)
    return products.kept(body, every), last, products.kept(body, kept)


def _recurrent(body: Functional, cell: Cell, products: Products) -> Multiply:
    """What the hidden state gives to all gates."""
    weights = cell.each(cell.layout.recurrent)
    if cell.diagonal:
        return lambda h: body.joined([body.add("Mul", [h, w]) for w in weights], -1)
    return products.inside(body, weights)


def _across(body: Functional, cell: Cell, products: Products) -> Multiply | None:
    projection = cell.at(cell.layout.projection)
    return None if projection is None else products.inside(body, [projection])


def _projected(body: Functional, cell: Cell, value: ir.Value) -> ir.Value:
    bias = cell.at(cell.layout.projection_bias)
    if bias is not None:
        value = body.add("Add", [value, bias])
    return clipped(body, value, cell.settings.proj_clip)


def _step(
    body: Functional, cell: Cell, gates: ir.Value, state: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """One step: the cell's next state, and the output gate."""
    if cell.separate:
        return _separate_step(body, cell, gates, state)
    count, units = len(cell.gates), cell.units
    if units is None:
        *opened, candidate = body.split(gates, count)
        *inner, output = (body.add("Sigmoid", [gate]) for gate in opened)
    else:
        sizes = body.literal(np.asarray([(count - 1) * units, units], np.int64))
        whole, candidate = body.add_many("Split", [gates, sizes], {"axis": -1}, 2)
        *inner, output = body.split(body.add("Sigmoid", [whole]), count - 1)
    candidate = activate(body, candidate, cell.settings.activation)
    return _update(body, cell, inner, candidate, state), output


def _separate_step(
    body: Functional, cell: Cell, gates: ir.Value, state: ir.Value
) -> tuple[ir.Value, ir.Value]:
    parts = dict(zip(cell.gates, body.split(gates, len(cell.gates)), strict=True))
    inner = [
        body.add("Sigmoid", [_gate(body, cell, gate, parts[gate], state)])
        for gate in cell.gates[:-2]
    ]
    candidate = _gate(body, cell, CELL, parts[CELL], state)
    candidate = activate(body, candidate, cell.settings.activation)
    after = _update(body, cell, inner, candidate, state)
    return after, body.add("Sigmoid", [_gate(body, cell, OUTPUT, parts[OUTPUT], after)])


def _gate(body: Functional, cell: Cell, gate: int, value: ir.Value, state: ir.Value) -> ir.Value:
    """A gate that also sees the cell, or is normalized, before its activation."""
    layout = cell.layout
    peephole = cell.at(layout.peephole[gate])
    if peephole is not None:
        value = body.add("Add", [value, body.add("Mul", [state, peephole])])
    if cell.at(layout.norm[CELL]) is None:
        return value
    norm, bias = (cell.needed(places[gate]) for places in (layout.norm, layout.bias))
    return body.add("LayerNormalization", [value, norm, bias], {"epsilon": NORM_EPSILON})


def _update(
    body: Functional, cell: Cell, inner: Sequence[ir.Value], candidate: ir.Value, state: ir.Value
) -> ir.Value:
    """The cell's next state of its input and forget gate."""
    forget = inner[-1]
    taken = inner[0] if len(inner) == 2 else body.add("Sub", [body.real(1.0), forget])
    kept, new = body.add("Mul", [forget, state]), body.add("Mul", [taken, candidate])
    return clipped(body, body.add("Add", [kept, new]), cell.settings.cell_clip)


def function(operation: Operation) -> ir.Function:
    """The function of an operation."""
    formal = [ir.Value(name=f"operand_{index}") for index in range(len(operation.inputs))]
    operands = [
        None if operand is None else value
        for operand, value in zip(operation.inputs, formal, strict=True)
    ]
    body = Functional()
    basic = operation.text("kernel_type") == "BASIC"
    outputs = basic_cell(body, operands) if basic else outputs_of(body, operation, operands)
    outputs = outputs[: len(operation.outputs)]
    name, attributes = OPERATORS[operation.kind].name, plain_attributes(operation.attributes)
    return body.finish(name, formal, outputs, attributes)


def outputs_of(
    body: Functional, operation: Operation, operands: Operands, products: Products = FLOATS
) -> list[ir.Value]:
    """Append an operation: sequences, then states, in the order of `kernels.state`.

    Args:
        body: to append to.
        operation: whose attributes and shapes are looked at.
        operands: real numbers in the place of its own.
        products: of its kernel.
    """
    sequences, states = [], []
    for cell in cells(operation, operands):
        given = [v for v in (cell.at(0), cell.at(cell.layout.auxiliary)) if v is not None]
        ordered = [_in(body, operation, v) for v in _read(cell, given)]
        every, last, kept = run(body, cell, ordered, products)
        states += [last, kept]
        sequences.append(_out(body, operation, every))
    if operation.integer("merge_outputs"):
        sequences = [body.joined(sequences, -1)]
    return [*sequences, *states]


def basic_cell(body: Functional, operands: Operands) -> list[ir.Value]:
    """Append the cell of LSTM's old kernel: its four outputs, and its two states.

    tensorflow/lite/kernels/internal/optimized/optimized_ops.h, `LstmCell`.
    """
    x, before, weights, bias, state = (needed(operands, place) for place in range(5))
    joined = body.joined([x, before], -1)
    turned = body.add("Transpose", [weights], {"perm": (1, 0)})
    gates = body.add("Add", [body.add("MatMul", [joined, turned]), bias])
    taken, candidate, forget, output = body.split(gates, 4)
    new = body.add("Mul", [body.add("Sigmoid", [taken]), body.add("Tanh", [candidate])])
    after = body.add("Add", [body.add("Mul", [body.add("Sigmoid", [forget]), state]), new])
    hidden = body.add("Mul", [body.add("Sigmoid", [output]), body.add("Tanh", [after])])
    return [hidden, after, joined, gates, hidden, after]


def _in(body: Functional, operation: Operation, value: ir.Value) -> ir.Value:
    """A sequence with time first."""
    if not OPERATORS[operation.kind].sequence:
        return body.add("Unsqueeze", [value, body.literal(np.asarray([0], np.int64))])
    return value if time_first(operation) else turned(body, value, operation, (-1, 1, 0))


def _out(body: Functional, operation: Operation, value: ir.Value) -> ir.Value:
    """The inverse of `_in`."""
    if not OPERATORS[operation.kind].sequence:
        return body.add("Squeeze", [value, body.literal(np.asarray([0], np.int64))])
    return value if time_first(operation) else turned(body, value, operation, (1, -1, 0))


def turned(
    body: Functional, value: ir.Value, operation: Operation, shape: tuple[int, ...]
) -> ir.Value:
    """Batch and time in the other order; a batch of one needs only the other shape."""
    if lone(operation):
        return body.add("Reshape", [value, body.literal(np.asarray(shape, np.int64))])
    return body.add("Transpose", [value], {"perm": (1, 0, 2)})


def _read(cell: Cell, given: list[ir.Value]) -> list[ir.Value]:
    """The sequences that a direction reads: without weights for it, the second one is the backward input."""
    if len(given) < 2 or cell.at(cell.layout.auxiliary_weights[CELL]) is not None:
        return given
    return given[1:] if cell.settings.backward else given[:1]


def build_call(operation: Operation, builder: Builder, made: ir.Function) -> None:
    """Append the call of a function with an operation's own operands and attributes."""
    inputs = [None if o is None else builder.value(o) for o in operation.inputs]
    attributes = plain_attributes(operation.attributes)
    builder.call(made, inputs, attributes, outputs=operation.outputs)


def match_call(kind: str) -> Match:
    """What reads such a call."""

    def match(root: ir.Node, _scope: Scope) -> Operation:
        attributes: dict[str, Attribute] = {}
        for name in root.attributes:
            value = attribute(root, name)
            if value is not None:
                attributes[name] = value  # type: ignore[assignment]
        return Operation(
            kind=kind,
            inputs=tuple(root.inputs),
            outputs=tuple(root.outputs),
            attributes=attributes,
            nodes=(root,),
        )

    return match


def _build(operation: Operation, builder: Builder) -> None:
    build_call(operation, builder, function(operation))


KINDS = tuple(
    Kind(name=kind, build=_build, roots=(f"w2e::{operator.name}",), match=match_call(kind))
    for kind, operator in OPERATORS.items()
)
