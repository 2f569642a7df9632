"""An operator of several operands, each with a scale of its own: by its rule, and by LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import w2e_bridge
from tests.w2e_onnx.litert.harness import Data, lowered, model_of, run
from tests.w2e_tflite import maker
from w2e_bridge.kernels.operation import Attribute

Array = NDArray[Any]

VERSIONS = {
    "ADD": 2, "SUB": 2, "MUL": 2, "DIV": 2, "MAXIMUM": 2, "MINIMUM": 2, "SQUARED_DIFFERENCE": 2,
    "RELU": 2, "RELU6": 2, "LEAKY_RELU": 2, "QUANTIZE": 2, "DEQUANTIZE": 2, "EQUAL": 2,
    "NOT_EQUAL": 2, "LESS": 2, "LESS_EQUAL": 2, "GREATER": 2, "GREATER_EQUAL": 2, "PACK": 2,
    "CONCATENATION": 2,
}  # fmt: skip
"""Versions of operators that both kernel sets have, for codes."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """An operator.

    Attributes:
        kind: of it.
        operands: with their arrays.
        output: its description.
        attributes: of the operation, the options of the operator.
    """

    kind: str
    operands: Sequence[Data]
    output: Data
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def file(self) -> bytes:
        """The operator as TensorFlow Lite has it."""
        inputs = [_spec(f"x{i}", data) for i, data in enumerate(self.operands)]
        output = _spec("y0", self.output)
        with patch.dict(maker.RAISED, VERSIONS):
            return maker.one_op(self.kind.upper(), inputs, [], [output], self.attributes)

    def values(self) -> list[Array]:
        """What varies."""
        return [d.array for d in self.operands if not d.constant and d.array is not None]

    def check(self, *, reference: bool, optimize: Sequence[bool] = (True, False)) -> list[str]:
        """Both give the same; the operators of the rule's body."""
        want = maker.litert(self.file(), self.values(), reference=reference)[0][0]
        model = model_of(self.kind, self.operands, [self.output], self.attributes)
        data, emitter = lowered(model, reference=reference)
        assert not emitter.fallbacks, emitter.fallbacks
        feeds = {f"x{i}": d.array for i, d in enumerate(self.operands) if d.array is not None}
        for level in optimize:
            got = run(data, feeds, optimize=level)[0]
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)
        bodies = [f for name, f in emitter.functions.items() if name.startswith(self.kind)]
        return [node.op_type for node in bodies[0] if node.op_type != "Constant"]

    def check_back(self, folder: Path) -> None:
        """As ONNX and back to TensorFlow Lite, both kernel sets give what they gave."""
        data = self.file()
        (folder / "there.tflite").write_bytes(data)
        w2e_bridge.convert(folder / "there.tflite", to="onnx", out=folder / "there.onnx")
        w2e_bridge.convert(folder / "there.onnx", to="tflite", out=folder / "back.tflite")
        back = (folder / "back.tflite").read_bytes()
        for reference in (False, True):
            mine, theirs = (
                maker.litert(file, self.values(), reference=reference)[0][0]
                for file in (back, data)
            )
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


def _spec(name: str, data: Data) -> maker.Spec:
    shape = tuple(n for n in data.extents() if isinstance(n, int))
    held = data.array if data.constant else None
    scale = None if data.scale is None else float(np.asarray(data.scale))
    zero = int(np.asarray(data.zero_point))
    return maker.Spec(name, shape, data.type, scale=scale, zero=zero, data=held)


def codes(
    array: Array, scale: float, zero: int = 0, *, constant: bool = False, as_: str | None = None
) -> Data:
    """An operand of codes; of zero points the distance from the least code of 8 bits."""
    dtype = as_ or str(array.dtype)
    point = 0 if dtype == "int16" else zero + int(np.iinfo(dtype).min)
    return Data(
        type=dtype, array=array.astype(dtype), scale=scale, zero_point=point, constant=constant
    )


def result(dtype: str, shape: Sequence[int], scale: float, zero: int = 0) -> Data:
    """An output of codes."""
    point = 0 if dtype == "int16" else zero + int(np.iinfo(dtype).min)
    return Data(type=dtype, shape=tuple(shape), scale=scale, zero_point=point)


def truth(shape: Sequence[int]) -> Data:
    """An output of truth values."""
    return Data(type="bool", shape=tuple(shape))


def all_pairs(dtype: str) -> tuple[Array, Array]:
    """All pairs of 8-bit codes; of 16 bits some, the ends among them."""
    info = np.iinfo(dtype)
    if dtype == "int16":
        random = np.random.default_rng(0)
        a, b = random.integers(info.min, info.max, (2, 4096), dtype=np.int16, endpoint=True)
        a[:4], b[:4] = [info.min, info.max, 0, info.min], [info.min, info.max, 0, info.max]
        return a.reshape(64, 64), b.reshape(64, 64)
    every = np.arange(info.min, info.max + 1)
    return (
        np.repeat(every, 256).astype(dtype).reshape(256, 256),
        np.tile(every, 256).astype(dtype).reshape(256, 256),
    )


def every(dtype: str, count: int | None = None) -> Array:
    """All codes, or the first so many of them."""
    info = np.iinfo(dtype)
    return np.arange(info.min, info.max + 1).astype(dtype)[:count]
