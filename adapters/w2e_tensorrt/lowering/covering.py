"""Symmetric ranges for the values of a graph: what a builder with implicit quantization is told.

TensorRT up to 10 quantizes where it likes, and only between values whose ranges it knows (NVIDIA TensorRT 10
developer guide, "Setting Per-Tensor Dynamic Range"): so every range that is known is said, also where no
product reads it, and none is moved off its value as explicit quantization has it. A layer one of whose
values has no range falls back to floats; what follows from the known ranges without a loss is said too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import ml_dtypes
import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD, given, is_weight, name_of
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import Grade, Ignored, TensorLoss
from w2e_tensorrt.lowering.kinds import floats_of
from w2e_tensorrt.ranges import amax_of, scale_of, symmetric

KEEPING = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice",
     "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
"""Operators whose results are among the numbers of their first operand, whatever those are."""

CUTTING = frozenset({"Relu", "Clip"})
"""Operators that cut off: rounding before and behind them is rounding behind them, since both are monotone."""

PRODUCTS = frozenset({"Conv", "ConvTranspose", "MatMul"})
"""Operators whose results are sums that a bias is added to."""


@dataclass(slots=True, kw_only=True)
class Covering:
    """The ranges of one graph.

    Attributes:
        values: quantization of the source's values.
        tensors: the graph's constants.
        scales: symmetric int8 by name, in the graph's order after `run`.
        derived: names of `scales` that the source says nothing of.
        losses: a row for each of the source's values.
        ignored: values of the source that the graph does not have.
        floats: the graph's float values.
    """

    values: Mapping[str, ActivationQuantization]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    scales: dict[str, np.float32] = field(default_factory=dict)
    derived: set[str] = field(default_factory=set)
    losses: list[TensorLoss] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)
    floats: frozenset[ir.Value] = frozenset()

    def run(self, model: ir.Model) -> None:
        """Find the range of every value."""
        self.floats = floats_of(model)
        order = [name_of(value) for graph in model.graphs() for value in values_of(graph)]
        known = set(order)
        for name, found in self.values.items():
            if name in known:
                self.cover(name, found)
            else:
                self.ignored.append(Ignored(name=name, reason="no value of the graph as written"))
        nodes = [node for graph in model.graphs() for node in graph if node.domain in STANDARD]
        self.onwards(nodes)
        while self.backwards(reversed(nodes)):
            self.onwards(nodes)
        self.scales = {name: self.scales[name] for name in order if name in self.scales}

    def cover(self, name: str, found: ActivationQuantization) -> None:
        """Note the range of one value, or why it has none."""
        said = f"{found.codes}"
        if found.mode is ActivationMode.DYNAMIC or found.scale is None:
            self._without(name, f"dynamic {said}", "its scale is known at run time only")
            return
        if np.size(found.scale) != 1 or not isinstance(found.codes, Integer | Float):
            self._without(name, said, "no single scale for the whole value")
            return
        scale, loss = _covered(name, found)
        if not 0 < scale < np.inf:
            self._without(name, said, f"a scale of {scale}")
            return
        self.scales[name] = scale
        self.losses.append(loss)

    def onwards(self, nodes: list[ir.Node]) -> None:
        """Carry ranges through operators that compute no new numbers; Relu keeps those that it does not cut."""
        for node in nodes:
            source = given(node, 0)
            if source is None or name_of(source) not in self.scales:
                continue
            if node.op_type in KEEPING or node.op_type == "Relu":
                for output in results(node):
                    self._derive(output, self.scales[name_of(source)])

    def backwards(self, nodes: Iterator[ir.Node]) -> bool:
        """Carry ranges to what is read by nothing but such an operator, or a sum; whether there was any."""
        before = len(self.scales)
        for node in nodes:
            if node.op_type == "Add":
                self.summed(node)
            source = given(node, 0)
            if node.op_type not in KEEPING | CUTTING or source is None or not _inner(source):
                continue
            read = [name_of(output) for output in results(node) if output.uses() or _public(output)]
            found = {self.scales[name].tobytes() for name in read if name in self.scales}
            if len(found) == 1 and all(name in self.scales for name in read):
                self._derive(source, self.scales[read[0]])
        return len(self.scales) > before

    def summed(self, node: ir.Node) -> None:
        """Cover what a bias is added to: beyond the sum's range and the largest bias the sum is cut off anyway."""
        total = self.scales.get(name_of(node.outputs[0]))
        for value, bias in (node.inputs[:2], node.inputs[1::-1]):
            if total is None or value is None or bias is None or not _inner(value):
                continue
            maker, tensor = value.producer(), self.tensors.get(name_of(bias))
            if maker is not None and maker.op_type in PRODUCTS and is_weight(bias) and tensor:
                largest = float(np.abs(tensor.dequantize()).max(initial=0.0))
                self._derive(value, scale_of(amax_of(total) + largest))

    def _derive(self, value: ir.Value, scale: np.float32) -> None:
        name = name_of(value)
        if name and name not in self.scales and value in self.floats:
            self.scales[name] = scale
            self.derived.add(name)

    def _without(self, name: str, said: str, reason: str) -> None:
        self.losses.append(
            TensorLoss(
                name=name,
                source_encoding=said,
                encoding="float32",
                grade=Grade.FLOAT,
                reason=f"no range: {reason}",
            )
        )


def _covered(name: str, found: ActivationQuantization) -> tuple[np.float32, TensorLoss]:
    """The scale of a value, and what it costs; the error is that of rounding once more."""
    if isinstance(found.codes, Float):
        return _of_floats(name, found, found.codes)
    scale, loss = symmetric(name, found)
    if loss.grade is Grade.EXACT:
        return scale, loss
    step = float(np.reshape(np.asarray(found.scale), ()))
    error = float(scale) / 2
    return scale, replace(
        loss, max_abs_error=error, max_error_steps=error / step if step > 0 else 0.0
    )


def _of_floats(
    name: str, found: ActivationQuantization, codes: Float
) -> tuple[np.float32, TensorLoss]:
    """Minifloats, whose largest number bounds the range."""
    largest = float(ml_dtypes.finfo(codes.name).max)  # type: ignore[no-untyped-call]
    scale = scale_of(largest * float(np.reshape(np.asarray(found.scale), ())))
    return scale, TensorLoss(
        name=name,
        source_encoding=f"{codes}",
        encoding="int8",
        grade=Grade.REQUANTIZED,
        max_abs_error=float(scale) / 2,
        reason=f"a symmetric range that covers {largest:g} scales",
    )


def values_of(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs and results of nodes."""
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def results(node: ir.Node) -> list[ir.Value]:
    """What an operator makes of its first operand; the second result of others is places, no numbers."""
    return list(node.outputs if node.op_type == "Split" else node.outputs[:1])


def _inner(value: ir.Value) -> bool:
    """Whether one operator reads a value, and nothing else does."""
    return not is_weight(value) and not _public(value) and len(list(value.uses())) == 1


def _public(value: ir.Value) -> bool:
    return value.is_graph_output()
