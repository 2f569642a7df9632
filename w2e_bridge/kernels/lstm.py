"""Long short-term memory over a sequence, in real numbers, as TensorFlow Lite's operators have it.

The three operators with 20 and more operands become calls of a function of domain `w2e` with the same
operands in the same order, and the operator's attributes. A call also gives the states as they are after
the last step (`kernels.state`). What is computed: tensorflow/lite/kernels/lstm_eval.cc, `LstmStepFloat`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.function import Functional, plain_attributes
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.lstm_cell import CELL, OPERATORS, OUTPUT, Cell, cells
from w2e_bridge.kernels.operation import Attribute, Constant, Operand, Operation
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


def transposed(body: Functional, value: ir.Value) -> ir.Value:
    """A matrix on its side."""
    return body.add("Transpose", [value], {"perm": (1, 0)})


def sequence(body: Functional, value: ir.Value, *, time_major: bool) -> ir.Value:
    """Batch and time in the other order, unless time comes first anyway."""
    return value if time_major else body.add("Transpose", [value], {"perm": (1, 0, 2)})


def from_input(body: Functional, cell: Cell, sequences: Sequence[ir.Value]) -> ir.Value:
    """What the sequences give to all gates of all steps, (time, batch, gates)."""
    layout = cell.layout
    total: ir.Value | None = None
    for x, places in zip(sequences, (layout.weights, layout.auxiliary_weights), strict=False):
        weights = transposed(body, body.joined(cell.each(places)))
        product = body.add("MatMul", [x, weights])
        total = product if total is None else body.add("Add", [total, product])
    assert total is not None
    if cell.at(layout.norm[CELL]) is not None:
        return total  # the bias comes behind the norm
    return body.add("Add", [total, body.joined(cell.each(layout.bias))])


def run(body: Functional, cell: Cell, sequences: Sequence[ir.Value]) -> tuple[ir.Value, ...]:
    """Append a direction: (hidden state of every step, the last, the last state of the cell)."""
    x = from_input(body, cell, sequences)
    recurrent = _recurrent(body, cell)
    projection = cell.at(cell.layout.projection)
    across = None if projection is None else transposed(body, projection)
    hidden, state, part = (body.formal(name) for name in ("hidden", "cell", "part"))
    with body.loop() as nodes:
        gates = body.add("Add", [recurrent(hidden), part])
        after, output = _step(body, cell, gates, state)
        activated = activate(body, after, cell.settings.activation)
        following = body.add("Mul", [output, activated])
        if across is not None:
            following = _project(body, cell, following, across)
    states = {
        hidden: (cell.needed(cell.layout.hidden), following),
        state: (cell.needed(cell.layout.state), after),
    }
    last, kept, every = body.scan(
        nodes, states, {part: x}, [following], backward=cell.settings.backward
    )
    return every, last, kept


def _recurrent(body: Functional, cell: Cell) -> Callable[[ir.Value], ir.Value]:
    """What the hidden state gives to all gates; weights of rank 1 are those of a diagonal matrix."""
    weights = cell.each(cell.layout.recurrent)
    if all(w.shape is not None and len(w.shape) == 1 for w in weights):
        return lambda h: body.joined([body.add("Mul", [h, w]) for w in weights], -1)
    whole = transposed(body, body.joined(weights))
    return lambda h: body.add("MatMul", [h, whole])


def _project(body: Functional, cell: Cell, value: ir.Value, across: ir.Value) -> ir.Value:
    value = body.add("MatMul", [value, across])
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
    sizes = body.literal(np.asarray([(count - 1) * units, units], np.int64))
    opened, candidate = body.add_many("Split", [gates, sizes], {"axis": -1}, 2)
    *inner, output = body.split(body.add("Sigmoid", [opened]), count - 1)
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


def extents_of(operand: Operand) -> ir.Shape | None:
    """The shape of an operand, as far as it is known."""
    if isinstance(operand, Constant):
        return ir.Shape(operand.array.shape)
    return None if operand is None or operand.shape is None else operand.shape.copy()


def function(operation: Operation) -> ir.Function:
    """The function of an operation."""
    operator = OPERATORS[operation.kind]
    body = Functional()
    formal = [
        ir.Value(name=f"operand_{index}", shape=extents_of(operand))
        for index, operand in enumerate(operation.inputs)
    ]
    operands = [
        None if operand is None else value
        for operand, value in zip(operation.inputs, formal, strict=True)
    ]
    first_axis = operation.integer("time_major", operator.time_major)
    outputs = _outputs(body, operation, cells(operation, operands), time_major=bool(first_axis))
    return body.finish(operator.name, formal, outputs, plain_attributes(operation.attributes))


def _outputs(
    body: Functional, operation: Operation, directions: list[Cell], *, time_major: bool
) -> list[ir.Value]:
    """Sequences, then states, in the order of `kernels.state`."""
    sequences, states = [], []
    for cell in directions:
        given = [v for v in (cell.at(0), cell.at(cell.layout.auxiliary)) if v is not None]
        axis = body.literal(np.asarray([0], np.int64))
        ordered = [
            sequence(body, v, time_major=time_major)
            if OPERATORS[operation.kind].sequence
            else body.add("Unsqueeze", [v, axis])
            for v in _read(cell, given)
        ]
        every, last, kept = run(body, cell, ordered)
        states += [last, kept]
        if OPERATORS[operation.kind].sequence:
            sequences.append(sequence(body, every, time_major=time_major))
        else:
            sequences.append(body.add("Squeeze", [every, axis]))
    if operation.integer("merge_outputs"):
        sequences = [body.joined(sequences, -1)]
    return [*sequences, *states]


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
    if operation.text("kernel_type") == "BASIC":
        raise UnsupportedError("LSTM of the basic kernel")
    build_call(operation, builder, function(operation))


KINDS = tuple(
    Kind(name=kind, build=_build, roots=(f"w2e::{operator.name}",), match=match_call(kind))
    for kind, operator in OPERATORS.items()
)
