"""A subgraph while it is read: its tensors as values and constants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import onnx_ir as ir

from w2e_bridge.errors import FormatError, UnsupportedError
from w2e_bridge.graph.weights import DTYPES, weight
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import Remark
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.state import State, Variables
from w2e_tflite.constants import constant
from w2e_tflite.container import Container, type_name
from w2e_tflite.names import Names
from w2e_tflite.place import GraphPlace
from w2e_tflite.quant import VALUES, Odd, dtype_of, integer_codes, parameters, value_quantization
from w2e_tflite.record import Record
from w2e_tflite.sparsity import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An operator that can't be carried: its kind, its first tensor, and why ("" = nobody knows it)."""

    kind: str
    tensor: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """Who makes a value: the operator, its kind, and what the file calls the value."""

    kind: str
    operator: Record
    tensor: str


@dataclass(slots=True, kw_only=True, eq=False)
class Lifted:
    """What all graphs of a model have in common while they are read.

    Attributes:
        container: the file.
        names: of all values.
        tensors: constants by name.
        values: quantization of values by name.
        functions: that nodes call.
        patterns: of sparse constants by name.
        states: of the model.
        initial: what resources begin with, by name.
        densified: places of the tensors that a DENSIFY reads.
        reached: numbers of the subgraphs that were read.
        remarks: what was left behind, by name.
        refused: operators that can't be carried.
        made: the makers of values by name.
        built: the nodes of each operator, in order; of one with bodies those of the bodies come first.
        count: graphs that were read.
    """

    container: Container
    names: Names = field(default_factory=Names)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    values: dict[str, ActivationQuantization] = field(default_factory=dict)
    functions: dict[str, ir.Function] = field(default_factory=dict)
    patterns: dict[str, Pattern] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    initial: dict[str, Tensor] = field(default_factory=dict)
    densified: set[int] = field(default_factory=set)
    reached: set[int] = field(default_factory=set)
    remarks: dict[str, Remark] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    made: dict[str, Made] = field(default_factory=dict)
    built: list[list[ir.Node]] = field(default_factory=list)
    count: int = 0

    def remark(self, name: str, reason: str) -> None:
        """Remember something that was left behind, once for each name."""
        self.remarks.setdefault(name, Remark(name=name, reason=reason))


@dataclass(slots=True, kw_only=True, eq=False)
class Subgraph:
    """A subgraph that is being read.

    Attributes:
        lifted: what is common to all.
        record: the subgraph.
        inside: numbers of the subgraphs that it is a body of, its own last.
        place: where nodes go.
        builder: what operations are built with.
        tensors: of the subgraph.
        known: values by the number of their tensor.
        same: tensors that are others (behind DENSIFY).
        floats: tensors that are constants behind a DEQUANTIZE.
        handles: names of resources by the number of their tensor.
        variables: resources by name.
        after: what variable tensors are after the run, in order.
        public: its outputs with the numbers of their tensors.
    """

    lifted: Lifted
    record: Record
    inside: tuple[int, ...]
    place: GraphPlace
    builder: Builder
    tensors: tuple[Record, ...]
    known: dict[int, ir.Value] = field(default_factory=dict)
    same: dict[int, int] = field(default_factory=dict)
    floats: set[int] = field(default_factory=set)
    handles: dict[int, str] = field(default_factory=dict)
    variables: Variables = field(default_factory=Variables)
    after: list[ir.Value] = field(default_factory=list)
    public: list[tuple[int, ir.Value]] = field(default_factory=list)

    @property
    def graph(self) -> ir.Graph:
        """The graph in the making."""
        return self.place.graph

    @property
    def body(self) -> bool:
        """Whether it is a body of control flow."""
        return len(self.inside) > 1

    def error(self, problem: str, index: int | None = None) -> FormatError:
        """An error of this subgraph, and perhaps of one of its tensors."""
        known = index is not None and 0 <= index < len(self.tensors)
        name = self.tensors[index].text("name") if known and index is not None else ""
        return self.lifted.container.error(self.record, problem, name)

    def tensor(self, index: int) -> Record:
        """A tensor by its number."""
        if not 0 <= index < len(self.tensors):
            raise self.error(f"tensor {index} of {len(self.tensors)}")
        return self.tensors[index]

    def name(self, index: int) -> str:
        """What the file calls a tensor."""
        return self.tensor(index).text("name") or f"tensor_{index}"

    def fresh(self, index: int, suffix: str = "") -> ir.Value:
        """A new value with a tensor's name, type, shape and quantization."""
        record, lifted = self.tensor(index), self.lifted
        dtype = dtype_of(record)
        if dtype not in DTYPES:
            raise UnsupportedError(f"values of type {type_name(record)}")
        name = lifted.names.free(self.name(index) + suffix)
        try:
            found = parameters(record, record.integers("shape")) if dtype in VALUES else None
            codes = integer_codes(dtype)
            if found is not None and codes is not None:
                lifted.values[name] = value_quantization(codes, found)
                dtype = "float32"
        except Odd as problem:
            lifted.remark(name, f"{problem}: taken as plain {dtype}")
        shape = ir.Shape(shape_of(record))
        value = ir.Value(name=name, type=ir.TensorType(DTYPES[dtype]), shape=shape)
        if name != record.text("name") and not suffix:
            value.metadata_props["source_name"] = record.text("name")
        return value

    def made(self, index: int) -> ir.Value:
        """The value of a tensor that an operator makes, or that is given."""
        if index in self.known or index in self.same:
            raise self.error("two operators make this tensor", index)
        self.known[index] = self.fresh(index)
        return self.known[index]

    def value(self, index: int) -> ir.Value:
        """The value of a tensor that is there already: a constant, an input, or what an operator made."""
        index = self.same.get(index, index)
        if index not in self.known:
            tensor = self.constant(index)
            if tensor is None:
                raise self.error("nothing makes this tensor before it is read", index)
            self.known[index] = self.stub(tensor)
        return self.known[index]

    def stub(self, tensor: Tensor) -> ir.Value:
        """The graph's value for a constant."""
        self.lifted.tensors[tensor.name] = tensor
        return weight(self.graph, tensor)

    def constant(self, index: int) -> Tensor | None:
        """The constant that a tensor is, under a name of its own; None of a tensor that is computed."""
        record, lifted = self.tensor(index), self.lifted
        if record.integer("is_variable") or index in self.known:
            return None
        name = lifted.names.free(self.name(index))
        found = constant(lifted.container.buffers, record, name, self.tensors)
        if found is None:
            lifted.names.release(name)
            return None
        if found.repair:
            lifted.remark(name, found.repair)
        if found.pattern is not None:
            densify = record.offset in lifted.densified
            lifted.patterns[name] = replace(found.pattern, densify=densify)
        return found.tensor


def shape_of(record: Record) -> list[int | str | None]:
    """A tensor's shape; what is free has no number."""
    shape, free = record.integers("shape"), record.integers("shape_signature")
    extents = free if len(free) == len(shape) else shape
    return [extent if extent >= 0 else None for extent in extents]
