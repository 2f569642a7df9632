"""Sources of every kind and their bundles for TensorRT 10."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

import w2e_bridge
from tests.w2e_onnx.quantized_networks import static
from w2e_bridge.fidelity.report import Report

Array = NDArray[Any]
FIXTURES = Path(__file__).parents[2] / "fixtures"
SOURCES = (
    "convnet_int8.tflite",
    "images QDQ QUInt8 QInt8",
    "images QOperator QUInt8 QInt8",
    "encoder QDQ QInt8 QInt8",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A source and its bundle.

    Attributes:
        source: the file.
        bundle: the folder.
        report: of the conversion.
        feed: an input.
        want: what the source makes of it.
    """

    source: Path
    bundle: Path
    report: Report
    feed: Array
    want: Array

    @property
    def model(self) -> onnx.ModelProto:
        """The network."""
        return onnx.load(self.bundle / "model.onnx")


def bundle(source: Path, out: Path, **wishes: Any) -> Report:
    """Convert, with everything accepted unless said otherwise."""
    accepted: dict[str, Any] = {
        "fidelity": "requantized", "allow_float": True, "profile": "trt10"
    }  # fmt: skip
    return w2e_bridge.convert(source, to="tensorrt", out=out, **(accepted | wishes))


def made(name: str, folder: Path) -> Case:
    """One of `SOURCES`, converted."""
    if name.endswith(".tflite"):
        source = FIXTURES / "tflite" / name
        feed, want = _litert(source)
    else:
        network, _, spelling = name.partition(" ")
        source, feed = static(network, folder, spelling, channels=True)
        want = run(source, feed, plain=True)
    report = bundle(source, folder / "out")
    return Case(source=source, bundle=folder / "out", report=report, feed=feed, want=want)


def run(path: Path, feed: Array, *, plain: bool = False) -> Array:
    """The first output of a network of one input; `plain` without the runtime's own rewrites."""
    options = ort.SessionOptions()
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {session.get_inputs()[0].name: feed})[0]
    return result


def _litert(path: Path) -> tuple[Array, Array]:
    """Numbers in, numbers out of a network whose interface is of codes."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    codes = np.random.default_rng(2).integers(-60, 60, source["shape"]).astype(source["dtype"])
    interpreter.set_tensor(source["index"], codes)
    interpreter.invoke()
    return _real(codes, source), _real(interpreter.get_tensor(target["index"]), target)


def _real(codes: Array, detail: Any) -> Array:
    scale, zero = detail["quantization"]
    real: Array = ((codes.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)
    return real


def decibels(want: Array, got: Array) -> float:
    """Signal over noise."""
    signal, noise = want.astype(np.float64), want.astype(np.float64) - got
    return 10 * float(np.log10((signal**2).sum() / max(float((noise**2).sum()), 1e-20)))


def lines(cache: Path) -> dict[str, np.float32]:
    """A calibration cache as TensorRT's own samples read it."""
    header, *rows = cache.read_text().splitlines()
    assert "TRT-" in header
    assert header == "TRT-100300-EntropyCalibration2"  # of JetPack 6.2, read by trtexec
    found = {}
    for row in rows:
        name, colon, digits = row.rpartition(":")
        assert colon
        assert digits[0] == " "
        assert digits[1] != "0"
        found[name] = np.float32(struct.unpack(">f", struct.pack(">I", int(digits, 16)))[0])
    return found


def values(graph: onnx.GraphProto) -> set[str]:
    """Names of all values of a graph and of those inside, constants aside."""
    names = {value.name for value in graph.input}
    for node in graph.node:
        names.update(node.output)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names |= values(attribute.g)
    return names
