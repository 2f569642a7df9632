"""What a model keeps from run to run, as its metadata says it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from w2e_bridge.kernels.state import (
    State,
    Variables,
    initial_of,
    metadata_of,
    read_states,
    states_of,
)

STATES = [
    State(input="h", output="h.next", initial=-3),
    State(input="c", output="c.next", initial=0.5),
    State(input="m", output="m.next", initial=(1, 2, 3)),
]


def test_states_are_read_as_they_are_said() -> None:
    said = metadata_of(STATES)
    assert said["w2e.state.h.initial"] == "-3"
    names = ["x", "h", "c", "m"], ["y", "h.next", "c.next", "m.next"]
    assert read_states(said, *names) == STATES


def test_outputs_that_are_not_named_stand_where_the_inputs_do() -> None:
    said = {"w2e.state.h.initial": 4, "w2e.state.c.initial": "nonsense"}
    found = read_states(said, ["x", "h", "c"], ["y", "a", "b"])
    assert found == [State(input="h", output="a", initial=4), State(input="c", output="b")]
    assert read_states(said, ["x", "h", "c"], ["b"]) == [State(input="c", output="b")]


@pytest.mark.parametrize(
    ("array", "initial"),
    [([3, 3, 3], 3), ([1, 2, 3], (1, 2, 3)), ([], 0), ([[0.5, 0.5]], 0.5)],
)
def test_one_number_where_all_are_the_same(array: list[float], initial: object) -> None:
    assert initial_of(np.asarray(array)) == initial


def test_variable_tensors_of_operators() -> None:
    assert states_of("bidirectional_sequence_rnn", {}) == ((4, 2), (8, 3))
    assert states_of("bidirectional_sequence_rnn", {"merge_outputs": True}) == ((4, 1), (8, 2))
    assert states_of("lstm", {"kernel_type": "BASIC"}) == ((1, 4), (4, 5))
    assert states_of("add", {}) == ()


def test_resources_are_followed_in_order() -> None:
    first, second, third = (ir.Value(name=name) for name in ("read", "new", "again"))
    variables = Variables()
    assert variables.read("v", first) is first
    assert variables.changed() == []
    variables.assign("v", second, third)
    assert variables.read("v", third) is second
    assert variables.begin == {"v": first}
    assert variables.changed() == ["v"]
