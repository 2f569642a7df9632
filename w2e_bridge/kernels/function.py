"""Bodies of model-local functions that differ from call to call: with loops inside, and a name of their own.

A function of domain `w2e` that computes an operator with many variants is called `Name__digest`; a kind
that has "w2e::Name" among its roots is asked about all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.graph.functions import DOMAIN, OPSET

VARIANT = "__"
"""What stands between a function's name and the digest of its body."""


Step = Callable[[tuple[ir.Value, ...], ir.Value], tuple[tuple[ir.Value, ...], ir.Value]]
"""States and a slice to the next states and a result."""


@dataclass(slots=True, kw_only=True)
class Functional:
    """A body in the making.

    Attributes:
        nodes: so far; of the loop that is being written, inside of `loop`.
    """

    nodes: list[ir.Node] = field(default_factory=list)
    _count: int = 0

    def add(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
    ) -> ir.Value:
        """Append a standard node of one output."""
        return self.add_many(op, inputs, attributes, 1)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None,
        count: int,
    ) -> tuple[ir.Value, ...]:
        """Append a standard node of several outputs."""
        made = ir.node(op, inputs, attributes or {}, num_outputs=count)  # type: ignore[arg-type]
        for output in made.outputs:
            output.name = self.fresh(op.lower())
        made.name = f"{made.outputs[0].name}_node"
        self.nodes.append(made)
        return tuple(made.outputs)

    def fresh(self, name: str) -> str:
        """A name that nothing in the body has."""
        self._count += 1
        return f"{name}_{self._count}"

    def formal(self, name: str) -> ir.Value:
        """A value that is given: to the body of a loop."""
        return ir.Value(name=self.fresh(name))

    def literal(self, array: NDArray[np.generic] | np.generic) -> ir.Value:
        """A constant."""
        return self.add("Constant", [], {"value": ir.tensor(np.asarray(array))})

    def real(self, number: float) -> ir.Value:
        """A float32 number."""
        return self.literal(np.float32(number))

    def joined(self, values: Sequence[ir.Value], axis: int = 0) -> ir.Value:
        """Several values behind each other."""
        return values[0] if len(values) == 1 else self.add("Concat", values, {"axis": axis})

    def split(self, value: ir.Value, count: int) -> tuple[ir.Value, ...]:
        """Equal parts of the last axis."""
        if count == 1:
            return (value,)
        return self.add_many("Split", [value], {"axis": -1, "num_outputs": count}, count)

    @contextmanager
    def loop(self) -> Iterator[list[ir.Node]]:
        """Nodes that are added inside go to a list of their own."""
        outer, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = outer

    def over(
        self,
        step: Step,
        begin: Sequence[ir.Value],
        sequence: ir.Value,
        *,
        backward: bool = False,
    ) -> tuple[tuple[ir.Value, ...], ir.Value]:
        """Append a loop over the first axis of a sequence: a Scan.

        Args:
            step: one step.
            begin: what the states begin with.
            sequence: what is handed to the steps, slice by slice.
            backward: from the last slice to the first.

        Returns:
            The states at the end, and the steps' results, stacked.
        """
        states = [self.formal("state") for _ in begin]
        part = self.formal("part")
        with self.loop() as nodes:
            after, result = step(tuple(states), part)
            outputs: list[ir.Value] = []
            for value in (*after, result):  # every output has a name of its own
                outputs.append(self.add("Identity", [value]) if value in outputs else value)
        graph = ir.Graph(
            [*states, part], outputs, nodes=nodes, opset_imports={"": OPSET}, name="step"
        )
        attributes: dict[str, object] = {"body": graph, "num_scan_inputs": 1}
        if backward:
            attributes |= {"scan_input_directions": [1], "scan_output_directions": [1]}
        *last, every = self.add_many("Scan", [*begin, sequence], attributes, len(outputs))
        return tuple(last), every

    def unrolled(
        self,
        step: Step,
        begin: Sequence[ir.Value],
        sequence: ir.Value,
        count: int,
        *,
        backward: bool = False,
    ) -> tuple[tuple[ir.Value, ...], ir.Value]:
        """Append so many steps one after another: as `over`, where their number is known and small.

        States get the sequence's leading axis, of extent 1, by broadcasting.
        """
        slices = [sequence]
        if count > 1:
            split = {"axis": 0, "num_outputs": count}
            slices = list(self.add_many("Split", [sequence], split, count))
        states, results = tuple(begin), []
        for part in reversed(slices) if backward else slices:
            states, result = step(states, part)
            results.append(result)
        axis = self.literal(np.asarray([0], np.int64))
        last = tuple(self.add("Squeeze", [state, axis]) for state in states)
        return last, self.joined(results[::-1] if backward else results)

    def finish(
        self,
        name: str,
        inputs: Sequence[ir.Value],
        outputs: Sequence[ir.Value],
        attributes: Mapping[str, object],
    ) -> ir.Function:
        """The function, named after its body.

        Args:
            name: of all its variants.
            inputs: formal.
            outputs: values of the body or formal inputs.
            attributes: of the call; the body may read them or not.
        """
        made = {output for node in self.nodes for output in node.outputs}
        own: list[ir.Value] = []
        for value in outputs:
            fine = value in made and value not in own
            own.append(value if fine else self.add("Identity", [value]))
        said = repr(([described(node) for node in self.nodes], [v.name for v in own]))
        digest = hashlib.sha256(said.encode()).hexdigest()[:12]
        graph = ir.Graph(
            inputs,
            own,
            nodes=self.nodes,
            opset_imports={"": OPSET},
            name=f"{name}{VARIANT}{digest}",
        )
        declared = [ir.Attr(key, kind_of(value), None) for key, value in attributes.items()]
        return ir.Function(DOMAIN, graph.name or name, graph=graph, attributes=declared)


def kind_of(value: object) -> ir.AttributeType:
    """The ONNX type of an attribute."""
    first = value[0] if isinstance(value, tuple | list) else value
    scalar = {bool: "INT", int: "INT", float: "FLOAT", str: "STRING", bytes: "STRING"}[type(first)]
    return ir.AttributeType[scalar + "S" if isinstance(value, tuple | list) else scalar]


def described(node: ir.Node) -> list[object]:
    """What tells one node from another, its bodies included."""
    return [
        node.domain,
        node.op_type,
        [None if value is None else value.name for value in node.inputs],
        [value.name for value in node.outputs],
        {name: _described(node.attributes[name]) for name in sorted(node.attributes)},
    ]


def _described(attribute: ir.Attr) -> object:
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return [str(tensor.dtype), list(tensor.numpy().shape), tensor.tobytes().hex()]
    if attribute.type == ir.AttributeType.GRAPH:
        graph = attribute.as_graph()
        ends = [[value.name for value in side] for side in (graph.inputs, graph.outputs)]
        return [ends, [described(node) for node in graph]]
    return str(attribute.value)


def plain_attributes(attributes: Mapping[str, object]) -> dict[str, object]:
    """Attributes as a node has them: truth values and bytes as numbers, no empty lists."""
    plain = {key: _plain(value) for key, value in sorted(attributes.items())}
    return {key: value for key, value in plain.items() if value not in ((), [])}


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    return tuple(value) if isinstance(value, bytes) else value
