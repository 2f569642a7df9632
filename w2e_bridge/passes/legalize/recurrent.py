"""Recurrent layers: a step for each time, written out for short sequences, else a Loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.ir.tensor import plain_tensor
from w2e_bridge.kernels.slicing import dynamic_update_slice
from w2e_bridge.passes.layout.site import Dim
from w2e_bridge.passes.legalize.cells import CELLS, Cell, activation
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule
from w2e_bridge.passes.legalize.slices import taken

SHORT = 16
"""Steps that are written out; a Loop of so few takes longer than it saves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A recurrent layer.

    Attributes:
        kind: its cell.
        x: (time, batch, input).
        steps: of the sequence, None where it is known at run time only.
        hidden: size of the state.
        directions: for each whether it goes backwards.
    """

    kind: type[Cell]
    x: ir.Value
    steps: int | None
    hidden: int
    directions: tuple[bool, ...]


def recurrent(place: Place) -> bool:
    """A recurrent layer in its steps.

    before: LSTM, GRU or RNN of sequences that are all of one length.
    after: the products with the inputs of all times at once; then step after step those with the state,
        and the gates; written out, or as a Loop that writes each state into its place.
    why exact: these are the formulas of onnx/onnx docs/Operators.md, sums in the order that they give.
    """
    layer = _read(place)
    if layer is None:
        return False
    made = [_direction(place, layer, number) for number in range(len(layer.directions))]
    if any(one is None for one in made):
        return False
    runs = [one for one in made if one is not None]
    swapped = bool(place.integer("layout"))
    outputs = [_stacked(place, [run.all for run in runs], 1)]
    outputs += [
        _stacked(place, [run.last[number] for run in runs], 0)
        for number in range(layer.kind.states)
    ]
    if swapped:  # (time, direction, batch, hidden) and (direction, batch, hidden): batch first
        outputs = [
            place.add("Transpose", value, attributes={"perm": perm})
            for value, perm in zip(outputs, ([2, 0, 1, 3], [1, 0, 2], [1, 0, 2]), strict=False)
        ]
    return place.replace(*outputs[: len(place.node.outputs)])


def _read(place: Place) -> Layer | None:
    kind = CELLS[place.node.op_type]
    x, shape = place.need(0), place.shape(place.need(0))
    backwards = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    directions = backwards.get(place.text("direction", "forward"))
    hidden = place.integer("hidden_size")
    if shape is None or len(shape) != 3 or directions is None or not hidden:
        return None
    if place.integer("layout"):
        x, shape = (
            place.add("Transpose", x, attributes={"perm": [1, 0, 2]}),
            (shape[1], shape[0], shape[2]),
        )
    steps = shape[0] if isinstance(shape[0], int) else None
    lengths = place.array(place.input(4))
    if place.input(4) is not None and (
        lengths is None or steps is None or (lengths != steps).any()
    ):
        return None
    if not _known(place, kind, len(directions)):
        return None
    return Layer(kind=kind, x=x, steps=steps, hidden=hidden, directions=directions)


def _known(place: Place, kind: type[Cell], directions: int) -> bool:
    """Whether all activations are known, and have no parameters of their own."""
    found = place.node.attributes.get("activations")
    names = [kind.activations] * directions if found is None else [list(found.as_strings())]
    flat = [name for row in names for name in row]
    plain = (
        "activation_alpha" not in place.node.attributes
        and "activation_beta" not in place.node.attributes
    )
    bias = place.input(3)
    constant = bias is None or place.array(bias) is not None or place.tensor(bias) is not None
    return plain and constant and all(activation(name) is not None for name in flat)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one direction gives: all hidden states in the order of time, and the last states."""

    all: ir.Value
    last: Sequence[ir.Value]


def _direction(place: Place, layer: Layer, number: int) -> _Run | None:
    cell = _cell(place, layer, number)
    if cell is None:
        return None
    gates = layer.kind.gates
    weights = _matrix(place, 1, number, 0, gates * layer.hidden)
    inputs = place.add("MatMul", layer.x, weights)
    inputs = place.add(
        "Add", inputs, place.weight(plain_tensor(f"{place.output.name}.bias", cell.bias))
    )
    first = layer.kind.states
    states = [_initial(place, layer, number, slot) for slot in range(5, 5 + first)]
    backwards = layer.directions[number]
    if layer.steps is not None and layer.steps <= SHORT:
        return _written_out(place, layer, cell, (inputs, states), backwards=backwards)
    return _loop(place, layer, cell, (inputs, states), backwards=backwards)


def _cell(place: Place, layer: Layer, number: int) -> Cell | None:
    """The cell with the matrices and vectors of a direction."""
    count, hidden = layer.kind.gates * layer.hidden, layer.hidden
    bias = np.zeros(2 * count, np.float32)
    given = place.input(3)
    if given is not None:
        tensor = place.tensor(given)
        array = place.array(given) if tensor is None else tensor.dequantize()
        if array is None:
            return None
        bias = array[number]
    found = place.node.attributes.get("activations")
    each = len(layer.kind.activations)
    names = list(
        layer.kind.activations if found is None else found.as_strings()[number * each :][:each]
    )
    peepholes = None
    if layer.kind.states == 2 and place.input(7) is not None:
        peepholes = _vectors(place, number, hidden)
    return layer.kind.make(
        place=place,
        bias=bias,
        matrix=lambda first, rows: _matrix(place, 2, number, first, rows),
        names=names,
        peepholes=peepholes,
    )


def _vectors(place: Place, number: int, hidden: int) -> list[ir.Value]:
    """The three vectors of peepholes."""
    whole = place.add(
        "Gather", place.need(7), place.constant(np.int64(number)), attributes={"axis": 0}
    )
    return list(place.many("Split", [whole, place.constant([hidden] * 3)], {"axis": 0}, 3))


def _matrix(place: Place, slot: int, number: int, first: int, rows: int) -> ir.Value:
    """Rows of a direction's matrix, turned: (in, rows)."""
    value = place.need(slot)
    tensor = place.tensor(value)
    if tensor is not None:
        held = place.weight(taken(tensor, number, first, rows))
    else:
        whole = place.add("Gather", value, place.constant(np.int64(number)), attributes={"axis": 0})
        held = place.add(
            "Slice",
            whole,
            place.constant([first]),
            place.constant([first + rows]),
            place.constant([0]),
        )
    return place.add("Transpose", held, attributes={"perm": [1, 0]})


def _initial(place: Place, layer: Layer, number: int, slot: int) -> ir.Value:
    """The state that a direction begins with, (batch, hidden)."""
    given = place.input(slot)
    if given is not None:
        axis = 1 if place.integer("layout") else 0
        return place.add(
            "Gather", given, place.constant(np.int64(number)), attributes={"axis": axis}
        )
    batch = place.add("Shape", layer.x, attributes={"start": 1, "end": 2})
    shape = place.add("Concat", batch, place.constant([layer.hidden]), attributes={"axis": 0})
    return place.add("Expand", place.constant(np.zeros((1, layer.hidden), np.float32)), shape)


_Begin = tuple[ir.Value, list[ir.Value]]
"""The inputs' products, (time, batch, gates · hidden), and the states to begin with."""


def _written_out(place: Place, layer: Layer, cell: Cell, begin: _Begin, *, backwards: bool) -> _Run:
    inputs, states = begin
    assert layer.steps is not None
    parts = (
        [inputs]
        if layer.steps == 1
        else place.many("Split", [inputs], {"axis": 0, "num_outputs": layer.steps}, layer.steps)
    )
    axis = place.constant([0])
    order = range(layer.steps)
    found: dict[int, ir.Value] = {}
    for time in reversed(order) if backwards else order:
        states = list(cell.step(place, place.add("Squeeze", parts[time], axis), states))
        found[time] = place.add("Unsqueeze", states[0], axis)
    rows = [found[time] for time in order]
    joined = rows[0] if len(rows) == 1 else place.add("Concat", *rows, attributes={"axis": 0})
    return _Run(all=joined, last=states)


class _Body:
    """Nodes of a Loop's body."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.nodes: list[ir.Node] = []
        self.constants: list[ir.Value] = []

    def add(
        self,
        op: str,
        *inputs: ir.Value | None,
        attributes: Mapping[str, object] | None = None,
        domain: str = "",
    ) -> ir.Value:
        """A node; its output."""
        return self.many(op, inputs, attributes or {}, 1, domain)[0]

    def many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object],
        count: int,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        """A node of several outputs."""
        made = ir.node(op, inputs, attributes, num_outputs=count, domain=domain)  # type: ignore[arg-type]
        for output in made.outputs:
            output.name = self.value_name(op.lower())
        self.nodes.append(made)
        return tuple(made.outputs)

    def constant(self, array: np.generic | Sequence[int] | float) -> ir.Value:
        """A constant of the body: of those outside shape inference knows no numbers."""
        held = np.asarray(array)
        data = ir.tensor(held, name=self.value_name("constant"))
        value = ir.Value(name=data.name, type=ir.TensorType(data.dtype), const_value=data)
        value.shape = ir.Shape(held.shape)
        self.constants.append(value)
        return value

    def value_name(self, name: str) -> str:
        """A name that nothing has."""
        return self.place.work.editor.free(f"{self.place.output.name}.step.{name}")


def _loop(place: Place, layer: Layer, cell: Cell, begin: _Begin, *, backwards: bool) -> _Run:
    """A Loop over the times; what it carries: the states, and all hidden states so far."""
    inputs, states = begin
    body = _Body(place)
    count = _steps(place, layer)
    rows = _room(place, layer, count)
    formal = [
        _formal(body, "time", ir.DataType.INT64, []),
        _formal(body, "go_on", ir.DataType.BOOL, []),
    ]
    batch = _extents(place, layer)[1]
    carried = [
        _formal(body, name, ir.DataType.FLOAT, [batch, layer.hidden])
        for name in ("h", "c")[: len(states)]
    ]
    written = _formal(body, "rows", ir.DataType.FLOAT, [layer.steps, batch, layer.hidden])
    time = formal[0]
    if backwards:
        time = body.add("Sub", body.add("Sub", count, body.constant(np.int64(1))), time)
    now = body.add("Gather", inputs, time, attributes={"axis": 0})
    after = list(cell.step(body, now, carried))
    at = body.add("Unsqueeze", time, body.constant([0]))
    start = body.add("Concat", at, body.constant([0, 0]), attributes={"axis": 0})
    update = dynamic_update_slice()
    model = place.work.editor.model
    model.functions.setdefault(update.identifier(), update)
    model.graph.opset_imports[update.domain] = 1
    row = body.add("Unsqueeze", after[0], body.constant([0]))
    filled = body.add(update.name, written, row, start, domain=update.domain)
    going = body.add("Identity", formal[1])
    graph = ir.Graph(
        [*formal, *carried, written],
        [going, *after, filled],
        nodes=body.nodes,
        name=body.value_name("body"),
    )
    for value in body.constants:
        graph.register_initializer(value)
    always = place.constant(np.bool_(True), np.bool_)
    found = place.many("Loop", [count, always, *states, rows], {"body": graph}, len(states) + 1)
    for value, formal_value in zip(found, [*carried, written], strict=True):
        value.type, value.shape = formal_value.type, formal_value.shape
    return _Run(all=found[-1], last=found[:-1])


def _extents(place: Place, layer: Layer) -> tuple[Dim, ...]:
    """(time, batch, input), as far as they are known."""
    shape = place.shape(place.need(0)) or (None, None, None)
    return (shape[1], shape[0], shape[2]) if place.integer("layout") else shape


def _steps(place: Place, layer: Layer) -> ir.Value:
    """How many times there are."""
    if layer.steps is not None:
        return place.constant(np.int64(layer.steps))
    extent = place.add("Shape", layer.x, attributes={"start": 0, "end": 1})
    return place.add("Squeeze", extent, place.constant([0]))


def _room(place: Place, layer: Layer, count: ir.Value) -> ir.Value:
    """Zeros for all hidden states, (time, batch, hidden)."""
    del count
    both = place.add("Shape", layer.x, attributes={"start": 0, "end": 2})
    shape = place.add("Concat", both, place.constant([layer.hidden]), attributes={"axis": 0})
    return place.add("Expand", place.constant(np.zeros((1, 1, layer.hidden), np.float32)), shape)


def _formal(body: _Body, name: str, kind: ir.DataType, shape: Sequence[Dim]) -> ir.Value:
    return ir.Value(name=body.value_name(name), type=ir.TensorType(kind), shape=ir.Shape(shape))


def _stacked(place: Place, values: Sequence[ir.Value], axis: int) -> ir.Value:
    """The directions along an axis of their own."""
    wide = [place.add("Unsqueeze", value, place.constant([axis])) for value in values]
    return wide[0] if len(wide) == 1 else place.add("Concat", *wide, attributes={"axis": axis})


RULES: Mapping[str, tuple[Rule, ...]] = dict.fromkeys(CELLS, (recurrent,))
