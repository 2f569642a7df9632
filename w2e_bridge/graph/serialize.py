"""Graphs to and from ONNX's bytes, with the weights outside: stubs in the graph, tensors beside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir

from w2e_bridge.errors import DefectError, FormatError, UnsupportedError, Where
from w2e_bridge.formats.source import Source
from w2e_bridge.graph.external import Placement, placement
from w2e_bridge.graph.planes import plain_storage
from w2e_bridge.graph.protos import (
    Array,
    Arrays,
    check_strings,
    fill,
    function_graphs,
    function_nodes,
    inline_array,
    main_graphs,
    parse,
    strip,
    tensors_of,
    typed_shape,
    understood,
)
from w2e_bridge.graph.weights import DTYPES, WeightStub
from w2e_bridge.graph.wire import skeleton
from w2e_bridge.ir.model import Remark
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.ir.tensor import Tensor

ELSEWHERE = "w2e"
"""Location of the weights of a graph without weights: in whatever carries the graph."""

_STRING = int(onnx.TensorProto.STRING)
_Find = Callable[[onnx.TensorProto], Array]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """An ONNX file, opened.

    Attributes:
        model: the graph; every numeric initializer and `Constant` is a stub. Nodes are sorted.
        tensors: their data in execution order, by the stub's name.
        nbytes: bytes of the file and of its external data.
        remarks: what was left behind.
    """

    model: ir.Model
    tensors: dict[str, Tensor]
    nbytes: int
    remarks: tuple[Remark, ...] = ()


def open_model(path: Path) -> Opened:
    """Open an ONNX file; weights stay in the file, and in the files beside it, until they are asked for.

    Raises:
        FormatError: damaged, hostile or no ONNX model.
        UnsupportedError: sparse tensors, segments, complex numbers.
    """
    source, where = Source(path), Where(path=path)
    if not source.size:
        raise FormatError(where, "the file is empty", "probably a cut download")
    cut = skeleton(source)
    proto = parse(cut.data, where)
    arrays = Arrays.of(source, cut)
    remarks = []
    if proto.training_info:
        remarks.append(Remark(name="training_info", reason="training is not carried"))
        proto.ClearField("training_info")
    notes = _take_out(proto, arrays.array, where)
    model = _built(proto, where)
    tensors = _place_stubs(model, notes)
    remarks += [
        Remark(name=location, reason="the external data file is missing")
        for location in arrays.files.missing
    ]
    return Opened(
        model=model,
        tensors=in_order(model, tensors),
        nbytes=source.size + arrays.files.nbytes,
        remarks=tuple(remarks),
    )


def graph_bytes(model: ir.Model, placements: Mapping[str, Placement] | None = None) -> bytes:
    """Serialize a graph; the same graph gives the same bytes.

    Args:
        model: a graph with stubs.
        placements: stub name to where its data lies; None = the graph without weights, for `graph_of`.

    Raises:
        DefectError: there is no place for a stub.
    """
    stubs = [value for graph in model.graphs() for value in _stubs(graph)]
    try:
        places = {v: placements[_name(v)] if placements is not None else None for v in stubs}
    except KeyError as error:
        raise DefectError(f"internal defect, please report: no place for {error}") from error
    kept = {value: value.const_value for value in stubs}
    try:  # the weights' data must not be asked for, so that references stand in for them
        for value, place in places.items():
            value.const_value = _reference(value, place or Placement(location=ELSEWHERE))
        proto = ir.serde.serialize_model(model)
    finally:
        for value, stub in kept.items():
            value.const_value = stub
    return bytes(proto.SerializeToString(deterministic=True))


def graph_of(data: bytes, where: Where) -> ir.Model:
    """The graph in bytes of `graph_bytes` without placements: stubs, and constants with their data."""
    proto = parse(data, where)

    def find(tensor: onnx.TensorProto) -> Array:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return inline_array(tensor, replace(where, tensor=tensor.name))
        entries = [(entry.key, entry.value) for entry in tensor.external_data]
        if placement(entries, where).location != ELSEWHERE:
            raise FormatError(where, f"the data of '{tensor.name}' is in another file")
        dtype, shape = typed_shape(tensor, where)
        return Array(dtype=dtype, shape=shape, source=None)

    notes = _take_out(proto, find, where)
    model = _built(proto, where)
    settle(model, _place_stubs(model, notes), every=True)
    return model


def settle(
    model: ir.Model, tensors: dict[str, Tensor], keep: Collection[str] = (), *, every: bool = False
) -> None:
    """Move the small constants of a computation out of the tensors into the graph itself.

    Shapes, axes and indices are part of the computation, and passes look at them; weights are not, and
    none looks at them.

    Args:
        model: its stubs of constants become numbers.
        tensors: constants are taken out of it.
        keep: names that stay tensors.
        every: all tensors are constants.
    """
    for graph in model.graphs():
        for value in list(_stubs(graph)):
            tensor = tensors.get(_name(value))
            if tensor is None or tensor.name in keep or not (every or is_constant(tensor, value)):
                continue
            try:
                codes = tensor.storage.parts(0, tensor.rows).codes
            except FormatError:
                continue  # its file is missing: a weight that can't be read rather than no graph at all
            kind = DTYPES[tensor.dtype]
            array = codes.reshape(tensor.shape).astype(kind.numpy(), copy=False)
            value.const_value = ir.Tensor(array, dtype=kind, name=tensor.name)
            del tensors[tensor.name]


_INDEX_TYPES = ("int64", "int32", "bool", "uint64", "uint32")
_INDEX_ELEMENTS = 1024


def is_constant(tensor: Tensor, value: ir.Value) -> bool:
    """Whether an initializer is a constant of the computation rather than a weight."""
    if tensor.encoding.quantized:
        return False
    if not tensor.shape:
        return True
    quantized = any(
        "QLinear" in user.op_type or "Integer" in user.op_type for user, _ in value.uses()
    )
    return tensor.dtype in _INDEX_TYPES and tensor.elements <= _INDEX_ELEMENTS and not quantized


def in_order(model: ir.Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in the order in which the graph first uses them; unused ones come last."""
    rank: dict[str, int] = {}
    for node in model.graph.all_nodes():
        for value in node.inputs:
            if value is not None and isinstance(value.const_value, WeightStub):
                rank.setdefault(_name(value), len(rank))
    names = sorted(tensors, key=lambda name: rank.get(name, len(rank)))
    return {name: replace(tensors[name], order=index) for index, name in enumerate(names)}


def _take_out(proto: onnx.ModelProto, find: _Find, where: Where) -> dict[str, Array]:
    """The arrays of initializers and constants by a note that is left in their place."""
    notes: dict[str, Array] = {}
    for tensor, lifted in _tensors(proto, where):
        if tensor.data_type == _STRING:
            check_strings(tensor, where)
        elif lifted:
            key = f"w2e-array-{len(notes)}"
            notes[key] = find(tensor)
            strip(tensor, key)
        else:
            fill(tensor, find(tensor), where)
    return notes


def _tensors(proto: onnx.ModelProto, where: Where) -> Iterator[tuple[onnx.TensorProto, bool]]:
    """All tensors, and whether they become stubs: initializers and constants outside of functions do."""
    for graph in main_graphs(proto):
        for tensor in _initializers(graph, where):
            yield tensor, True
        for node in graph.node:
            for tensor in tensors_of(node):
                yield tensor, _is_constant(node)
    for graph in function_graphs(proto):
        for tensor in _initializers(graph, where):
            yield tensor, False
    for node in function_nodes(proto):
        for tensor in tensors_of(node):
            yield tensor, False


def _initializers(graph: onnx.GraphProto, where: Where) -> Iterator[onnx.TensorProto]:
    if graph.sparse_initializer:
        raise UnsupportedError(f"{where}: sparse initializers are not supported")
    names = [tensor.name for tensor in graph.initializer]
    if "" in names or len(set(names)) < len(names):
        raise FormatError(where, "initializers without a name or with the same name")
    yield from graph.initializer


def _is_constant(node: onnx.NodeProto | ir.Node) -> bool:
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def _built(proto: onnx.ModelProto, where: Where) -> ir.Model:
    """The graph of a message: valid references, sorted nodes, no weights among the inputs."""

    def build() -> ir.Model:
        model = ir.serde.deserialize_model(proto)
        model.graph.sort()
        return model

    model = understood(build, where)
    assert isinstance(model, ir.Model)
    for graph in model.graphs():
        for name in _dangling(graph):
            raise FormatError(where, f"no valid ONNX graph: nothing produces '{name}'")
    for value in [v for v in model.graph.inputs if v.is_initializer()]:
        model.graph.inputs.remove(value)
    return model


def _dangling(graph: ir.Graph) -> Iterator[str]:
    values = [value for node in graph for value in node.inputs if value is not None]
    for value in (*values, *graph.outputs):
        known = value.is_graph_input() or value.is_initializer()
        if value.producer() is None and not known:
            yield _name(value)


def _place_stubs(model: ir.Model, notes: Mapping[str, Array]) -> dict[str, Tensor]:
    """Stubs for all arrays; the tensors of those whose bytes are known."""
    tensors: dict[str, Tensor] = {}
    taken: set[str] = set()
    for graph in model.graphs():
        _constants_to_initializers(graph)
        for value in list(graph.initializers.values()):
            array = notes.get((value.const_value and value.const_value.doc_string) or "")
            if array is None:
                continue  # strings
            _make_unique(value, taken)
            name, kind = _name(value), DTYPES[array.dtype]
            value.const_value = WeightStub(name, kind, array.shape)
            value.type, value.shape = ir.TensorType(kind), ir.Shape(array.shape)
            if array.source is not None:
                tensors[name] = Tensor(
                    name=name,
                    shape=array.shape,
                    dtype=array.dtype,
                    encoding=PLAIN[array.dtype],
                    storage=plain_storage(array.source, array.dtype, array.shape),
                )
    return tensors


def _make_unique(value: ir.Value, taken: set[str]) -> None:
    """Names of weights are the model's, whatever scope they are in."""
    name = unique = _name(value)
    count = 1
    while unique in taken:
        count += 1
        unique = f"{name}#{count}"
    if unique != name:
        value.metadata_props["source_name"] = name
        value.name = unique
    taken.add(unique)


def _constants_to_initializers(graph: ir.Graph) -> None:
    """`Constant` nodes of tensors become initializers, so that there is one kind of constant."""
    for node in list(graph):
        attribute = node.attributes.get("value") if _is_constant(node) else None
        if attribute is None or attribute.type != ir.AttributeType.TENSOR or attribute.is_ref():
            continue
        (old,) = node.outputs
        name, tensor = _name(old), attribute.as_tensor()
        new = ir.Value(name=name, type=ir.TensorType(tensor.dtype), const_value=tensor)
        new.shape = ir.Shape(tensor.shape.numpy())
        old.name = f"{name}#node"
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        graph.register_initializer(new)


def _stubs(graph: ir.Graph) -> Iterator[ir.Value]:
    for value in graph.initializers.values():
        if isinstance(value.const_value, WeightStub):
            yield value


def _reference(value: ir.Value, place: Placement) -> ir.ExternalTensor:
    stub = value.const_value
    assert stub is not None
    return ir.ExternalTensor(
        place.location,
        place.offset,
        place.length,
        stub.dtype,
        shape=ir.Shape(stub.shape.numpy()),
        name=_name(value),
    )


def _name(value: ir.Value) -> str:
    return value.name or ""
