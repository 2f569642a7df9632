"""Files of one operator that moves elements: read, lowered and run beside LiteRT, for any element type."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import ArrayLike, NDArray

import w2e_bridge
from tests.w2e_onnx.litert.harness import lowered, run
from tests.w2e_tflite import maker
from tests.w2e_tflite.maker import Spec, const, litert, one_op
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Constant, Operation
from w2e_bridge.kernels.scope import Scope

Array = NDArray[Any]
Shape = tuple[int, ...]

SCALES: Mapping[str, tuple[float, int]] = {
    "int8": (0.1, -7),
    "uint8": (0.1, 77),
    "int16": (0.01, 0),
}
VERSIONS = {"BROADCAST_TO": 3, "GATHER": 4, "EMBEDDING_LOOKUP": 4}
"""Versions below which LiteRT has no such operator, or fewer types."""


@dataclass(frozen=True, kw_only=True)
class X:
    """An operand that varies, of the element type that is asked for."""

    shape: Shape
    signature: Shape | None = None
    run: Shape | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """A constant of that type."""

    numbers: ArrayLike


@dataclass(frozen=True, kw_only=True)
class Given:
    """An operand that varies, of integers: bounds, shapes, indices."""

    numbers: ArrayLike
    dtype: str = "int32"


@dataclass(frozen=True, kw_only=True)
class As:
    """An output of a type of its own."""

    dtype: str
    shape: Shape


Operand = X | Held | Given | Sequence[Any] | int


@dataclass(frozen=True, kw_only=True)
class Moves:
    """An operator.

    Attributes:
        builtin: TensorFlow Lite's name.
        inputs: operands; plain numbers are int32 constants.
        outputs: shapes of outputs, -1 where they are free.
        options: of the operator.
        said: attributes that the operation must have when it is found again, the options if left out.
        kind: that it is found as, if another.
        comes_back_as: what it is at the end of the way to ONNX and back, if another.
        only: element types that LiteRT has.
        default_only: whether the reference kernels lack it.
    """

    builtin: str
    inputs: Sequence[Operand]
    outputs: Sequence[Shape | As]
    options: Mapping[str, Any] = field(default_factory=dict)
    said: Mapping[str, Any] | None = None
    kind: str | None = None
    comes_back_as: str | None = None
    only: Sequence[str] = ("float32", "int32", "int8", "uint8", "int16")
    default_only: bool = False

    def __str__(self) -> str:
        """A name for a test."""
        return self.builtin.lower()

    def file(self, dtype: str) -> bytes:
        """The operator for elements of a type."""
        inputs = [_spec(operand, dtype, f"x{i}") for i, operand in enumerate(self.inputs)]
        outputs = [_output(output, dtype, f"y{i}") for i, output in enumerate(self.outputs)]
        with patch.dict(maker.RAISED, VERSIONS):
            return one_op(self.builtin, inputs, [], outputs, self.options)

    def values(self, dtype: str, seed: int = 0) -> list[Array]:
        """What varies."""
        random = np.random.default_rng(seed)
        values: list[Array] = []
        for operand in self.inputs:
            if isinstance(operand, X):
                values.append(elements(operand.run or operand.shape, dtype, random))
            elif isinstance(operand, Given):
                values.append(np.asarray(operand.numbers, operand.dtype))
        return values

    def model(self, dtype: str) -> Model:
        """The file as it is read."""
        return opened(self.file(dtype))

    def check_found(self, dtype: str) -> None:
        """The nodes are read as the operation that they were built of."""
        operation = found(self.model(dtype))
        assert operation.kind == (self.kind or self.builtin.lower())
        attributes = {
            k: list(v) if isinstance(v, tuple) else v for k, v in operation.attributes.items()
        }
        for name, value in (self.options if self.said is None else self.said).items():
            assert attributes.get(name) == (list(value) if isinstance(value, tuple) else value), (
                name
            )

    def check_run(self, dtype: str, *, reference: bool, optimize: bool = True) -> None:
        """ONNX Runtime gives what LiteRT gives, codes and all."""
        data = self.file(dtype)
        model = opened(data)
        onnx, emitter = lowered(model, reference=reference)
        assert not emitter.fallbacks, emitter.fallbacks
        assert model.graph is not None
        values = self.values(dtype)
        feeds = dict(zip((name_of(v) for v in model.graph.graph.inputs), values, strict=True))
        got = run(onnx, feeds, optimize=optimize)
        want = litert(data, values, reference=reference)[0]
        for mine, theirs in zip(got, want, strict=True):
            assert mine.dtype == theirs.dtype
            if mine.dtype == np.float32:
                np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=2e-5)
            else:
                np.testing.assert_array_equal(mine, theirs)

    def check_back(self, dtype: str, folder: Path) -> None:
        """As ONNX and back to TensorFlow Lite, LiteRT gives the same."""
        data = self.file(dtype)
        (folder / "there.tflite").write_bytes(data)
        w2e_bridge.convert(folder / "there.tflite", to="onnx", out=folder / "there.onnx")
        w2e_bridge.convert(folder / "there.onnx", to="tflite", out=folder / "back.tflite")
        back = (folder / "back.tflite").read_bytes()
        kind = self.comes_back_as or self.kind or self.builtin.lower()
        assert found(opened(back)).kind == kind
        values = self.values(dtype)
        for mine, theirs in zip(litert(back, values)[0], litert(data, values)[0], strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


def elements(shape: Shape, dtype: str, random: np.random.Generator) -> Array:
    """Numbers of a type, the ends of it among them."""
    if dtype == "float32":
        return random.normal(size=shape).astype(np.float32)
    info = np.iinfo(dtype)
    codes = random.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    ends = random.choice(np.array([info.min, info.max], dtype), shape)
    return np.where(random.random(shape) < 0.2, ends, codes).astype(dtype)


def _spec(operand: Operand, dtype: str, name: str) -> Spec:
    if isinstance(operand, X):
        scale, zero = SCALES.get(dtype, (None, 0))
        signature = operand.signature
        return Spec(name, operand.shape, dtype, scale=scale, zero=zero, signature=signature)
    if isinstance(operand, Given):
        return Spec(name, np.shape(operand.numbers), operand.dtype)
    if isinstance(operand, Held):
        scale, zero = SCALES.get(dtype, (None, 0))
        return const(name, np.asarray(operand.numbers, dtype), dtype, scale=scale, zero=zero)
    return const(name, np.asarray(operand, np.int32), "int32")


def _output(output: Shape | As, dtype: str, name: str) -> Spec:
    if isinstance(output, As):
        return Spec(name, output.shape, output.dtype)
    scale, zero = SCALES.get(dtype, (None, 0))
    fixed = tuple(1 if n == -1 else n for n in output)
    signature = output if -1 in output else None
    return Spec(name, fixed, dtype, scale=scale, zero=zero, signature=signature)


def opened(data: bytes) -> Model:
    """A file of these bytes, read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(data)
        model = w2e_bridge.open(path)
        for tensor in model.tensors.values():  # while the file is there
            tensor.storage.parts(0, tensor.rows)
    return model


def found(model: Model) -> Operation:
    """The one operation that a model is read as."""
    assert model.graph is not None
    scope = Scope(tensors=model.tensors, values=model.activations)
    steps = cover(model.graph.graph, scope)
    assert len(steps) == 1, [getattr(step, "kind", step) for step in steps]
    assert isinstance(steps[0], Operation)
    return steps[0]


def numbers_of(operand: object) -> Any:
    """The numbers of a constant operand."""
    return operand.array.tolist() if isinstance(operand, Constant) else None


def scalar_of(operand: object) -> object:
    """The number of a constant operand."""
    return operand.array.reshape(-1)[0].item() if isinstance(operand, Constant) else None
