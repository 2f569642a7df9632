"""Between which numbers a value lies, as far as operators of single numbers and the ranges before them say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD, attribute_of, given, is_weight, name_of
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.tensor import Tensor

Interval = tuple[float, float]
SMALL = 1 << 16
"""Constants of more elements are not looked at."""

FIXED: Mapping[str, Interval] = {
    "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0),
    "Sin": (-1.0, 1.0), "Cos": (-1.0, 1.0), "Softsign": (-1.0, 1.0), "Erf": (-1.0, 1.0),
}  # fmt: skip
"""Operators whose results lie there, whatever they read."""

KEEPING = frozenset(
    {"AveragePool", "DepthToSpace", "Expand", "Flatten", "Gather", "GlobalAveragePool",
     "GlobalMaxPool", "Identity", "MaxPool", "ReduceMax", "ReduceMean", "ReduceMin", "Reshape",
     "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
"""Operators whose results are among, or between, the numbers of their first operand."""

PAIRS: Mapping[str, Callable[[Interval, Interval], Interval]] = {
    "Add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "Sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "Mul": lambda a, b: (
        min(x * y for x in a for y in b),
        max(x * y for x in a for y in b),
    ),
    "Max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "Min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
}
"""Operators of two numbers."""

SINGLES: Mapping[str, Callable[[Interval], Interval]] = {
    "Relu": lambda a: (max(a[0], 0.0), max(a[1], 0.0)),
    "Neg": lambda a: (-a[1], -a[0]),
    "Abs": lambda a: (max(0.0, a[0], -a[1]), max(-a[0], a[1])),
    "Exp": lambda a: (float(np.exp(min(a[0], 88.0))), float(np.exp(min(a[1], 88.0)))),
    "Sqrt": lambda a: (max(a[0], 0.0) ** 0.5, max(a[1], 0.0) ** 0.5),
}
"""Operators of one number."""


def range_of(found: ActivationQuantization | None) -> Interval | None:
    """The numbers between which a static integer quantization of a whole tensor holds a value."""
    if found is None or found.mode is not ActivationMode.STATIC or found.scale is None:
        return None
    if not isinstance(found.codes, Integer) or found.granularity is not Granularity.TENSOR:
        return None
    scale = float(np.reshape(found.scale, ()))
    zero = 0 if found.zero_point is None else int(np.reshape(found.zero_point, ()))
    low, high = scale * (found.codes.low - zero), scale * (found.codes.high - zero)
    return (low, high) if 0 < scale < np.inf else None


@dataclass(slots=True, kw_only=True)
class Bounds:
    """Intervals of the values of a model, asked for in the order of its nodes.

    Attributes:
        tensors: its constants.
        known: of values.
    """

    tensors: Mapping[str, Tensor]
    known: dict[ir.Value, Interval | None] = field(default_factory=dict)

    def of(self, value: ir.Value | None) -> Interval | None:
        """Of an operand: what is noted, or what a constant says."""
        if value is None:
            return None
        if value not in self.known:
            self.known[value] = self._constant(value)
        return self.known[value]

    def result(self, node: ir.Node) -> Interval | None:
        """Of what a node makes, before any rounding."""
        if node.domain not in STANDARD:
            return None
        own = {"Clip": self._clip, "Concat": self._concat, "Pad": self._pad}.get(node.op_type)
        if own is not None:
            return own(node)
        first = self.of(given(node, 0))
        return FIXED.get(node.op_type) or (None if first is None else self._computed(node, first))

    def _computed(self, node: ir.Node, first: Interval) -> Interval | None:
        op = node.op_type
        if op in SINGLES:
            return SINGLES[op](first)
        if op in PAIRS:
            second = self.of(given(node, 1)) if len(node.inputs) == 2 else None
            return None if second is None else PAIRS[op](first, second)
        between = op == "Resize" and attribute_of(node, "mode") in (None, "nearest", "linear")
        return first if op in KEEPING or between else None

    def _concat(self, node: ir.Node) -> Interval | None:
        return _hull([self.of(value) for value in node.inputs])

    def _pad(self, node: ir.Node) -> Interval | None:
        if attribute_of(node, "mode") not in (None, "constant"):
            return self.of(given(node, 0))
        filled = given(node, 2)
        return _hull([self.of(given(node, 0)), (0.0, 0.0) if filled is None else self.of(filled)])

    def _clip(self, node: ir.Node) -> Interval | None:
        low, high = (self.of(given(node, slot)) for slot in (1, 2))
        first = self.of(given(node, 0)) or (-np.inf, np.inf)
        bottom = first[0] if low is None else max(first[0], low[0])
        top = first[1] if high is None else min(first[1], high[1])
        return (bottom, top) if np.isfinite([bottom, top]).all() else None

    def _constant(self, value: ir.Value) -> Interval | None:
        tensor = self.tensors.get(name_of(value)) if is_weight(value) else None
        if tensor is not None:
            fits = 0 < tensor.elements <= SMALL and tensor.dtype.startswith(("float", "bfloat"))
            return _ends(tensor.dequantize()) if fits else None
        data = value.const_value
        if data is None or is_weight(value) or data.size == 0 or data.size > SMALL:
            return None
        return _ends(np.asarray(data.numpy(), np.float64))


def _ends(array: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> Interval | None:
    low, high = float(array.min()), float(array.max())
    return (low, high) if np.isfinite([low, high]).all() else None


def _hull(found: list[Interval | None]) -> Interval | None:
    known = [interval for interval in found if interval is not None]
    if not known or len(known) < len(found):
        return None
    return min(low for low, _ in known), max(high for _, high in known)
