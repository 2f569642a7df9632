"""One operator with codes of one scale: by its rule through ONNX Runtime, and by LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import w2e_bridge
from tests.w2e_onnx.litert.harness import Data, lowered, model_of, operation
from tests.w2e_tflite import maker
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.scope import Scope

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """An operator of one operand of codes, and int32 constants.

    Attributes:
        kind: of it.
        x: codes.
        scale, zero: of the operand, then of the output.
        shape: of the output, if not the operand's.
        dtype: of the output, if not the operand's.
        constants: int32 operands.
        attributes: of the operator.
    """

    kind: str
    x: Array
    scale: tuple[float, float]
    zero: tuple[int, int] = (0, 0)
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    constants: Sequence[Any] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    def litert(self, *, reference: bool) -> Array:
        """What LiteRT computes."""
        x = maker.Spec("x", self.x.shape, str(self.x.dtype), scale=self.scale[0], zero=self.zero[0])
        shape, dtype = self.shape or self.x.shape, self.dtype or str(self.x.dtype)
        scale = None if self.dtype else self.scale[1]
        y = maker.Spec("y", shape, dtype, scale=scale, zero=self.zero[1])
        constants = [maker.const(f"c{i}", c, "int32") for i, c in enumerate(self.constants)]
        with patch.dict(maker.RAISED, {"SOFTMAX": 3}):  # the reference kernels' latest
            data = maker.one_op(self.kind.upper(), [x], constants, [y], self.attributes)
        return maker.litert(data, [self.x], reference=reference)[0][0]

    def data(self) -> tuple[list[Data], list[Data]]:
        """Operands and outputs."""
        x = Data(type=str(self.x.dtype), array=self.x, scale=self.scale[0], zero_point=self.zero[0])
        y = Data(
            type=self.dtype or str(self.x.dtype),
            shape=self.shape or self.x.shape,
            scale=None if self.dtype else self.scale[1],
            zero_point=self.zero[1],
        )
        constants = [
            Data(type="int32", array=np.asarray(c, np.int32), constant=True) for c in self.constants
        ]
        return [x, *constants], [y]

    def onnx(self, *, reference: bool, optimize: bool = True) -> Array:
        """What the rule's nodes compute."""
        operands, outputs = self.data()
        return operation(
            self.kind,
            operands,
            outputs,
            self.attributes,
            reference=reference,
            optimize=optimize,
        )[0]

    def back(self, folder: Path, *, reference: bool) -> Operation:
        """The one operation that the ONNX file is read as."""
        model = model_of(self.kind, *self.data(), self.attributes)
        data, emitter = lowered(model, reference=reference)
        assert not emitter.fallbacks
        (folder / "model.onnx").write_bytes(data)
        again = w2e_bridge.open(folder / "model.onnx")
        assert again.graph is not None
        scope = Scope(tensors=again.tensors, values=again.activations)
        steps = cover(again.graph.graph, scope)
        assert len(steps) == 1
        assert isinstance(steps[0], Operation)
        return steps[0]

    def check(self, *, reference: bool, optimize: Sequence[bool] = (True,)) -> None:
        """The same codes."""
        want = self.litert(reference=reference)
        for level in optimize:
            got = self.onnx(reference=reference, optimize=level)
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)


def every_code(dtype: str, least: int | None = None) -> Array:
    """A row of all codes, none below `least`."""
    info = np.iinfo(dtype)
    codes = np.arange(info.min, info.max + 1)
    return np.maximum(codes, info.min if least is None else least).astype(dtype)[None]


def some_codes(shape: Sequence[int], dtype: str, seed: int = 0) -> Array:
    """Random codes."""
    info = np.iinfo(dtype)
    random = np.random.default_rng(seed)
    return random.integers(info.min, info.max, tuple(shape), dtype=dtype, endpoint=True)
