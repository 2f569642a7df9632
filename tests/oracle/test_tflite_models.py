"""The fixtures' TFLite models to ONNX and back, integer for integer against LiteRT's two sets of kernels."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

import w2e_bridge

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"
MODELS = sorted(FIXTURES.glob("*.tflite"))
KERNELS = {"litert": OpResolverType.AUTO, "litert-reference": OpResolverType.BUILTIN_REF}
STEPS = 4
FLOATS = 1e-4
"""How nearly floats agree, in units of the largest output, or as the two sets agree with each other."""

Step = list[NDArray[Any]]


def feed(details: list[dict[str, Any]], seed: int) -> Step:
    """Inputs: the ends of the integers' range first, then random ones."""
    random = np.random.default_rng(seed)
    found: Step = []
    for detail in details:
        dtype, shape = detail["dtype"], detail["shape"]
        if np.issubdtype(dtype, np.integer):
            info = np.iinfo(dtype)
            ends = {0: info.min, 1: info.max}
            whole = np.full(shape, ends.get(seed, 0))
            spread = random.integers(info.min, info.max, shape, endpoint=True)
            found.append(np.asarray(whole if seed in ends else spread, dtype))
        else:
            found.append(np.asarray(random.normal(size=shape), dtype))
    return found


def litert(path: Path, kernels: str) -> list[Step]:
    """Outputs of some steps in a row."""
    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=KERNELS[kernels], num_threads=1
    )
    interpreter.allocate_tensors()
    found = []
    for seed in range(STEPS):
        details = interpreter.get_input_details()
        for detail, value in zip(details, feed(details, seed), strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        found.append([interpreter.get_tensor(o["index"]).copy() for o in outputs])
    return found


@cache
def wanted(path: Path, kernels: str) -> list[Step]:
    return litert(path, kernels)


TYPES = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8,
         "tensor(int16)": np.int16, "tensor(int32)": np.int32}  # fmt: skip


def runtime(path: Path, source: Path) -> list[Step]:
    """The same through ONNX Runtime; inputs beyond the model's own are its state."""
    details = Interpreter(str(source)).get_input_details()
    outputs = len(wanted(source, "litert")[0])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs, said = session.get_inputs(), session.get_modelmeta().custom_metadata_map
    state: Step = [
        np.full(i.shape, int(said.get(f"w2e.state.{i.name}.initial", 0)), TYPES[i.type])
        for i in inputs[len(details) :]
    ]
    found = []
    for seed in range(STEPS):
        values = [*feed(details, seed), *state]
        made = session.run(None, {i.name: v for i, v in zip(inputs, values, strict=True)})
        found.append(made[:outputs])
        state = made[outputs:]
    return found


def assert_same(got: list[Step], source: Path, kernels: str) -> None:
    want = wanted(source, kernels)
    other = wanted(source, "litert-reference")
    for step, (ours, theirs) in enumerate(zip(got, want, strict=True)):
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            if np.issubdtype(b.dtype, np.integer) or b.dtype == bool:
                assert np.array_equal(a, b), f"step {step}, output {index}"
                continue
            largest = max(float(np.abs(b).max(initial=0)), 1e-6)
            kin = float(np.abs(want[step][index] - other[step][index]).max(initial=0))
            assert float(np.abs(a - b).max(initial=0)) <= max(FLOATS * largest, kin)


@pytest.mark.parametrize("source", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("kernels", KERNELS)
def test_to_onnx(source: Path, kernels: str, tmp_path: Path) -> None:
    report = w2e_bridge.convert(source, to="onnx", out=tmp_path / "o", options={"match": kernels})
    assert {row.grade.label for row in (*report.tensors, *report.values)} <= {"exact"}
    assert_same(runtime(tmp_path / "o" / "model.onnx", source), source, kernels)


@pytest.mark.parametrize("source", MODELS, ids=lambda path: path.stem)
def test_to_onnx_and_back(source: Path, tmp_path: Path) -> None:
    w2e_bridge.convert(source, to="onnx", out=tmp_path / "o")
    w2e_bridge.convert(tmp_path / "o" / "model.onnx", to="tflite", out=tmp_path / "back")
    for kernels in KERNELS:
        assert_same(litert(tmp_path / "back" / "model.tflite", kernels), source, kernels)


@pytest.mark.parametrize("source", MODELS, ids=lambda path: path.stem)
def test_to_tflite_with_no_onnx_between(source: Path, tmp_path: Path) -> None:
    w2e_bridge.convert(source, to="tflite", out=tmp_path / "again")
    for kernels in KERNELS:
        assert_same(litert(tmp_path / "again" / "model.tflite", kernels), source, kernels)
