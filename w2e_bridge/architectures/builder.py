"""Appends nodes to a graph and hands out weights by role; knows which tensors it has handed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.architectures.config import Config
from w2e_bridge.graph import functions
from w2e_bridge.graph.weights import weight
from w2e_bridge.ir.tensor import Tensor

IR_VERSION = 11
"""The first that knows opset 23."""

FLOATS = frozenset({"float64", "float32", "float16", "bfloat16"})
"""Logical types of weights that the graph computes with as float32."""

Dimension = int | str
Attribute = int | float | str | Sequence[int]


@dataclass(slots=True, kw_only=True)
class Builder:
    """A graph that grows.

    Attributes:
        config: the network.
        tensors: of the source, by name.
        model: the graph so far.
        used: the tensors that the graph refers to, in the order in which it asked for them.
        spent: names of source tensors whose numbers went into others, with what they became.
    """

    config: Config
    tensors: Mapping[str, Tensor]
    model: ir.Model = field(init=False)
    used: dict[str, Tensor] = field(default_factory=dict)
    spent: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = ir.Graph(
            [], [], nodes=[], opset_imports={"": functions.OPSET}, name=self.config.family.names[0]
        )
        self.model = ir.Model(graph, ir_version=IR_VERSION, producer_name="w2e-bridge")

    @property
    def graph(self) -> ir.Graph:
        """The graph so far."""
        return self.model.graph

    def input(self, name: str, kind: ir.DataType, shape: Sequence[Dimension]) -> ir.Value:
        """A new input of the graph."""
        value = ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shape))
        self.graph.inputs.append(value)
        return value

    def output(self, value: ir.Value, kind: ir.DataType, shape: Sequence[Dimension]) -> None:
        """Make a value an output of the graph."""
        value.type, value.shape = ir.TensorType(kind), ir.Shape(shape)
        self.graph.outputs.append(value)

    def nodes(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        names: Sequence[str],
        attributes: Mapping[str, Attribute],
        domain: str = "",
    ) -> Sequence[ir.Value]:
        """A node, named as its first output; its outputs."""
        outputs = [ir.Value(name=name) for name in names]
        made = ir.node(op, inputs, attributes, domain=domain, outputs=outputs, name=names[0])
        self.graph.append(made)
        return made.outputs

    def node(
        self, op: str, inputs: Sequence[ir.Value | None], name: str, **attributes: Attribute
    ) -> ir.Value:
        """A node with one output of its name."""
        return self.nodes(op, inputs, [name], attributes)[0]

    def call(
        self, function: str, inputs: Sequence[ir.Value], name: str, **attributes: int
    ) -> ir.Value:
        """A call of a function of the domain `w2e`."""
        functions.declare(self.model, function)
        return self.nodes(function, inputs, [name], attributes, functions.DOMAIN)[0]

    def constant(self, name: str, values: NDArray[np.generic]) -> ir.Value:
        """Numbers that are part of the computation, one initializer for each name."""
        if name not in self.graph.initializers:
            data = ir.tensor(values, name=name)
            kind, shape = ir.TensorType(data.dtype), ir.Shape(values.shape)
            made = ir.Value(name=name, type=kind, shape=shape, const_value=data)
            self.graph.register_initializer(made)
        return self.graph.initializers[name]

    def number(self, name: str, value: float) -> ir.Value:
        """A float32 scalar."""
        return self.constant(name, np.array(value, np.float32))

    def has(self, role: str) -> bool:
        """Whether the source has a tensor of this role."""
        return role in self.config.architecture.roles

    def named(self, role: str) -> Tensor:
        """The source's tensor of a role."""
        name = self.config.architecture.roles.get(role)
        if name is None:
            raise self.config.refusal(f"the network needs a tensor '{role}', and there is none")
        if name not in self.tensors:
            raise self.config.refusal(f"expected a tensor as '{role}', found none", name)
        return self.tensors[name]

    def weight(self, role: str, shape: tuple[int, ...]) -> ir.Value:
        """The initializer of a role, after its shape was checked."""
        tensor = self.named(role)
        self.check(tensor, role, shape)
        return self.own(tensor)

    def factor(self, role: str) -> ir.Value:
        """The initializer of a role that is one number."""
        tensor = self.named(role)
        if tensor.elements != 1:
            self.check(tensor, role, (1,))
        return self.own(tensor)

    def check(self, tensor: Tensor, role: str, shape: tuple[int, ...]) -> None:
        """Refuse a tensor that is not what the network needs."""
        if tensor.shape != shape:
            problem = f"expected shape {list(shape)} as '{role}', found {list(tensor.shape)}"
            raise self.config.refusal(problem, tensor.name)
        if tensor.dtype not in FLOATS:
            problem = f"expected float numbers as '{role}', found {tensor.dtype}"
            raise self.config.refusal(problem, tensor.name)

    def own(self, tensor: Tensor) -> ir.Value:
        """The initializer of any tensor; the graph computes with it as float32."""
        kept = self.used.setdefault(tensor.name, replace(tensor, dtype="float32"))
        return weight(self.graph, kept)
