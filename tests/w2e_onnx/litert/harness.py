"""One operation through the ONNX lowering and ONNX Runtime, for tests that compare with LiteRT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.graph.weights import DTYPES, weight
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding, Offset, OffsetKind
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.ir.tensor import OwnedStorage, Tensor, plain_tensor
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.table import build
from w2e_onnx.lowering.litert.bodies import emit
from w2e_onnx.lowering.litert.emit import OPSETS, Emitter
from w2e_onnx.lowering.litert.store import store


@dataclass(frozen=True, kw_only=True)
class Data:
    """An operand, or the description of an output.

    Attributes:
        type: TensorFlow Lite's: "int8", "float32", "int4", …
        array: codes or numbers; of an output unused.
        shape: of an output (of an operand taken from `array`); strings are symbolic.
        scale, zero_point: numbers, or arrays along `axis`; None = not quantized.
        axis: of per-channel scales.
        constant: whether it is an initializer.
        dynamic: whether the kernel quantizes it at run time.
    """

    type: str
    array: NDArray[Any] | None = None
    shape: tuple[int | str, ...] | None = None
    scale: float | NDArray[Any] | None = None
    zero_point: int | NDArray[Any] = 0
    axis: int | None = None
    constant: bool = False
    dynamic: bool = False

    def extents(self) -> tuple[int | str, ...]:
        """The shape."""
        if self.shape is not None:
            return self.shape
        assert self.array is not None
        return tuple(self.array.shape)


def tensor_of(name: str, data: Data) -> Tensor:
    """A constant operand as a tensor."""
    array = data.array
    assert array is not None
    if data.scale is None:
        return plain_tensor(name, array)
    shape = tuple(array.shape)
    axis = data.axis
    scale = np.asarray(data.scale, np.float32)
    zero = np.broadcast_to(np.asarray(data.zero_point), scale.shape)
    last = shape[-1] if shape else 1
    rows = int(np.prod(shape[:-1])) if shape else 1
    block: tuple[int, ...] = (WHOLE,) * max(1, len(shape))
    if axis is not None:
        block = tuple(1 if a == axis else WHOLE for a in range(len(shape)))
    spread = [
        scale if axis is not None and axis == len(shape) - 1 else _rows(scale, shape, axis, rows)
    ]
    spread.append(
        zero if axis is not None and axis == len(shape) - 1 else _rows(zero, shape, axis, rows)
    )
    grids = [
        np.broadcast_to(grid.reshape(-1, grid.shape[-1]), (rows, grid.shape[-1])) for grid in spread
    ]
    encoding = Encoding(
        codes=PLAIN[data.type].codes,
        block=block,
        scale=FLOAT32,
        offset=Offset(kind=OffsetKind.ZERO_POINT, encoding=PLAIN[data.type]),
    )
    parts = Parts(
        codes=array.reshape(rows, last),
        scale=Parts(codes=np.ascontiguousarray(grids[0], np.float32)),
        offset=Parts(codes=np.ascontiguousarray(grids[1])),
    )
    return Tensor(
        name=name,
        shape=shape,
        dtype="float32",
        encoding=encoding,
        storage=OwnedStorage(whole=parts),
    )


def _rows(grid: NDArray[Any], shape: tuple[int, ...], axis: int | None, rows: int) -> NDArray[Any]:
    if axis is None:
        return np.broadcast_to(grid.reshape(1, 1), (rows, 1))
    extended = grid.reshape([-1 if a == axis else 1 for a in range(len(shape) - 1)])
    return np.broadcast_to(extended, shape[:-1]).reshape(rows, 1)


def model_of(
    kind: str,
    operands: Sequence[Data | None],
    outputs: Sequence[Data],
    attributes: Mapping[str, Attribute],
) -> Model:
    """The canonical model of one operation; operands are named x0, x1, …, outputs y0, …"""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 23}, name="g")
    tensors: dict[str, Tensor] = {}
    values: dict[str, ActivationQuantization] = {}
    inputs: list[ir.Value | None] = []
    for index, data in enumerate(operands):
        if data is None:
            inputs.append(None)
        elif data.constant:
            tensors[f"x{index}"] = tensor_of(f"x{index}", data)
            inputs.append(weight(graph, tensors[f"x{index}"]))
        else:
            value = _value(f"x{index}", data, values)
            inputs.append(value)
            graph.inputs.append(value)
    results = [_value(f"y{index}", data, values) for index, data in enumerate(outputs)]
    place = _Place(graph=graph, tensors=tensors)
    builder = Builder(place=place, tensors=tensors, values=values)
    operation = Operation(
        kind=kind, inputs=tuple(inputs), outputs=tuple(results), attributes=attributes
    )
    build(operation, builder)
    graph.outputs.extend(results)
    whole = ir.Model(graph, ir_version=10, functions=list(builder.functions.values()))
    return Model(tensors=tensors, graph=whole, activations=values, numerics="litert")


@dataclass(kw_only=True)
class _Place:
    graph: ir.Graph
    tensors: dict[str, Tensor]
    count: int = 0

    def append(self, node: ir.Node) -> None:
        self.graph.append(node)

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        tensor = plain_tensor(self.fresh(name), np.asarray(array))
        self.tensors[tensor.name] = tensor
        return weight(self.graph, tensor)

    def fresh(self, name: str) -> str:
        self.count += 1
        return f"{name}.{self.count}"


def _value(name: str, data: Data, values: dict[str, ActivationQuantization]) -> ir.Value:
    quantized = data.scale is not None
    dtype = DTYPES["float32" if quantized else data.type]
    if quantized:
        values[name] = ActivationQuantization(
            codes=_codes(data.type),
            scale=np.asarray(data.scale, np.float32),
            zero_point=np.asarray(data.zero_point, np.int64),
        )
    elif data.dynamic:
        values[name] = ActivationQuantization(
            codes=Integer(bits=8, signed=True), mode=ActivationMode.DYNAMIC
        )
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(data.extents()))


def _codes(name: str) -> Integer:
    codes = PLAIN[name].codes
    assert isinstance(codes, Integer)
    return codes


def lowered(
    model: Model, *, reference: bool = False, signed: bool = False
) -> tuple[bytes, Emitter]:
    """The ONNX file of a canonical model."""
    assert model.graph is not None
    work = model.graph.clone()
    opsets = dict(OPSETS)
    if any(str(tensor.encoding.codes) == "int2" for tensor in model.tensors.values()):
        work.ir_version, opsets = 13, opsets | {"": 25}
    emitter = emit(work, model, reference=reference, signed=signed, opsets=opsets)
    drop_unused(work.graph)
    for function in emitter.functions.values():
        work.functions[function.identifier()] = function
    store(work.graph, dict(model.tensors))
    domains = {node.domain for node in work.graph.all_nodes()} | {""}
    domains |= {node.domain for function in work.functions.values() for node in function}
    work.graph.opset_imports.clear()
    work.graph.opset_imports.update(
        {d: emitter.opsets.get(d, 1) for d in domains} | {"com.microsoft": 1}
    )
    return ir.serde.serialize_model(work).SerializeToString(), emitter


def run(
    model: bytes, feeds: Mapping[str, NDArray[Any]], *, optimize: bool = True
) -> list[NDArray[Any]]:
    """Outputs by ONNX Runtime's CPU provider, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    known = {i.name for i in session.get_inputs()}
    outputs: list[NDArray[Any]] = session.run(None, {k: v for k, v in feeds.items() if k in known})
    return outputs


def operation(
    kind: str,
    operands: Sequence[Data | None],
    outputs: Sequence[Data],
    attributes: Mapping[str, Attribute] | None = None,
    *,
    reference: bool = False,
    optimize: bool = True,
) -> list[NDArray[Any]]:
    """Outputs (codes in their own type) of one operation, lowered with its rule; operands give the inputs."""
    model = model_of(kind, operands, outputs, attributes or {})
    data, emitter = lowered(model, reference=reference)
    assert not emitter.fallbacks, emitter.fallbacks
    feeds = {
        f"x{i}": d.array
        for i, d in enumerate(operands)
        if d is not None and not d.constant and d.array is not None
    }
    return run(data, feeds, optimize=optimize)
