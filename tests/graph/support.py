"""Builds small models with weights, writes them with external data, runs them elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.graph.external import Placement
from w2e_bridge.graph.serialize import graph_bytes
from w2e_bridge.graph.weights import DTYPES, weight
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import OwnedStorage, Tensor

AnyArray = NDArray[Any]


def tensor(name: str, encoding: Encoding, parts: Parts, shape: Sequence[int]) -> Tensor:
    """A float32 tensor in memory."""
    storage = OwnedStorage(whole=parts)
    return Tensor(
        name=name, shape=tuple(shape), dtype="float32", encoding=encoding, storage=storage
    )


def identity_model(tensors: Mapping[str, Tensor], opset: int = 25) -> ir.Model:
    """A graph that gives out every weight as it is: `NAME.out`."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": opset}, name="weights")
    for name, one in tensors.items():
        stub = weight(graph, one)
        node = ir.node("Identity", [stub])
        output = node.outputs[0]
        output.name = f"{name}.out"
        output.type, output.shape = ir.TensorType(DTYPES[one.dtype]), ir.Shape(one.shape)
        graph.append(node)
        graph.outputs.append(output)
    versions = {21: 10, 23: 11, 24: 12, 25: 13}
    return ir.Model(graph, ir_version=versions.get(opset, 10))


def write(folder: Path, model: ir.Model, tensors: Mapping[str, Tensor]) -> Path:
    """`model.onnx` with the data of its stubs in `model.onnx.data`; all tensors must be plain."""
    places: dict[str, Placement] = {}
    data = bytearray()
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if name in tensors:
                raw = packed(tensors[name], value)
                places[name] = Placement(
                    location="model.onnx.data", offset=len(data), length=len(raw)
                )
                data += raw
    path = folder / "model.onnx"
    path.write_bytes(graph_bytes(model, places))
    (folder / "model.onnx.data").write_bytes(data)
    return path


def packed(one: Tensor, value: ir.Value) -> bytes:
    """The bytes of a plain tensor as onnx_ir packs them."""
    codes = one.storage.parts(0, one.rows).codes.reshape(one.shape)
    dtype = DTYPES[one.dtype]
    return ir.Tensor(codes.astype(dtype.numpy()), dtype=dtype, name=value.name).tobytes()


def run(path: Path, feeds: Mapping[str, AnyArray] | None = None) -> dict[str, AnyArray]:
    """Outputs by name, as ONNX Runtime computes them without changing the graph."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds or {})), strict=True))


def same_bits(a: AnyArray, b: AnyArray) -> bool:
    """Equal in type, shape and every bit."""
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and np.array_equal(
            np.ascontiguousarray(a).view(np.uint8), np.ascontiguousarray(b).view(np.uint8)
        )
    )
