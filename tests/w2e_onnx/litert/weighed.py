"""An operator with constant weights, with scales of channels too: by its rule, and by LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import w2e_bridge
from tests.w2e_onnx.litert.harness import Data, lowered, model_of, run
from tests.w2e_tflite import maker
from w2e_bridge.kernels.operation import Attribute

Array = NDArray[Any]
WEIGHTS = {"int8": (-127, 127), "uint8": (0, 255), "int4": (-8, 7), "int2": (-2, 1)}
"""Codes that weights have."""


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """An operator.

    Attributes:
        kind: of it.
        operands: with their arrays; what varies has the input's.
        output: its description.
        attributes: of the operation.
    """

    kind: str
    operands: Sequence[Data | None]
    output: Data
    attributes: Mapping[str, Attribute]

    def file(self) -> bytes:
        """The operator as TensorFlow Lite has it."""
        inputs = [None if d is None else _spec(f"x{i}", d) for i, d in enumerate(self.operands)]
        output = _spec("y0", self.output)
        return maker.one_op(self.kind.upper(), inputs, [], [output], self.attributes)

    def values(self) -> list[Array]:
        """What varies."""
        return [d.array for d in self.operands if d and not d.constant and d.array is not None]

    def wanted(self, *, reference: bool) -> Array:
        """What LiteRT computes."""
        return maker.litert(self.file(), self.values(), reference=reference)[0][0]

    def onnx(self, *, reference: bool) -> bytes:
        """The operator with its rule."""
        model = model_of(self.kind, self.operands, [self.output], self.attributes)
        data, emitter = lowered(model, reference=reference)
        assert not emitter.fallbacks, emitter.fallbacks
        return data

    def got(self, data: bytes, *, optimize: bool) -> Array:
        """What an ONNX file computes."""
        feeds = {
            f"x{i}": d.array
            for i, d in enumerate(self.operands)
            if d and not d.constant and d.array is not None
        }
        return run(data, feeds, optimize=optimize)[0]

    def check(self, *, reference: bool, optimize: Sequence[bool] = (True, False)) -> None:
        """The same codes; real numbers but for the last places."""
        want, data = self.wanted(reference=reference), self.onnx(reference=reference)
        for level in optimize:
            got = self.got(data, optimize=level)
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            if want.dtype == np.float32:
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())
            else:
                np.testing.assert_array_equal(got, want)

    def check_back(self, folder: Path) -> None:
        """As ONNX and back to TensorFlow Lite, both kernel sets give what they gave."""
        data = self.file()
        (folder / "there.tflite").write_bytes(data)
        w2e_bridge.convert(folder / "there.tflite", to="onnx", out=folder / "there.onnx")
        w2e_bridge.convert(folder / "there.onnx", to="tflite", out=folder / "back.tflite")
        back = (folder / "back.tflite").read_bytes()
        for reference in (False, True):
            mine = maker.litert(back, self.values(), reference=reference)[0][0]
            np.testing.assert_array_equal(mine, self.wanted(reference=reference))


def _spec(name: str, data: Data) -> maker.Spec:
    extents = data.extents()
    free = tuple(n if isinstance(n, int) else -1 for n in extents)
    return maker.Spec(
        name,
        tuple(n if isinstance(n, int) else 1 for n in extents),
        data.type,
        None if data.scale is None else np.asarray(data.scale, np.float64).reshape(-1).tolist(),
        np.asarray(data.zero_point).reshape(-1).tolist(),
        data=data.array if data.constant else None,
        axis=data.axis or 0,
        signature=free if -1 in free else None,
    )


@dataclass(kw_only=True)
class Draw:
    """Operands with numbers from one source of chance.

    Attributes:
        chance: of it.
        type: of the activation's codes, "float32" of one that the kernel rounds itself.
        weights: type of the weights' codes.
        channels: whether each output channel has a scale of its own.
    """

    chance: np.random.Generator
    type: str = "int8"
    weights: str = "int8"
    channels: bool = True

    def activation(self, shape: Sequence[int], free: str | None = None) -> Data:
        """An input; `free`: the name of its first extent."""
        array: Array
        named: tuple[int | str, ...] = tuple(shape) if free is None else (free, *shape[1:])
        if self.type == "float32":
            array = self.chance.normal(size=shape).astype(np.float32)
            return Data(type="float32", array=array, shape=named, dynamic=True)
        info = np.iinfo(self.type)
        array = self.chance.integers(info.min, info.max, shape, endpoint=True).astype(self.type)
        array.reshape(-1)[: array.size // 8] = info.min
        array.reshape(-1)[-array.size // 8 :] = info.max
        wide = self.type == "int16"
        scale = self.chance.uniform(1e-5, 1e-4) if wide else self.chance.uniform(0.001, 0.1)
        return Data(
            type=self.type,
            array=array,
            shape=named,
            scale=float(np.float32(scale)),
            zero_point=0 if wide else int(self.chance.integers(info.min, info.max)),
        )

    def codes(self, shape: Sequence[int], axis: int) -> Data:
        """Weights with their output channels along `axis`."""
        low, high = WEIGHTS[self.weights]
        array = self.chance.integers(low, high, shape, endpoint=True)
        several = self.channels and shape[axis] > 1
        scale = self.chance.uniform(0.0005, 0.02, shape[axis] if several else 1)
        unsigned = self.weights == "uint8"
        zero = int(self.chance.integers(0, 255)) if unsigned else 0
        return Data(
            type=self.weights,
            array=array.astype(np.uint8 if unsigned else np.int8),
            scale=scale.astype(np.float32) if several else float(np.float32(scale[0])),
            zero_point=np.zeros(shape[axis], np.int64) if several else zero,
            axis=axis if several else None,
            constant=True,
        )

    def spread(self, weights: Data, axis: int) -> float:
        """About the largest sum of products."""
        assert weights.array is not None
        terms = weights.array.size / weights.array.shape[axis]
        low, high = WEIGHTS[self.weights]
        info = np.iinfo(self.type)
        return float(0.1 * np.sqrt(terms) * (high - low) * (int(info.max) - int(info.min)))

    def bias(self, x: Data, weights: Data, axis: int, kind: str = "int32") -> Data:
        """A bias; of type "" one without a scale, as old converters write it."""
        assert weights.array is not None
        count = weights.array.shape[axis]
        if self.type == "float32":
            real = self.chance.normal(size=count).astype(np.float32)  # type: ignore[attr-defined]
            return Data(type="float32", array=real, constant=True)
        most = self.spread(weights, axis)
        array = np.round(self.chance.uniform(-most, most, count)).astype(kind or "int32")
        scale = np.float32(x.scale) * np.asarray(weights.scale, np.float32)
        several = weights.axis is not None
        return Data(
            type=kind or "int32",
            array=array,
            scale=None if not kind else scale if several else float(scale),
            zero_point=np.zeros(count, np.int64) if several and kind else 0,
            axis=0 if several and kind else None,
            constant=True,
        )

    def output(self, shape: Sequence[int | str], x: Data, weights: Data, axis: int) -> Data:
        """An output whose codes some sums leave."""
        if self.type == "float32":
            return Data(type="float32", shape=tuple(shape))
        info = np.iinfo(self.type)
        real = float(np.float32(x.scale)) * float(np.mean(np.asarray(weights.scale)))
        width = self.spread(weights, axis) / (int(info.max) - int(info.min))
        scale = real * width * self.chance.uniform(1, 8)
        zero = 0 if self.type == "int16" else int(self.chance.integers(info.min, info.max))
        return Data(
            type=self.type, shape=tuple(shape), scale=float(np.float32(scale)), zero_point=zero
        )
