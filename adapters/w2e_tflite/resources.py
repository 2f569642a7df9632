"""Resource variables: operators that name, read and assign what a model keeps from run to run.

What becomes of them in the canonical graph: `w2e_bridge.kernels.state`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.control import quantization_of
from w2e_bridge.kernels.operation import Attribute
from w2e_bridge.kernels.state import State, initial_of, states_of
from w2e_tflite.container import type_name
from w2e_tflite.lifting import Subgraph
from w2e_tflite.options import attributes_of
from w2e_tflite.quant import dtype_of
from w2e_tflite.record import Record

NEXT = ".next"
"""Behind the name of a state for what it is after the run."""


def is_resource(work: Subgraph, index: int) -> bool:
    """Whether a tensor is a handle."""
    return type_name(work.tensor(index)) == "RESOURCE"


def var_handle(work: Subgraph, operator: Record) -> None:
    """VAR_HANDLE: a tensor becomes the name of a resource."""
    said = attributes_of(work.lifted.container, operator, "var_handle")
    parts = [str(said.get(part, "")) for part in ("container", "shared_name")]
    for index in operator.integers("outputs"):
        work.tensor(index)
        work.handles[index] = "/".join(part for part in parts if part) or "variable"


def read_variable(work: Subgraph, operator: Record) -> None:
    """READ_VARIABLE: its output is whatever the resource is by then."""
    name, output = _handle(work, operator), _one(work, operator, "outputs")
    if output in work.known:
        raise work.error("two operators make this tensor", output)
    value = work.variables.current.get(name)
    work.known[output] = work.variables.read(name, work.fresh(output) if value is None else value)


def assign_variable(work: Subgraph, operator: Record) -> None:
    """ASSIGN_VARIABLE: from here on the resource is another value."""
    name, inputs = _handle(work, operator), operator.integers("inputs")
    if len(inputs) != 2:
        raise work.error(f"ASSIGN_VARIABLE of {len(inputs)} operands")
    value = work.value(inputs[1])
    before = work.variables.begin.get(name)
    if before is None:
        before = work.fresh(inputs[1], ".before")
    work.variables.assign(name, value, before)


def call_once(work: Subgraph, operator: Record) -> None:
    """CALL_ONCE: a subgraph that says what resources begin with."""
    container = work.lifted.container
    said = attributes_of(container, operator, "call_once")
    index = int(str(said["init_subgraph_index"]))
    record = container.subgraph(index, "CALL_ONCE")
    work.lifted.reached.add(index)
    start = Subgraph(
        lifted=work.lifted,
        record=record,
        inside=work.inside,
        place=work.place,
        builder=work.builder,
        tensors=tuple(record.records("tensors")),
    )
    for item in record.records("operators"):
        kind = container.kind(item)
        if kind == "var_handle":
            var_handle(start, item)
        elif kind == "assign_variable":
            _begin(start, item)
        else:
            raise UnsupportedError(f"{kind.upper()} while variables are set at first")


def _begin(start: Subgraph, operator: Record) -> None:
    name, inputs = _handle(start, operator), operator.integers("inputs")
    tensor = start.constant(inputs[1]) if len(inputs) == 2 else None
    if tensor is None:
        raise UnsupportedError("a variable whose first value is computed")
    start.lifted.names.release(tensor.name)
    start.lifted.initial[name] = tensor


def _handle(work: Subgraph, operator: Record) -> str:
    index = next(iter(operator.integers("inputs")), -1)
    if index not in work.handles:
        raise work.error("a resource that no VAR_HANDLE names", index)
    return work.handles[index]


def _one(work: Subgraph, operator: Record, side: str) -> int:
    found = operator.integers(side)
    if len(found) != 1:
        raise work.error(f"an operator with {len(found)} {side}, expected one")
    return found[0]


def variable_outputs(
    work: Subgraph, kind: str, attributes: Mapping[str, Attribute], inputs: Sequence[int]
) -> dict[int, ir.Value]:
    """Further outputs of an operator that changes variable tensors, by their place among its outputs.

    The variable becomes an input of the graph, what it is afterwards an output.
    """
    found = {}
    for operand, place in states_of(kind, attributes):
        index = inputs[operand] if operand < len(inputs) else -1
        if index < 0 or not work.tensor(index).integer("is_variable"):
            continue
        if work.body or index in work.known:
            raise UnsupportedError("a variable tensor in a body, or of two operators")
        before = work.made(index)
        after = work.fresh(index, NEXT)
        work.graph.inputs.append(before)
        found[place] = after
        work.after.append(after)
        state = State(input=name_of(before), output=name_of(after), initial=_zero(work, index))
        work.lifted.states.append(state)
    return found


def _zero(work: Subgraph, index: int) -> int:
    """What LiteRT fills a variable with: the zero point of int8, else 0 (tflite/core/subgraph.cc)."""
    quantized = work.lifted.values.get(name_of(work.known[index]))
    if dtype_of(work.tensor(index)) != "int8" or quantized is None:
        return 0
    return 0 if quantized.zero_point is None else int(quantized.zero_point)


def finish(work: Subgraph) -> list[ir.Value]:
    """The resources of a model's own graph as further inputs; further outputs in the same order."""
    outputs, changed = [], set(work.variables.changed())
    for name, before in work.variables.begin.items():
        first = work.lifted.initial.get(name)
        if name not in changed and first is not None:
            _freeze(work, before, first)
            continue
        work.graph.inputs.append(before)
        after = work.variables.current[name]
        made_here = after.producer() is not None and after not in outputs
        if not made_here or after in _public(work):
            after = quantized_copy(work, after, name_of(before) + NEXT)
        outputs.append(after)
        initial = 0 if first is None else initial_of(codes_of(first))
        said = "" if first is None else first.name
        work.lifted.states.append(
            State(input=name_of(before), output=name_of(after), initial=initial, constant=said)
        )
    return outputs


def quantized_copy(work: Subgraph, value: ir.Value, name: str) -> ir.Value:
    """An Identity of a value with the same quantization."""
    copy = work.place.identity(value, name)
    quantization = quantization_of(work.builder, value)
    if quantization is not None:
        work.lifted.values[name_of(copy)] = quantization
    return copy


def _public(work: Subgraph) -> set[ir.Value]:
    return {work.known[i] for i in work.record.integers("outputs") if i in work.known}


def _freeze(work: Subgraph, before: ir.Value, first: Tensor) -> None:
    """A resource that nothing assigns is a constant."""
    name = work.lifted.names.free(first.name)
    before.replace_all_uses_with(work.stub(replace(first, name=name)))
    work.lifted.values.pop(name_of(before), None)


def codes_of(tensor: Tensor) -> AnyArray:
    """The numbers of a constant as they are stored, flat."""
    return tensor.storage.parts(0, tensor.rows).codes
