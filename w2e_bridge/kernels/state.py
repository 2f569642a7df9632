"""State: what a model keeps from one run to the next, as explicit inputs and outputs of its graph.

The canonical graph is a function. A state is an input after the model's own, and an output after the
model's own, in the same order, with the same type and quantization; whoever runs the model feeds the one
back as the other. `Model.metadata` says what to begin with:

- `w2e.state.<input>.initial`: the code (or number) that each element begins with; of a state that begins
  with unlike numbers a JSON list of them, flat;
- `w2e.state.<input>.output`: the output's name;
- `w2e.state.<input>.constant`: of the tensor of the source that held the first codes, where one did.

TensorFlow Lite has two kinds of state. *Variable tensors* belong to one operator, which changes them in
place (tensorflow/lite/kernels/unidirectional_sequence_lstm.cc): `STATES` says which operands these are,
and an operation returns them as further outputs. *Resources* are named by VAR_HANDLE, read, assigned, and
set by the subgraph of CALL_ONCE at first: `Variables` follows them through the operators in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.ir.model import MetadataValue, Model
from w2e_bridge.loss import Grade, TensorLoss

STATES: Mapping[str, tuple[tuple[int, int], ...]] = {
    "unidirectional_sequence_lstm": ((18, 1), (19, 2)),
    "bidirectional_sequence_lstm": ((35, 2), (36, 3), (37, 4), (38, 5)),
    "lstm": ((18, 1), (19, 2)),
    "unidirectional_sequence_rnn": ((4, 1),),
    "bidirectional_sequence_rnn": ((4, 2), (8, 3)),
    "rnn": ((4, 1),),
    "svdf": ((4, 1),),
}
"""Kind to (operand, output of the operation) of its variable tensors. The outputs are not operators' own:
a reader appends them, a writer leaves them out and marks the operands as variables. Where an operator
merges two outputs (`merge_outputs`), or is of the basic kernel, `states_of` says it."""

BASIC = ((1, 4), (4, 5))
"""The same of LSTM's old kernel, whose states are also its first two outputs."""

PREFIX = "w2e.state."


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state of a graph.

    Attributes:
        input: name of the graph input.
        output: name of the graph output that is the next run's input.
        initial: the code or number of every element, or one for each.
        constant: name of the tensor of the source that says so, "" where none does.
    """

    input: str
    output: str
    initial: int | float | tuple[int | float, ...] = 0
    constant: str = ""


def states_of(kind: str, attributes: Mapping[str, object]) -> tuple[tuple[int, int], ...]:
    """(operand, output) of the variable tensors of an operator."""
    pairs = STATES.get(kind, ())
    if kind == "lstm" and attributes.get("kernel_type") == "BASIC":
        return BASIC
    if attributes.get("merge_outputs"):
        return tuple((operand, output - 1) for operand, output in pairs)
    return pairs


def initial_of(array: NDArray[np.generic]) -> int | float | tuple[int | float, ...]:
    """What a state begins with, one number where all are the same."""
    flat = array.reshape(-1)
    if flat.size == 0:
        return 0
    numbers = flat.tolist()
    return numbers[0] if (flat == flat[0]).all() else tuple(numbers)


def metadata_of(states: Iterable[State]) -> dict[str, MetadataValue]:
    """How a model says its states."""
    said: dict[str, MetadataValue] = {}
    for state in states:
        initial = state.initial
        whole = _whole(initial) if not isinstance(initial, tuple) else [_whole(n) for n in initial]
        text = json.dumps(whole)
        said[f"{PREFIX}{state.input}.initial"] = text
        said[f"{PREFIX}{state.input}.output"] = state.output
        if state.constant:
            said[f"{PREFIX}{state.input}.constant"] = state.constant
    return said


def constants(model: Model) -> Iterator[TensorLoss]:
    """Rows of the report for the constants from which states begin, in a target that keeps states.

    They are no tensors of the model: their codes are in its metadata.
    """
    for key, constant in model.metadata.items():
        if not (key.startswith(PREFIX) and key.endswith(".constant")):
            continue
        state = key.removeprefix(PREFIX).removesuffix(".constant")
        quantization = model.activations.get(state)
        label = "plain numbers" if quantization is None else str(quantization.codes)
        yield TensorLoss(
            name=str(constant),
            source_encoding=label,
            encoding=label,
            grade=Grade.EXACT,
            reason=f"what the state '{state}' begins with",
        )


def _whole(number: float) -> int | float:
    """The same number, without a point where there is nothing behind it."""
    return int(number) if float(number).is_integer() else number


def read_states(
    metadata: Mapping[str, object], inputs: Sequence[str], outputs: Sequence[str]
) -> list[State]:
    """The states that a model says it has, in the order of its inputs.

    Args:
        metadata: of the model.
        inputs: names of the graph's inputs.
        outputs: likewise; a state without the name of its output has the one that stands as far from
            the end as its input does.
    """
    found = []
    for index, name in enumerate(inputs):
        if f"{PREFIX}{name}.initial" not in metadata:
            continue
        output = metadata.get(f"{PREFIX}{name}.output")
        if output is None and len(outputs) >= len(inputs) - index:
            output = outputs[index - len(inputs)]
        if output in outputs:
            initial = _initial(metadata[f"{PREFIX}{name}.initial"])
            found.append(State(input=name, output=str(output), initial=initial))
    return found


def _initial(said: object) -> int | float | tuple[int | float, ...]:
    try:
        value = json.loads(said) if isinstance(said, str) else said
    except json.JSONDecodeError:
        return 0
    if isinstance(value, list | tuple):
        return tuple(n for n in value if isinstance(n, int | float))
    return value if isinstance(value, int | float) else 0


@dataclass(slots=True, kw_only=True)
class Variables:
    """Resources while the operators of a graph are read in order: name to the value it has by then.

    Attributes:
        begin: what each is before the first operator, by name ("container/shared_name"): inputs of the graph.
        current: what each is now.
    """

    begin: dict[str, ir.Value] = field(default_factory=dict)
    current: dict[str, ir.Value] = field(default_factory=dict)

    def read(self, name: str, value: ir.Value) -> ir.Value:
        """The value that stands for what READ_VARIABLE gives.

        Args:
            name: of the resource.
            value: what the operator's own output is; becomes the graph's input if nothing was assigned.
        """
        if name not in self.current:
            self.begin[name] = self.current[name] = value
        return self.current[name]

    def assign(self, name: str, value: ir.Value, before: ir.Value) -> None:
        """ASSIGN_VARIABLE: from here on the resource is another value.

        Args:
            name: of the resource.
            value: what is assigned.
            before: a value of the same type that stands for what was there, if nobody read it yet.
        """
        self.begin.setdefault(name, before)
        self.current[name] = value

    def changed(self) -> list[str]:
        """Names of the resources that are not what they were."""
        return [name for name, value in self.current.items() if value is not self.begin[name]]
