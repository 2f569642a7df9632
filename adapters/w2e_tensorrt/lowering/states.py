"""What a model keeps from one run to the next, in a runtime that keeps nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.graph.inspecting import STANDARD, is_op, name_of
from w2e_bridge.graph.rewriting import constant
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import MetadataValue, Model
from w2e_bridge.kernels.state import PREFIX, State, initial_of, metadata_of, read_states
from w2e_bridge.loss import Ignored

OPTION = "states"
ANEW, EXPLICIT = "anew", "explicit"


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """What became of a model's states.

    Attributes:
        metadata: of the model, with the numbers of those states that stay instead of their codes.
        explicit: that are inputs and outputs.
        conditions: a sentence for each that begins anew in every run.
        ignored: likewise, that the next run knows nothing of it.
    """

    metadata: Mapping[str, MetadataValue]
    explicit: tuple[State, ...]
    conditions: tuple[str, ...]
    ignored: tuple[Ignored, ...]

    def described(self, io: Mapping[str, Mapping[str, object]]) -> dict[str, Mapping[str, object]]:
        """The interface with what each state begins with and where its next value comes from."""
        found = dict(io)
        for state in self.explicit:
            own = {"state": {"initial": state.initial, "next": state.output}}
            found[state.input] = {**found.get(state.input, {}), **own}
        return found


def settle(work: ir.Model, model: Model, mode: str) -> States:
    """Let the states of layers that read whole sequences begin anew in every run; the others stay explicit.

    before: x.state, an input; x.next, an output that is the next run's x.state.
    after:  of a loop over more than one step: the constant that the first run begins with, and no output.
    why: such a layer's state belongs to its sequence (Keras' `stateful=False`); LiteRT keeps it until
        someone resets it. What is fed step by step, or assigned to a variable, is lost without its state.

    Args:
        work: edited.
        model: its metadata and quantization of values.
        mode: `ANEW`, or `EXPLICIT` to leave all as they are.
    """
    graph = work.graph
    inputs = {name_of(value): value for value in graph.inputs}
    outputs = [name_of(value) for value in graph.outputs]
    kept, conditions, ignored = [], [], []
    for state in read_states(model.metadata, list(inputs), outputs):
        value, numbers = inputs[state.input], _numbers(state, model.activations)
        held = None if mode == EXPLICIT else _shape(value)
        if held is None or not all(_begins(user, index) for user, index in _readers(value)):
            kept.append(replace(state, initial=initial_of(numbers)))
            continue
        _begin_anew(graph, value, state.output, np.broadcast_to(numbers, held))
        conditions.append(
            f"'{state.input}' begins anew in each run: --{OPTION} {EXPLICIT} keeps it"
        )
        reason = f"a state that LiteRT hands on to the next run begins anew; --{OPTION} {EXPLICIT} keeps it"
        ignored.append(Ignored(name=state.input, reason=reason))
    rest = {key: said for key, said in model.metadata.items() if not key.startswith(PREFIX)}
    return States(
        metadata={**rest, **metadata_of(kept)},
        explicit=tuple(kept),
        conditions=tuple(conditions),
        ignored=tuple(ignored),
    )


def _numbers(state: State, values: Mapping[str, ActivationQuantization]) -> NDArray[np.float32]:
    """What a state begins with, as numbers: the model says codes."""
    said = np.asarray(state.initial, np.float64)
    found = values.get(state.input)
    if found is None or found.scale is None:
        return said.astype(np.float32)
    zero = 0 if found.zero_point is None else np.asarray(found.zero_point, np.float64)
    return np.asarray((said - zero) * np.asarray(found.scale, np.float64), np.float32)


def _shape(value: ir.Value) -> tuple[int, ...] | None:
    extents = None if value.shape is None else list(value.shape)
    if extents is None or not all(isinstance(extent, int) for extent in extents):
        return None
    return tuple(int(extent) for extent in extents if isinstance(extent, int))


def _readers(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    """What reads a value, through copies and views."""
    for user, index in value.uses():
        if any(is_op(user, op) for op in ("Identity", "Reshape", "Unsqueeze", "Squeeze")):
            yield from _readers(user.outputs[0])
        else:
            yield user, index


def _begins(node: ir.Node, index: int) -> bool:
    """Whether an operand is what a loop over more than one step begins with."""
    if node.domain not in STANDARD:
        return False
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return index > 4 and _steps(node.inputs[0]) != 1
    if node.op_type != "Scan":
        return False
    scanned = node.attributes["num_scan_inputs"].as_int()
    first = len(node.inputs) - scanned
    return index < first and _steps(node.inputs[first]) != 1


def _steps(value: ir.Value | None) -> object:
    return None if value is None or value.shape is None or not len(value.shape) else value.shape[0]


def _begin_anew(
    graph: ir.Graph, value: ir.Value, output: str, numbers: NDArray[np.float32]
) -> None:
    users, name = list(value.uses()), name_of(value)
    graph.inputs.remove(value)
    value.name = None
    begin = constant(graph, name, np.ascontiguousarray(numbers))
    for user, index in users:
        user.replace_input_with(index, begin)
    last = next(given for given in graph.outputs if name_of(given) == output)
    graph.outputs.remove(last)
