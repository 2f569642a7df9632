"""Whether a graph that was read holds together: shapes that a file says against those that its operators give.

Passes and writers may rely on it, so that no operand of a damaged file is a surprise to any of them. The
judge is the shape inference of the `onnx` package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import onnx
import onnx_ir as ir

from w2e_bridge.errors import FormatError
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.graph.protos import main_graphs
from w2e_bridge.graph.serialize import graph_bytes
from w2e_tflite.lifting import Lifted, Made

_PROBLEM = re.compile(r"op_type:\s*([^,]*), node name: (.*?)\): (?:\[\w+\] ?)*([^\n]*)")
_OUTSIDE = "external"
"""In complaints about numbers that are weights, and so not in the graph: nothing is wrong with these."""
_CHANNELS = {"Conv": 1, "ConvTranspose": 1, "Gemm": -1}
"""Operators with a bias as their third operand: the axis of their results that it goes along."""
_STEPS = 1000


def check(model: ir.Model, lifted: Lifted) -> None:
    """Check the shapes of all values; a scalar's place may be a tensor of unknown rank, and takes the shape found.

    Args:
        model: the graph as it was read.
        lifted: what it was read from.

    Raises:
        FormatError: operands that don't go with their operator, or results of another rank than said.
    """
    found = _inferred(model, lifted)
    for graph in model.graphs():
        for node in graph:
            _check_bias(node, found, lifted)
            for value in node.outputs:
                if value.shape is not None and name_of(value) in found:
                    _compare(value, found[name_of(value)], lifted)


def _inferred(model: ir.Model, lifted: Lifted) -> Mapping[str, onnx.TensorShapeProto]:
    """Shapes by name, from the graph's inputs and constants alone.

    Types are not compared: integers with an odd scale are read as what they are, whatever makes them.
    """
    proto = onnx.load_from_string(graph_bytes(model))
    for graph in main_graphs(proto):
        del graph.value_info[:]
        for output in graph.output:
            output.ClearField("type")
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        if _OUTSIDE in str(error):
            return {}
        raise _refused(model, lifted, str(error)) from error
    return dict(_shapes(inferred))


def _shapes(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorShapeProto]]:
    for graph in main_graphs(proto):
        for info in (*graph.value_info, *graph.output):
            if info.type.tensor_type.HasField("shape"):
                yield info.name, info.type.tensor_type.shape


def _check_bias(node: ir.Node, found: Mapping[str, onnx.TensorShapeProto], lifted: Lifted) -> None:
    """Hold a bias to the channels of its result, of which the inference says nothing."""
    axis = _CHANNELS.get(node.op_type)
    bias = node.inputs[2] if axis is not None and len(node.inputs) > 2 else None
    shape = found.get(name_of(node.outputs[0]))
    if axis is None or bias is None or not bias.shape or shape is None:
        return
    wanted, extent = shape.dim[axis].dim_value, bias.shape[-1]
    if wanted and isinstance(extent, int) and extent != wanted:
        problem = f"expected a bias of {wanted} numbers, found {extent}"
        raise _error(lifted, _maker(node, lifted), problem)


def _compare(value: ir.Value, found: onnx.TensorShapeProto, lifted: Lifted) -> None:
    assert value.shape is not None
    if len(value.shape) == len(found.dim):
        return
    if not value.shape:  # schema.fbs, `has_rank`: without a shape the rank may be unknown
        extents = [dim.dim_value if dim.HasField("dim_value") else None for dim in found.dim]
        value.shape = ir.Shape(extents)
        return
    problem = f"expected a result of {len(found.dim)} dimensions, found {len(value.shape)}"
    raise _error(lifted, lifted.made.get(name_of(value)), problem)


def _refused(model: ir.Model, lifted: Lifted, text: str) -> FormatError:
    """The first complaint about a node, at the operator that the node belongs to."""
    nodes = {node.name: node for node in model.graph.all_nodes()}
    for match in _PROBLEM.finditer(text):
        if match[2] in nodes:
            return _error(lifted, _maker(nodes[match[2]], lifted), match[3])
    return _error(lifted, None, text)


def _maker(node: ir.Node, lifted: Lifted) -> Made | None:
    """The operator that a node was built for: the maker of the first named value that comes of it."""
    ahead = [node]
    for _ in range(_STEPS):
        if not ahead:
            break
        node = ahead.pop(0)
        for value in node.outputs:
            if value.name in lifted.made:
                return lifted.made[value.name]
            ahead += [user for user, _ in value.uses()]
    return None


def _error(lifted: Lifted, made: Made | None, problem: str) -> FormatError:
    container = lifted.container
    if made is None:
        return container.error(container.model, f"operands don't go together: {problem}")
    text = f"{made.kind.upper()}: its operands don't go with it: {problem}"
    return container.error(made.operator, text, made.tensor)
