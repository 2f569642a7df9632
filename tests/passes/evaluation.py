"""ONNX graphs lifted, put through a pass, and evaluated before and after by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from w2e_bridge import api
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.qdq import unfold
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.passes.layout import ChannelsLast
from w2e_bridge.passes.legalize import Legalize, SatisfyConstraints

AnyArray = NDArray[Any]
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class Net:
    """A graph that is being written down."""

    def __init__(self, seed: int = 0) -> None:
        self.chance = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count = 0
        self.head = self.middle = ""  # values that a test asks for
        self.known: dict[str, tuple[int, ...]] = {}  # shapes of outputs that nobody infers

    def input(self, *shape: int | str, dtype: int = FLOAT, name: str = "") -> str:
        name = name or f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant(self.chance.normal(0, scale, shape).astype(np.float32))

    def constant(self, array: Any, dtype: Any = None) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.constant(list(numbers), np.int64)

    def add(
        self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any
    ) -> Any:
        names = [f"v{self.count + i}" for i in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(op, inputs, names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def proto(self, *outputs: str, opset: int = 21) -> onnx.ModelProto:
        made = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, made, self.weights)
        imports = [helper.make_opsetid("", opset)]
        domains = {node.domain for node in self.nodes} - {""}
        imports += [helper.make_opsetid(domain, 1) for domain in domains]
        model = helper.make_model(graph, opset_imports=imports, ir_version=10)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for value, known in zip(graph.output, inferred.graph.output, strict=True):
            shape = self.known.get(value.name)
            own = None if shape is None else helper.make_tensor_value_info(value.name, FLOAT, shape)
            value.CopyFrom(known if own is None else own)
        return helper.make_model(graph, opset_imports=imports, ir_version=10)


def lifted(proto: onnx.ModelProto, folder: Path) -> Model:
    """The canonical model of a graph."""
    path = folder / "source.onnx"
    onnx.save(proto, path)
    return api.open(path)


def flat(model: Model) -> bytes:
    """A canonical model as an ONNX file with its weights inside."""
    assert model.graph is not None
    editor = Editor(model=model.graph.clone(), tensors=dict(model.tensors))
    unfold(editor, model.activations)
    for graph in editor.model.graphs():
        for name, value in graph.initializers.items():
            if name in editor.tensors:
                one = editor.tensors[name]
                codes = one.storage.parts(0, one.rows).codes.reshape(one.shape)
                kind = DTYPES[one.dtype]
                value.const_value = ir.Tensor(codes.astype(kind.numpy()), dtype=kind, name=name)
    proto = ir.serde.serialize_model(editor.model)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def evaluated(model: Model, feeds: Mapping[str, AnyArray]) -> list[AnyArray]:
    """What a canonical model computes, nothing fused."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(flat(model), options, providers=["CPUExecutionProvider"])
    typed = {i.name: _typed(feeds[i.name], i.type) for i in session.get_inputs()}
    found: list[AnyArray] = session.run(None, typed)
    return found


def _typed(array: AnyArray, kind: str) -> AnyArray:
    """Real numbers as codes, where a public value is codes: some codes or other."""
    kinds = {"tensor(int8)": "int8", "tensor(uint8)": "uint8", "tensor(int16)": "int16"}
    wanted = kinds.get(kind)
    if wanted is None or array.dtype == wanted:
        return array
    low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
    codes: AnyArray = np.rint(array * high / 4) + (high + low + 1) // 2
    found: AnyArray = np.clip(codes, low, high).astype(wanted)
    return found


def feeds_of(
    model: Model, seed: int = 0, sizes: Mapping[str, int] | None = None
) -> dict[str, AnyArray]:
    """Random inputs."""
    chance = np.random.default_rng(seed)
    assert model.graph is not None
    feeds: dict[str, AnyArray] = {}
    for value in model.graph.graph.inputs:
        assert value.shape is not None
        assert value.dtype is not None
        shape = [
            d if isinstance(d, int) else (sizes or {}).get(str(d.value), 2) for d in value.shape
        ]
        kind = value.dtype.numpy()
        feeds[str(value.name)] = (
            chance.normal(size=shape).astype(kind)
            if np.issubdtype(kind, np.floating)
            else chance.integers(0, 2, shape).astype(kind)
        )
    return feeds


def ready(model: Model) -> Model:
    """A model in the form that a channels-last integer runtime's writer takes."""
    for step in (Legalize(), ChannelsLast(), SatisfyConstraints()):
        model = step(model).model
    return model


def uncovered(model: Model) -> list[str]:
    """Operators of a model in that form that are no kernel's."""
    assert model.graph is not None
    scope = Scope(tensors=model.tensors, values=model.activations)
    steps = cover(model.graph.graph, scope)
    nodes = [step.op_type for step in steps if isinstance(step, ir.Node)]
    return [op for op in nodes if op != "Identity"]  # which a writer needs nothing for


def litert_of(model: Model, feeds: Mapping[str, AnyArray], folder: Path) -> list[AnyArray]:
    """What LiteRT computes of a model in that form, public values in the model's order."""
    from ai_edge_litert.interpreter import Interpreter

    path = folder / "model.tflite"
    api.lower(
        model,
        api.Wishes(to="tflite", out=path, force=True, fidelity="requantized", allow_float=True),
    )
    interpreter = Interpreter(str(path), num_threads=1)
    details = interpreter.get_input_details()
    order = list(feeds)
    for detail in details:
        interpreter.resize_tensor_input(
            detail["index"], feeds[_public(detail["name"], order)].shape
        )
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        array = feeds[_public(detail["name"], order)]
        interpreter.set_tensor(detail["index"], array.astype(detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]).copy() for d in interpreter.get_output_details()]


def _public(name: str, order: list[str]) -> str:
    return name if name in order else order[0]


def operators(model: Model) -> list[str]:
    """The operators of all graphs."""
    assert model.graph is not None
    return [node.op_type for graph in model.graph.graphs() for node in graph]


def plain(model: Model) -> Model:
    """The same model without quantization of values, so that only numbers are compared."""
    return replace(model, activations={})


def close(found: Sequence[AnyArray], wanted: Sequence[AnyArray], tolerance: float = 1e-5) -> None:
    """Equal shapes and types, and nearly equal numbers."""
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
