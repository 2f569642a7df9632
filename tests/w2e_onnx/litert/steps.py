"""Files of recurrent operators, run step by step by LiteRT and, as ONNX, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

import w2e_bridge
from tests.w2e_onnx.litert.harness import lowered
from tests.w2e_tflite import maker
from tests.w2e_tflite.maker import Spec
from tests.w2e_tflite.through import written
from w2e_bridge.ir.model import Model
from w2e_onnx.stateful import Stateful

Array = NDArray[Any]
Runs = Sequence[Sequence[Array]]


def opened(data: bytes, folder: Path) -> Model:
    """The canonical model of a file."""
    (folder / "model.tflite").write_bytes(data)
    return w2e_bridge.open(folder / "model.tflite")


def onnx_of(model: Model, *, reference: bool = False) -> bytes:
    """The ONNX file of a canonical model, its states said in the metadata; no rule may be missing."""
    data, emitter = lowered(model, reference=reference)
    assert not emitter.fallbacks, emitter.fallbacks
    proto = onnx.load_model_from_string(data)
    for key, value in model.metadata.items():
        if key.startswith("w2e.state."):
            proto.metadata_props.add(key=key, value=str(value))
    return bytes(proto.SerializeToString())


def run(data: bytes, runs: Runs, *, optimize: bool = True) -> list[list[Array]]:
    """Outputs of an ONNX file, one run after another with the state kept."""
    level = onnxruntime.GraphOptimizationLevel
    chosen = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    model = Stateful(
        data, intra_op_num_threads=1, log_severity_level=3, graph_optimization_level=chosen
    )
    return [model.run(*values) for values in runs]


def litert(data: bytes, runs: Runs, *, reference: bool = False) -> list[list[Array]]:
    """Outputs of LiteRT."""
    return maker.litert(data, *runs, reference=reference)


def again(made: bytes, folder: Path) -> bytes:
    """The TensorFlow Lite file that is made of an ONNX file, every call of which is known."""
    (folder / "made.onnx").write_bytes(made)
    model = w2e_bridge.open(folder / "made.onnx")
    assert not model.remarks
    return written(model, folder / "again")


def worst(got: list[list[Array]], want: list[list[Array]]) -> float:
    """The largest difference."""
    return max(
        float(np.abs(g.astype(np.float64) - w.astype(np.float64)).max())
        for g_step, w_step in zip(got, want, strict=True)
        for g, w in zip(g_step, w_step, strict=True)
    )


class Draw:
    """Seeded random tensors of a file."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def codes(self, name: str, shape: tuple[int, ...], scale: float, dtype: str = "int8") -> Spec:
        """A constant of codes, narrow range."""
        top = int(np.iinfo(dtype).max)
        return Spec(
            name, shape, dtype, scale=scale, data=self.random.integers(-top, top + 1, shape)
        )

    def reals(self, name: str, shape: tuple[int, ...], size: float = 0.5) -> Spec:
        """A constant of floats."""
        data = (self.random.normal(size=shape) * size).astype(np.float32)
        return Spec(name, shape, data=data)

    def weights(self, name: str, shape: tuple[int, ...], *, codes: bool) -> Spec:
        """A constant: int8 codes, or floats of about the same size."""
        return self.codes(name, shape, 0.004) if codes else self.reals(name, shape, 0.3)

    def bias(self, name: str, units: int, scale: float, most: int = 5000) -> Spec:
        """A constant of int32 codes."""
        data = self.random.integers(-most, most, units)
        return Spec(name, (units,), "int32", scale=scale, data=data)

    def floats(self, *shape: int) -> Array:
        """An input of floats."""
        return self.random.normal(size=shape).astype(np.float32)

    def bytes(self, *shape: int) -> Array:
        """An input of all int8 codes alike."""
        return self.random.integers(-128, 128, shape).astype(np.int8)
