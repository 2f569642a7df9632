"""What a rule of legalization works with: a node, what it reads, and nodes to put in its place."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import DTypeLike

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import is_op, is_weight, name_of
from w2e_bridge.graph.weights import WeightStub
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import TensorLoss
from w2e_bridge.passes.layout.site import Dim, constant, dims

Attributes = Mapping[str, object]


@dataclass(slots=True, kw_only=True)
class Work:
    """A model that is being legalized.

    Attributes:
        editor: edits it.
        activations: quantization of values by name; edited along.
        opset: version of the standard operators.
        folds: whether normalizations may go into the weights before them, which rounds those anew.
        losses: of constants that were made anew.
        names: constants that were made anew, and the names of what they were made from.
    """

    editor: Editor
    activations: MutableMapping[str, ActivationQuantization]
    opset: int
    folds: bool = False
    losses: list[TensorLoss] = field(default_factory=list)
    names: list[tuple[ir.Value, str]] = field(default_factory=list)

    def forget(self, value: ir.Value | None) -> None:
        """Take out a constant that nothing reads any more."""
        graph = None if value is None else value.graph
        if value is None or graph is None or value.uses() or value.is_graph_output():
            return
        if graph.initializers.pop(name_of(value), None) is not None:
            self.editor.tensors.pop(name_of(value), None)
            self.editor.taken.discard(name_of(value))

    def finish(self) -> None:
        """Give constants that were made anew the names of those that nothing reads any more."""
        for value, wanted in self.names:
            graph, name = value.graph, name_of(value)
            if not value.uses() or graph is None:
                continue
            if (old := graph.initializers.get(wanted)) is not value:
                self.forget(old)
            if wanted in self.editor.taken or name not in self.editor.tensors:
                continue
            tensor = replace(self.editor.tensors.pop(name), name=wanted)
            self.editor.taken.discard(name)
            self.editor.taken.add(wanted)
            self.editor.tensors[wanted] = tensor
            value.name = wanted
            assert value.dtype is not None
            value.const_value = WeightStub(wanted, value.dtype, tensor.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A node and its surroundings.

    Attributes:
        node: that may be replaced.
        work: the model.
    """

    node: ir.Node
    work: Work

    # ---- what is there ----

    def input(self, slot: int) -> ir.Value | None:
        """An input, None where it is left out."""
        return self.node.inputs[slot] if slot < len(self.node.inputs) else None

    def need(self, slot: int) -> ir.Value:
        """An input that every valid node has."""
        value = self.input(slot)
        assert value is not None
        return value

    @property
    def output(self) -> ir.Value:
        """The first output."""
        return self.node.outputs[0]

    def integer(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        found = self.node.attributes.get(name)
        return default if found is None or found.is_ref() else found.as_int()

    def number(self, name: str, default: float) -> float:
        """A real attribute."""
        found = self.node.attributes.get(name)
        return default if found is None or found.is_ref() else found.as_float()

    def integers(self, name: str) -> list[int] | None:
        """An attribute of integers, None where it is missing."""
        found = self.node.attributes.get(name)
        return None if found is None or found.is_ref() else list(found.as_ints())

    def text(self, name: str, default: str) -> str:
        """An attribute that is text."""
        found = self.node.attributes.get(name)
        return default if found is None or found.is_ref() else found.as_string()

    def shape(self, value: ir.Value | None) -> tuple[Dim, ...] | None:
        """The shape of a value, None where not even its rank is known."""
        return dims(value)

    def static(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """The shape of a value all of whose extents are known."""
        shape = dims(value)
        known = None if shape is None else tuple(d for d in shape if isinstance(d, int))
        return (
            known if shape is not None and known is not None and len(known) == len(shape) else None
        )

    def rank(self, value: ir.Value | None) -> int | None:
        """The rank of a value."""
        shape = dims(value)
        return None if shape is None else len(shape)

    def array(self, value: ir.Value | None) -> AnyArray | None:
        """The numbers of a small plain constant."""
        return constant(value, self.work.editor.tensors)

    def scalar(self, value: ir.Value | None) -> float | None:
        """The one number of a constant."""
        array = self.array(value)
        return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None

    def listed(self, slot: int, name: str) -> list[int] | None:
        """Integers of a constant input, or of the attribute that it once was."""
        value = self.input(slot)
        if value is None:
            return self.integers(name)
        array = self.array(value)
        return None if array is None else [int(n) for n in array.reshape(-1)]

    def tensor(self, value: ir.Value | None) -> Tensor | None:
        """The tensor behind a constant."""
        if value is None or not is_weight(value):
            return None
        return self.work.editor.tensors.get(name_of(value))

    def dtype(self, value: ir.Value | None) -> ir.DataType:
        """The type of a value; real numbers where nobody says it."""
        return (None if value is None else value.dtype) or ir.DataType.FLOAT

    def quantized(self, value: ir.Value | None) -> bool:
        """Whether a value is quantized."""
        return value is not None and name_of(value) in self.work.activations

    def inside(self, value: ir.Value | None, *ops: str) -> ir.Node | None:
        """The maker of a value that nothing else reads and that is not quantized."""
        made = None if value is None else value.producer()
        if value is None or made is None or not any(is_op(made, op) for op in ops):
            return None
        alone = len(value.uses()) == 1 and not value.is_graph_output()
        return (
            made if alone and not self.quantized(value) and made.graph is self.node.graph else None
        )

    # ---- what is put there ----

    def add(
        self,
        op: str,
        *inputs: ir.Value | None,
        attributes: Attributes | None = None,
        domain: str = "",
    ) -> ir.Value:
        """A node before this one; its output."""
        return self.many(op, inputs, attributes or {}, 1, domain)[0]

    def many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Attributes,
        count: int,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        """A node of several outputs before this one."""
        made = ir.node(op, inputs, attributes, num_outputs=count, domain=domain)  # type: ignore[arg-type]
        for output in made.outputs:
            output.name = self.work.editor.free(f"{self._base()}.{op.lower()}")
        self._graph().insert_before(self.node, made)
        return tuple(made.outputs)

    def call(
        self, function: ir.Function, *inputs: ir.Value, attributes: Attributes | None = None
    ) -> ir.Value:
        """A call of a model-local function before this node; its output."""
        model = self.work.editor.model
        model.functions.setdefault(function.identifier(), function)
        model.graph.opset_imports[function.domain] = 1
        return self.many(function.name, inputs, attributes or {}, 1, function.domain)[0]

    def constant(
        self, array: AnyArray | np.generic | Sequence[int] | float, dtype: DTypeLike | None = None
    ) -> ir.Value:
        """A constant of the computation; without a type, integers are int64 and others float32."""
        held = np.asarray(array, dtype)
        if dtype is None:
            real = held.dtype.kind == "f" and held.size  # an empty list is a shape
            held = held.astype(np.float32 if real else np.int64)
        name = self.work.editor.free(f"{self._base()}.constant")
        data = ir.tensor(held, name=name)
        value = ir.Value(name=name, type=ir.TensorType(data.dtype), const_value=data)
        value.shape = ir.Shape(held.shape)
        self._graph().register_initializer(value)
        return value

    def like(self, number: float, value: ir.Value | None) -> ir.Value:
        """One number in the type of a value."""
        return self.constant(
            np.asarray(number, self.dtype(value).numpy()), self.dtype(value).numpy()
        )

    def weight(self, tensor: Tensor) -> ir.Value:
        """A weight."""
        value = self.work.editor.register(self._graph(), tensor)
        self.work.names.append((value, tensor.name))
        return value

    def cast(self, value: ir.Value, to: ir.DataType) -> ir.Value:
        """A value in another type."""
        return self.add("Cast", value, attributes={"to": int(to)})

    def replace(self, *values: ir.Value) -> bool:
        """Put fresh values in the places of the node's outputs, under their names; always True."""
        for old, new in zip(self.node.outputs, values, strict=False):
            name = old.name
            old.name = self.work.editor.free(f"{name}.replaced") if name else name
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            self.work.editor.taken.discard(name_of(new))
            new.name = name
            new.type = old.type or new.type
            new.shape = old.shape if old.shape is not None else new.shape
        self.work.editor.drop([self.node])
        return True

    def pass_on(self, value: ir.Value) -> bool:
        """Let what reads the node's output read a value that is there already; whether that can be."""
        old = self.output
        if old.is_graph_output() or self.quantized(old):
            return False
        old.replace_all_uses_with(value)
        self.work.editor.drop([self.node])
        return True

    def _base(self) -> str:
        return name_of(self.output) or self.node.op_type.lower()

    def _graph(self) -> ir.Graph:
        graph = self.node.graph
        assert isinstance(graph, ir.Graph)
        return graph
