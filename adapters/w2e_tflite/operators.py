"""Subgraphs of a file to graphs of the canonical model: operators to operations, and these to nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from w2e_bridge.errors import BridgeError, UnsupportedError
from w2e_bridge.graph.functions import OPSET
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.ir.activation import ActivationMode, Granularity
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.kernels import hybrid
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.linear import SPARSE
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.table import build, kinds
from w2e_tflite import resources
from w2e_tflite.bodies import share
from w2e_tflite.container import type_name
from w2e_tflite.lifting import Lifted, Made, Refusal, Subgraph
from w2e_tflite.options import SUBGRAPH, attributes_of
from w2e_tflite.place import GraphPlace
from w2e_tflite.quant import Odd, parameters
from w2e_tflite.record import Record

_PER_CHANNEL = frozenset({"quantize", "dequantize"})
"""Kinds whose kernels take a scale for each channel of a value (tflite/kernels/{quantize,dequantize}.cc)."""

_MOST_GRAPHS = 1000
"""Bodies of control flow in a model; one that is used in two places is read twice."""


def lift_graph(
    lifted: Lifted,
    index: int,
    inside: tuple[int, ...] = (),
    handles: Sequence[str | None] = (),
) -> Subgraph:
    """Read a subgraph; operators that can't be carried are collected in `lifted.refused`.

    Args:
        lifted: what is common to all graphs of the model.
        index: of the subgraph.
        inside: subgraphs that this is a body of.
        handles: names of the resources that are handed to it, in the order of its inputs.

    Raises:
        FormatError: it is no graph.
    """
    record = lifted.container.subgraph(index, "control flow")
    lifted.count += 1
    lifted.reached.add(index)
    if index in inside or lifted.count > _MOST_GRAPHS:
        raise lifted.container.error(record, "a subgraph that is inside of itself")
    # Graphs have names of their own in ONNX: a tensor of the same name keeps its name.
    name = record.text("name") or f"graph_{index}"
    graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET}, name=name)
    place = GraphPlace(graph=graph, names=lifted.names)
    builder = Builder(
        place=place, tensors=lifted.tensors, values=lifted.values, functions=lifted.functions
    )
    work = Subgraph(
        lifted=lifted,
        record=record,
        inside=(*inside, index),
        place=place,
        builder=builder,
        tensors=tuple(record.records("tensors")),
    )
    given = dict.fromkeys(record.integers("inputs"))
    named = zip(given, handles, strict=False)
    work.handles |= {number: resource for number, resource in named if resource is not None}
    _read(work)
    return work


def _read(work: Subgraph) -> None:
    for index in dict.fromkeys(work.record.integers("inputs")):
        if index not in work.handles:
            _given(work, index)
    for operator in work.record.records("operators"):
        _operator(work, operator)
    for index in work.record.integers("outputs"):
        if index not in work.handles:
            work.public.append((index, _public(work, index)))
            work.graph.outputs.append(work.public[-1][1])
    if not work.lifted.refused and not work.body:
        work.graph.outputs.extend(work.after)
        work.graph.outputs.extend(resources.finish(work))


def _given(work: Subgraph, index: int) -> None:
    try:
        work.graph.inputs.append(work.made(index))
    except UnsupportedError as reason:
        refusal = Refusal(kind="input", tensor=work.name(index), reason=str(reason))
        work.lifted.refused.append(refusal)
        work.known[index] = ir.Value(name=work.lifted.names.free("refused"))


def _public(work: Subgraph, index: int) -> ir.Value:
    """An output: a value of its own, that some operator makes."""
    value = work.value(index)
    given = value.is_graph_input() and not work.body  # a body may hand on what it is given
    if given or is_weight(value) or value in work.graph.outputs:
        return resources.quantized_copy(work, value, work.name(index))
    return value


def _operator(work: Subgraph, operator: Record) -> None:
    container = work.lifted.container
    kind, before = container.kind(operator), len(work.place.appended)
    try:
        SPECIAL.get(kind, _operation)(work, operator)
    except UnsupportedError as reason:
        first = next(iter(operator.integers("outputs")), -1)
        known = 0 <= first < len(work.tensors)
        refusal = Refusal(kind=kind, tensor=work.name(first) if known else "", reason=str(reason))
        work.lifted.refused.append(refusal)
        _supply(work, operator)
    except BridgeError:
        raise
    except Exception as error:
        if not work.lifted.refused:  # else what it reads may be made up
            what = f"{type(error).__name__}: {error}"
            problem = f"{kind.upper()}: its operands don't go with it: {what}"
            raise container.error(operator, problem) from error
        _supply(work, operator)
    work.lifted.built.append(work.place.appended[before:])


def _supply(work: Subgraph, operator: Record) -> None:
    """Values for the outputs of an operator that is refused, so that reading goes on and finds the others."""
    for index in operator.integers("outputs"):
        if 0 <= index < len(work.tensors):
            work.known.setdefault(index, ir.Value(name=work.lifted.names.free("refused")))


def _operation(work: Subgraph, operator: Record) -> None:
    """Any operator that has a kind."""
    container = work.lifted.container
    kind = container.kind(operator)
    if kind not in kinds():
        raise UnsupportedError("")
    attributes = attributes_of(container, operator, kind)
    numbers = operator.integers("inputs")
    if not numbers or not operator.integers("outputs"):
        raise container.error(operator, f"{kind.upper()} without operands")
    bodies = _bodies(work, kind, attributes, numbers)
    operands, results = share(work, kind, bodies)
    states = resources.variable_outputs(work, kind, attributes, numbers)
    plain = [index for index in numbers if index not in work.handles]
    inputs = [None if index < 0 else work.value(index) for index in plain]
    _round(work, kind, attributes, plain, inputs)
    if kind == "fully_connected" and work.tensor(numbers[1]).record("sparsity") is not None:
        attributes[SPARSE] = True
    outputs = _outputs(work, operator, kind)
    if kind not in _PER_CHANNEL:
        _whole(work, (*inputs, *outputs))
    for place in sorted(states):
        outputs.insert(place, states[place])
    operation = Operation(
        kind=kind,
        inputs=(*inputs, *operands),
        outputs=(*outputs, *results),
        attributes={**attributes, **_intermediates(work, operator)},
        graphs={role: body.graph for role, body in bodies.items()},
    )
    build(operation, work.builder)


def _bodies(
    work: Subgraph, kind: str, attributes: dict[str, Attribute], numbers: Sequence[int]
) -> dict[str, Subgraph]:
    """The graphs of control flow, in the place of their numbers among the attributes."""
    roles = [name for name in attributes if name.endswith(SUBGRAPH)]
    given = numbers[1:] if kind == "if" else numbers
    handles = [work.handles.get(index) for index in given]
    return {
        role.removesuffix(SUBGRAPH): lift_graph(
            work.lifted, int(str(attributes.pop(role))), work.inside, handles
        )
        for role in roles
    }


def _outputs(work: Subgraph, operator: Record, kind: str) -> list[ir.Value]:
    """Values for the outputs of an operator; a loop hands resources on, in the order of its operands."""
    numbers, outputs = operator.integers("inputs"), list[ir.Value]()
    for place, index in enumerate(operator.integers("outputs")):
        before = numbers[place] if place < len(numbers) else -1
        if resources.is_resource(work, index) and before in work.handles:
            work.handles[index] = work.handles[before]
        else:
            outputs.append(work.made(index))
            made = Made(kind=kind, operator=operator, tensor=work.name(index))
            work.lifted.made[name_of(outputs[-1])] = made
    return outputs


def _round(
    work: Subgraph,
    kind: str,
    attributes: Mapping[str, Attribute],
    numbers: Sequence[int],
    inputs: list[ir.Value | None],
) -> None:
    """Give the floats of a hybrid operator a name of their own."""
    concerned = hybrid.KINDS.get(kind)
    if concerned is None or len(inputs) <= max(concerned.x, concerned.weights):
        return
    x, weights = inputs[concerned.x], inputs[concerned.weights]
    if x is None or weights is None or numbers[concerned.weights] in work.floats:
        return
    tensor = work.lifted.tensors.get(name_of(weights)) if is_weight(weights) else None
    codes = None if tensor is None else tensor.encoding.codes
    narrow = isinstance(codes, Integer) and codes.bits <= 8 and tensor is not None
    held = work.lifted.tensors.get(name_of(x)) if is_weight(x) else None
    integers = held is not None and held.encoding.quantized
    integers = (integers and numbers[concerned.x] not in work.floats) or (
        name_of(x) in work.lifted.values
    )
    floats = x.dtype == ir.DataType.FLOAT and not integers
    if narrow and floats and tensor is not None and tensor.encoding.quantized:
        rounded = work.place.identity(x, f"{name_of(x)}.rounded")
        work.lifted.values[name_of(rounded)] = hybrid.dynamic(kind, attributes)
        inputs[concerned.x] = rounded


def _whole(work: Subgraph, values: Sequence[ir.Value | None]) -> None:
    """Refuse computed values with a scale for each channel where no kernel of LiteRT knows them."""
    for value in values:
        found = None if value is None else work.lifted.values.get(name_of(value))
        if found is None or found.mode is not ActivationMode.STATIC:
            continue
        if found.granularity is Granularity.CHANNEL:
            raise UnsupportedError("a computed value with a scale for each channel")


def _intermediates(work: Subgraph, operator: Record) -> dict[str, Attribute]:
    """Scales of the values inside of an operator (integer LSTM)."""
    records = [work.tensor(index) for index in operator.integers("intermediates")]
    if not records:
        return {}
    found = []
    for record in records:
        try:
            found.append(parameters(record, record.integers("shape")))
        except Odd:
            found.append(None)
    return {
        "intermediate_types": tuple(map(type_name, records)),
        "intermediate_scales": tuple(0.0 if p is None else float(p.scale[0]) for p in found),
        "intermediate_zero_points": tuple(
            0 if p is None or p.zero is None else int(p.zero[0]) for p in found
        ),
    }


def _dequantize(work: Subgraph, operator: Record) -> None:
    """DEQUANTIZE of a constant: the constant, computed with as floats."""
    inputs, outputs = operator.integers("inputs"), operator.integers("outputs")
    if len(inputs) != 1 or len(outputs) != 1 or not _fold(work, inputs[0], outputs[0]):
        _operation(work, operator)


def _fold(work: Subgraph, index: int, output: int) -> bool:
    index = work.same.get(index, index)
    held = work.known.get(index)
    tensor = work.constant(index) if held is None else work.lifted.tensors.get(name_of(held))
    if tensor is None or (held is not None and not is_weight(held)) or output in work.known:
        return False
    quantized = tensor.encoding.quantized
    if not quantized and (held is not None or not isinstance(tensor.encoding.codes, Float)):
        if held is None:
            work.known[index] = work.stub(tensor)
        return False
    stub = work.stub(replace(tensor, dtype="float32")) if held is None else held
    work.known[output] = stub
    work.floats.add(output)
    if quantized:
        work.known[index] = stub
    return True


def _densify(work: Subgraph, operator: Record) -> None:
    """DENSIFY of a sparse constant: the constant."""
    inputs, outputs = operator.integers("inputs"), operator.integers("outputs")
    if len(inputs) != 1 or len(outputs) != 1:
        raise work.error(f"DENSIFY of {len(inputs)} operands")
    record = work.tensor(inputs[0])
    if record.record("sparsity") is None or record.integer("is_variable"):
        raise UnsupportedError("of no sparse constant")
    work.lifted.densified.add(record.offset)
    work.same[outputs[0]] = inputs[0]


def _composite(work: Subgraph, operator: Record) -> None:
    """STABLEHLO_COMPOSITE: what it stands for, in its place. A runtime that knows the name may do otherwise."""
    said = attributes_of(work.lifted.container, operator, "stablehlo_composite")
    body = lift_graph(work.lifted, int(str(said[f"decomposition{SUBGRAPH}"])), work.inside)
    numbers, outputs = operator.integers("inputs"), operator.integers("outputs")
    if len(numbers) != len(body.graph.inputs) or len(outputs) != len(body.public):
        raise work.error(f"a composite of {len(numbers)} operands and {len(outputs)} outputs")
    if body.variables.begin:
        raise UnsupportedError("with variables inside")
    for formal, index in zip(list(body.graph.inputs), numbers, strict=True):
        formal.replace_all_uses_with(work.value(index), replace_graph_outputs=True)
    results = list(body.graph.outputs)
    body.graph.outputs.clear()
    nodes, constants = list(body.graph), list(body.graph.initializers.values())
    body.graph.remove(nodes)
    body.graph.initializers.clear()
    for value in constants:
        work.graph.register_initializer(value)
    work.graph.extend(nodes)
    for index, value in zip(outputs, results, strict=True):
        node = ir.node("Identity", [value], outputs=[work.made(index)])
        node.name = work.place.fresh("Identity_node")
        work.place.append(node)
    work.lifted.remark(
        str(said.get("name", "composite")), "a composite, read as what it stands for"
    )


SPECIAL: Mapping[str, Callable[[Subgraph, Record], None]] = {
    "dequantize": _dequantize,
    "densify": _densify,
    "var_handle": resources.var_handle,
    "read_variable": resources.read_variable,
    "assign_variable": resources.assign_variable,
    "call_once": resources.call_once,
    "stablehlo_composite": _composite,
}
"""Operators that are no operations of the canonical model, or not always."""
