"""Whole graphs to subgraphs: what covers them, what they keep from run to run, what their bodies are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import is_op, is_weight, name_of
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization
from w2e_bridge.kernels.cover import Step, cover
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.state import State, states_of
from w2e_tflite.emit import Emitter
from w2e_tflite.record import Record, make
from w2e_tflite.schema import enums
from w2e_tflite.store import Source, Store, vector

_SHOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """A graph that was written.

    Attributes:
        number: of the subgraph.
        inputs: numbers of its tensors by the name of the graph's input.
        outputs: likewise.
    """

    number: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


def write_graph(
    store: Store,
    source: Source,
    graph: ir.Graph,
    states: Sequence[State] = (),
    *,
    body: bool = False,
    loop: bool = False,
) -> Placed:
    """Append a graph, and the bodies inside of it, as subgraphs.

    Args:
        store: the file.
        source: the model.
        graph: in channels-last normal form.
        states: what it keeps from run to run.
        body: whether it is one of control flow.
        loop: whether it is what a WHILE does each round.

    Raises:
        UnsupportedError: nodes that no operator computes.
    """
    number = len(store.subgraphs)
    store.subgraphs.append(make("SubGraph", {}))  # its place; bodies come behind it
    emitter = Emitter(store=store, source=source, graph=graph)
    kept = {state.input: state for state in states}
    given = [value for value in graph.inputs if name_of(value) not in kept]
    inputs = {name_of(value): emitter.value(value) for value in given}
    steps = cover(graph, source.scope)
    _refuse([step for step in steps if isinstance(step, ir.Node) and not is_op(step, "Identity")])
    variables = _variables(emitter, steps, kept)
    resources = [state for state in states if state.input not in variables]
    handles = _begin(emitter, resources)
    for step in steps:
        _step(emitter, step, variables)
    _end(emitter, resources, handles)
    ends = [v for v in graph.outputs if name_of(v) not in {s.output for s in states}]
    outputs: list[int] = []
    own = list(inputs.values())
    for place, value in enumerate(ends):
        index = emitter.value(value)
        # LiteRT's IF and WHILE lose all but the last output of a body that gives a tensor twice, and WHILE
        # loses what a body hands on at another place.
        moved = loop and index in own and own.index(index) != place
        outputs.append(emitter.copy(index) if moved or (body and index in outputs) else index)
    store.subgraphs[number] = emitter.finish(inputs.values(), outputs, graph.name or "main")
    names = dict(zip(map(name_of, ends), outputs, strict=True))
    return Placed(number=number, inputs=inputs, outputs=names)


def _refuse(nodes: list[ir.Node]) -> None:
    if not nodes:
        return
    counts = Counter(f"{node.domain}::{node.op_type}".removeprefix("::") for node in nodes)
    firsts = {
        op: next(name_of(n.outputs[0]) for n in nodes if op.endswith(n.op_type)) for op in counts
    }
    shown = [
        f"{op}{f' ×{count}' if count > 1 else ''} (makes '{firsts[op]}')"
        for op, count in counts.most_common(_SHOWN)
    ]
    more = f"; and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    raise UnsupportedError(
        f"operators that TensorFlow Lite does not have: {'; '.join(shown)}{more}"
    )


def _step(emitter: Emitter, step: Step, variables: Mapping[str, State]) -> None:
    if isinstance(step, ir.Node) or _same(emitter, step):
        value, copy = step.inputs[0], step.outputs[0]
        assert isinstance(value, ir.Value)
        emitter.index[copy] = emitter.value(value)
        return
    bodies = {
        role: write_graph(
            emitter.store, emitter.source, graph, body=True, loop=role == "body"
        ).number
        for role, graph in step.graphs.items()
    }
    emitter.operation(_without_states(step, variables), bodies)


def _same(emitter: Emitter, step: Operation) -> bool:
    """Whether a QUANTIZE gives what it is given, and is there for a name alone."""
    if step.kind != "quantize" or not isinstance(step.inputs[0], ir.Value):
        return False
    value, copy = step.inputs[0], step.outputs[0]
    values = emitter.source.values
    known = values.get(name_of(value)), values.get(name_of(copy))
    if known[0] is None or known[1] is None or not equal(known[0], known[1]):
        return False
    fixed = value.is_graph_input() or is_weight(value) or value.is_graph_output()
    return fixed or not copy.is_graph_output()


def equal(a: ActivationQuantization, b: ActivationQuantization) -> bool:
    """Whether two values are quantized alike."""
    if a.mode is not ActivationMode.STATIC or b.mode is not ActivationMode.STATIC:
        return False
    return str(a.codes) == str(b.codes) and a.axis == b.axis and _numbers(a) == _numbers(b)


def _numbers(q: ActivationQuantization) -> tuple[bytes, list[int]]:
    assert q.scale is not None
    zero = [0] if q.zero_point is None else np.asarray(q.zero_point).reshape(-1).tolist()
    return np.asarray(q.scale, np.float32).tobytes(), zero


def _variables(
    emitter: Emitter, steps: Sequence[Step], kept: Mapping[str, State]
) -> dict[str, State]:
    """States that belong to one operator, which changes them in place."""
    found = {}
    for step in steps:
        if not isinstance(step, Operation):
            continue
        for operand, _ in states_of(step.kind, step.attributes):
            value = step.input(operand)
            if not isinstance(value, ir.Value):
                continue
            state = kept.get(name_of(value))
            if state is None or len(value.uses()) != 1:
                raise UnsupportedError(
                    f"{step.kind.upper()}: its state '{name_of(value)}' is no state of the model"
                )
            if state.initial != _filled(emitter, value):
                raise UnsupportedError(f"'{state.input}' begins with {state.initial}")
            found[state.input] = state
            emitter.variable(value)
    return found


def _filled(emitter: Emitter, value: ir.Value) -> int:
    """What LiteRT fills a variable tensor with (tflite/core/subgraph.cc, ResetVariableTensors)."""
    found = emitter.source.values.get(name_of(value))
    int8 = found is not None and str(found.codes) == "int8"
    return int(found.zero_point or 0) if found is not None and int8 else 0


def _without_states(step: Operation, variables: Mapping[str, State]) -> Operation:
    """An operation without the outputs that are its variables afterwards."""
    places = {
        place
        for operand, place in states_of(step.kind, step.attributes)
        if isinstance(value := step.input(operand), ir.Value) and name_of(value) in variables
    }
    if not places:
        return step
    outputs = tuple(value for index, value in enumerate(step.outputs) if index not in places)
    return Operation(
        kind=step.kind,
        inputs=step.inputs,
        outputs=outputs,
        attributes=step.attributes,
        graphs=step.graphs,
    )


def _begin(emitter: Emitter, resources: Sequence[State]) -> dict[str, int]:
    """Name and read the resources; numbers of their handles by the state's input."""
    if not resources:
        return {}
    values = {name_of(value): value for value in emitter.graph.inputs}
    start = Emitter(store=emitter.store, source=emitter.source, graph=emitter.graph)
    handles = {}
    for state in resources:
        value = values[state.input]
        first = start.add(_first(emitter, value, state))
        start.operator("assign_variable", {}, [_handle(start, state), first], [])
        handles[state.input] = _handle(emitter, state)
    number = len(emitter.store.subgraphs)
    emitter.store.subgraphs.append(start.finish([], [], "initial_state"))
    emitter.operator("call_once", {"init_subgraph_index": number}, [], [])
    # CALL_ONCE comes first, whatever the handles are made by
    emitter.operators.insert(0, emitter.operators.pop())
    for state in resources:
        read = emitter.value(values[state.input])
        emitter.operator("read_variable", {}, [handles[state.input]], [read])
    return handles


def _handle(emitter: Emitter, state: State) -> int:
    kind = enums()["TensorType"].numbers["RESOURCE"]
    values = {"shape": vector([]), "type": kind, "name": state.input, "has_rank": True}
    index = emitter.add(make("Tensor", values))
    emitter.operator("var_handle", {"shared_name": state.input, "container": ""}, [], [index])
    return index


def _first(emitter: Emitter, value: ir.Value, state: State) -> Record:
    """The constant that a state begins with."""
    record = emitter.computed(value)
    shape, dtype = record.integers("shape"), emitter.stored_type(value)
    if isinstance(state.initial, tuple):
        array: NDArray[np.generic] = np.asarray(state.initial, dtype)
        if array.size != np.prod(shape):
            raise UnsupportedError(f"'{state.input}' begins with {array.size} numbers of {shape}")
    else:
        array = np.full(shape, state.initial, dtype)
    record.values["buffer"] = emitter.store.data(array.tobytes())
    record.values["name"] = f"{state.input}.initial"
    return record


def _end(emitter: Emitter, resources: Sequence[State], handles: Mapping[str, int]) -> None:
    """Assign the resources what they are after the run."""
    values = {name_of(value): value for value in emitter.graph.outputs}
    for state in resources:
        after = emitter.value(values[state.output])
        emitter.operator("assign_variable", {}, [handles[state.input], after], [])
