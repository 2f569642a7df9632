"""Public values as floats: whoever feeds an engine feeds numbers; their scales are told beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.graph.rewriting import at_start
from w2e_bridge.ir.activation import ActivationQuantization


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """What became of the public values.

    Attributes:
        values: quantization by name, that of public inputs under the name of a copy.
        io: public name to `{"codes", "scale", "zero_point"}` of the source.
    """

    values: Mapping[str, ActivationQuantization]
    io: Mapping[str, Mapping[str, object]]


def public_floats(graph: ir.Graph, values: Mapping[str, ActivationQuantization]) -> Interface:
    """Take quantization off public values.

    before: x, y: public, quantized: the source's interface are codes.
    after:  x is float32 and read through an Identity that is quantized; y is float32.
    why exact: x holds the numbers that the codes stand for, which rounding gives back.
    """
    found = dict(values)
    io = held_in_source(graph, values)
    for value in graph.inputs:
        name = name_of(value)
        if name in found:
            own = found.pop(name)
            found[_copy(graph, value)] = own
    for value in graph.outputs:
        name = name_of(value)
        if name in found:
            if not value.uses():
                del found[name]
            else:
                _give_out(graph, value)
                found[f"{name}.inner"] = found.pop(name)
    return Interface(values=found, io=io)


def held_in_source(
    graph: ir.Graph, values: Mapping[str, ActivationQuantization]
) -> dict[str, Mapping[str, object]]:
    """How the source holds public values that are codes in it."""
    public = [name_of(value) for value in (*graph.inputs, *graph.outputs)]
    return {name: _described(values[name]) for name in public if name in values}


def _described(found: ActivationQuantization) -> dict[str, object]:
    """Codes, scale and zero point in terms of JSON."""
    zero = 0 if found.zero_point is None else np.asarray(found.zero_point).tolist()
    scale = None if found.scale is None else np.asarray(found.scale).tolist()
    return {"codes": str(found.codes), "scale": scale, "zero_point": zero}


def _copy(graph: ir.Graph, value: ir.Value) -> str:
    users = list(value.uses())
    node = ir.node("Identity", [value])
    made = node.outputs[0]
    made.name, made.type, made.shape = f"{value.name}.inner", value.type, value.shape
    at_start(graph, node)
    for user, index in users:
        user.replace_input_with(index, made)
    return name_of(made)


def _give_out(graph: ir.Graph, value: ir.Value) -> None:
    """A public value that is read inside too: the inner one stays quantized, the public one is a copy."""
    name = name_of(value)
    node = ir.node("Identity", [value])
    made = node.outputs[0]
    made.type, made.shape = value.type, value.shape
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = made
    value.name, made.name = f"{name}.inner", name
    graph.append(node)
