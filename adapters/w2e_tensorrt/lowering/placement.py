"""Which values keep their quantization, and with which scale.

TensorRT fuses Q/DQ into the operator behind it; where no such operator stands, a pair only costs time. So a
value stays quantized where a weighted operator, an addition, a pooling or a concatenation reads it, be it
through operators that only move numbers. NVIDIA, "Working with quantized types": Q/DQ placement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import STANDARD, is_weight, name_of
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization
from w2e_bridge.loss import Grade, TensorLoss
from w2e_tensorrt.lowering.shifting import Shift, move, reason, shifts_of
from w2e_tensorrt.ranges import INT8, error_of, quantization, symmetric

WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
READERS = WEIGHTED | {
    "Add", "AveragePool", "GlobalAveragePool", "Concat", "MaxPool", "ReduceMean", "Resize",
}  # fmt: skip
"""Operators that compute on codes."""

MOVING = frozenset(
    {
        "DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Operators that move numbers: TensorRT swaps Q/DQ with them."""

ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})
"""What is fused behind a convolution."""


@dataclass(slots=True, kw_only=True)
class Placement:
    """Decides for one graph.

    Attributes:
        values: quantization of the source's values.
        kept: what stays, symmetric.
        losses: a row for each of the source's.
        shifts: values of `kept` that are quantized less a constant, in the graph's order.
    """

    values: Mapping[str, ActivationQuantization]
    kept: dict[str, ActivationQuantization] = field(default_factory=dict)
    losses: list[TensorLoss] = field(default_factory=list)
    shifts: list[tuple[ir.Value, Shift]] = field(default_factory=list)

    def run(self, model: ir.Model) -> None:
        """Decide on every value, then move what can be moved and give the inputs of each Concat one scale."""
        known = {name_of(value): value for graph in model.graphs() for value in _values(graph)}
        for name, found in self.values.items():
            value = known.get(name)
            if value is not None:
                self.decide(name, value, found)
        self.shift(model)
        for graph in model.graphs():
            for node in graph:
                if node.op_type == "Concat" and node.domain in STANDARD:
                    self.join(node)

    def decide(self, name: str, value: ir.Value, found: ActivationQuantization) -> None:
        """Keep or drop one."""
        said = f"{found.codes}"
        if found.mode is ActivationMode.DYNAMIC or found.scale is None:
            reason = "scales of activations are known when the engine is built, or there are none"
            self.losses.append(_dropped(name, f"dynamic {said}", reason))
            return
        problem = self.problem(value)
        if problem:
            self.losses.append(_dropped(name, said, problem))
            return
        if np.size(found.scale) != 1:
            self.decide_channels(name, found)
            return
        scale, loss = symmetric(name, found)
        if not scale > 0 or scale == float("inf"):
            self.losses.append(_dropped(name, said, f"a scale of {scale}"))
            return
        self.kept[name] = quantization(scale)
        self.losses.append(loss)

    def decide_channels(self, name: str, found: ActivationQuantization) -> None:
        """Keep one of a scale for each channel where the codes are symmetric already."""
        said, scale = f"{found.codes}", np.asarray(found.scale)
        positive = bool(((scale > 0) & np.isfinite(scale)).all())
        around = found.zero_point is None or not np.any(found.zero_point)
        if found.codes == INT8 and positive and around:
            row = TensorLoss(name=name, source_encoding=said, encoding=said, grade=Grade.EXACT)
            self.kept[name], loss = found, row
        else:
            loss = _dropped(
                name, said, "channels whose zero points or scales TensorRT does not have"
            )
        self.losses.append(loss)

    def shift(self, model: ir.Model) -> None:
        """Where products read a value, take its zero point into their biases."""
        for value, shift in shifts_of(model, self.values, self.kept):
            self.shifts.append((value, shift))
            for same in (value, *shift.moved):
                if name_of(same) in self.kept:
                    self.kept[name_of(same)] = quantization(shift.scale)
                    self._told(name_of(same), Grade.EXACT, reason(shift))

    def held(self) -> dict[str, ActivationQuantization]:
        """The range that each value is held to: its own where it is moved, as what is quantized is moved too."""
        moved = {name_of(v) for value, shift in self.shifts for v in (value, *shift.moved)}
        return {
            name: self.values.get(name, q) if name in moved else q for name, q in self.kept.items()
        }

    def move(self, editor: Editor) -> None:
        """Edit the graph for the values that are moved; what is kept has their new names then."""
        for value, shift in self.shifts:
            old = name_of(value)
            self.kept[name_of(move(editor, value, shift))] = self.kept.pop(old)

    def problem(self, value: ir.Value) -> str:
        """Why a value is better left alone, or nothing."""
        readers = list(behind(value))
        if not any(_computes(node) for node in readers):
            return "nothing behind it computes on codes"
        maker = value.producer()
        if maker is None or maker.op_type not in WEIGHTED:
            return ""
        users = [user for user, _ in value.uses()]
        if all(user.op_type in ACTIVATIONS for user in users):
            return "the activation behind is fused, and quantized itself"
        if len(users) == 1 and users[0].op_type == "Add" and self.other(users[0], value):
            return "the addition behind is fused, its other branch is quantized"
        return ""

    def other(self, add: ir.Node, value: ir.Value) -> bool:
        """Whether the other operand of an addition stays quantized."""
        others = [operand for operand in add.inputs if operand is not None and operand is not value]
        for operand in others:
            if is_weight(operand):
                return True
            maker = operand.producer()
            fused = (
                maker is not None
                and maker.op_type in WEIGHTED
                and name_of(operand) < name_of(value)
            )
            if name_of(operand) in self.values and not fused:
                return True
        return False

    def join(self, node: ir.Node) -> None:
        """Give what only a Concat reads the scale of what the Concat makes."""
        output = self.kept.get(name_of(node.outputs[0]))
        operands = [value for value in node.inputs if value is not None]
        inputs = [value for value in operands if _single(self.kept.get(name_of(value)))]
        if output is not None and not _single(output):
            return
        for value in inputs:
            if any(user is not node for user, _ in value.uses()):
                continue
            name = name_of(value)
            if output is None:
                del self.kept[name]
                self._told(name, Grade.FLOAT, "what the Concat makes is not quantized")
            elif not _same_scale(output, self.kept[name]):
                self.kept[name] = output
                self._told(name, Grade.REQUANTIZED, "one scale for all inputs of the Concat")

    def _told(self, name: str, grade: Grade, reason: str) -> None:
        """Say something else of a value, with the error that it has now."""
        held, own = self.kept.get(name), self.values.get(name)
        error = step = 0.0
        if grade is Grade.REQUANTIZED and held is not None and own is not None:
            error = error_of(own, _scale(held))
            step = float(_scale(own))
        new = {"grade": grade, "reason": reason, "max_abs_error": error}
        new["max_error_steps"] = error / step if step > 0 else 0.0
        self.losses = [replace(row, **new) if row.name == name else row for row in self.losses]  # type: ignore[arg-type]


def _scale(found: ActivationQuantization) -> np.float32:
    return np.float32(np.reshape(np.asarray(found.scale), ()))


def _single(found: ActivationQuantization | None) -> bool:
    return found is not None and np.size(np.asarray(found.scale)) == 1


def _same_scale(a: ActivationQuantization, b: ActivationQuantization) -> bool:
    return np.array_equal(np.asarray(a.scale), np.asarray(b.scale))


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _computes(node: ir.Node) -> bool:
    if node.op_type == "Add":
        return not any(value is not None and is_weight(value) for value in node.inputs)
    return node.domain in STANDARD and node.op_type in READERS


def behind(value: ir.Value) -> Iterator[ir.Node]:
    """What reads a value, through what moves it."""
    todo, seen = [value], {value}
    while todo:
        for user, _ in todo.pop().uses():
            yield user
            if user.op_type in MOVING:
                new = [output for output in user.outputs if output not in seen]
                seen.update(new)
                todo += new


def _dropped(name: str, said: str, reason: str) -> TensorLoss:
    return TensorLoss(
        name=name, source_encoding=said, encoding="float32", grade=Grade.FLOAT, reason=reason
    )
