"""TFLite files for tests, made with LiteRT's own schema, and LiteRT itself to run them.

`one_op("ADD", [a, b], [], [y], {"fused_activation_function": "RELU"})` is a file of one operator;
`build([...])` one of several. Tensors are `Spec`s: `Spec("x", (1, 4), "int8", scale=0.5, zero=-3)` is a
value, with `data` a constant. Options are named as in the schema, enumerations by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import ArrayLike, NDArray

from w2e_tflite.schema import options_of, union_of

Array = NDArray[Any]

NUMPY = {
    "float32": np.float32, "float16": np.float16, "float64": np.float64, "int8": np.int8,
    "uint8": np.uint8, "int16": np.int16, "uint16": np.uint16, "int32": np.int32, "uint32": np.uint32,
    "int64": np.int64, "uint64": np.uint64, "bool": np.bool_, "int4": np.int8, "int2": np.int8,
    "resource": np.int32, "bfloat16": np.uint16,
}  # fmt: skip
PER_BYTE = {"int4": 2, "int2": 4}
RAISED = {
    "SOFTMAX": 4, "FULLY_CONNECTED": 12, "CONV_2D": 8, "DEPTHWISE_CONV_2D": 6, "DEQUANTIZE": 6,
    "MUL": 7, "LOGISTIC": 3, "TANH": 3, "TRANSPOSE_CONV": 5, "BATCH_MATMUL": 4, "QUANTIZE": 4,
    "TRANSPOSE": 7, "UNIDIRECTIONAL_SEQUENCE_LSTM": 4, "SVDF": 4,
}  # fmt: skip
"""Versions of operators; LiteRT only compares them with the latest that it has."""


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """A tensor of a file.

    Attributes:
        name: of the tensor.
        shape: of it.
        dtype: "float32", "int8", "int4", …
        scale: one, several along `axis`, or None where it is not quantized.
        zero: zero point, likewise.
        data: the codes of a constant, in any type that holds them.
        axis: quantized dimension.
        variable: whether the runtime keeps it from one run to the next.
        signature: the shape with -1 where it is free.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    scale: float | Sequence[float] | None = None
    zero: int | Sequence[int] = 0
    data: ArrayLike | None = None
    axis: int = 0
    variable: bool = False
    signature: tuple[int, ...] | None = None


def const(name: str, data: ArrayLike, dtype: str = "", **more: Any) -> Spec:
    """A constant in the shape of its numbers: `const("axes", [1, 2], "int32")`."""
    array = np.asarray(data)
    return Spec(name, tuple(array.shape), dtype or str(array.dtype), data=array, **more)


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """An operator: builtin name or "custom:NAME", its operands (None = left out) and options.

    Its version is that of `RAISED`, if not said: some kernels look at it (sparse FULLY_CONNECTED: 8).
    """

    builtin: str
    inputs: Sequence[Spec | None]
    outputs: Sequence[Spec]
    options: Mapping[str, object] = field(default_factory=dict)
    custom: bytes = b""
    intermediates: Sequence[Spec] = ()
    version: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A subgraph; without `inputs`, they are what no operator makes and no constant is, in order."""

    ops: Sequence[Op]
    outputs: Sequence[Spec]
    inputs: Sequence[Spec] | None = None
    name: str = "main"


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """A signature: public name to tensor, on each side."""

    key: str
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    graph: int = 0


def one_op(
    builtin: str,
    inputs: Sequence[Spec | None],
    constants: Sequence[Spec | None] = (),
    outputs: Sequence[Spec] = (),
    options: Mapping[str, object] | None = None,
) -> bytes:
    """A file of one operator; its operands are `inputs`, then `constants` (both may hold constants)."""
    return build([Op(builtin, [*inputs, *constants], outputs, options or {})])


def build(ops: Sequence[Op], outputs: Sequence[Spec] | None = None, **more: Any) -> bytes:
    """A file of several operators in order; its outputs are those of the last one, if not said."""
    return build_graphs([Graph(ops, ops[-1].outputs if outputs is None else outputs)], **more)


def build_graphs(
    graphs: Sequence[Graph],
    *,
    signatures: Sequence[Signature] = (),
    metadata: Mapping[str, bytes] | None = None,
    description: str | None = None,
) -> bytes:
    """A file of several subgraphs; a Spec of the same object is the same tensor within each."""
    model = schema.ModelT()
    model.version = 3
    model.description = description
    model.operatorCodes, model.buffers, model.subgraphs = [], [schema.BufferT()], []
    codes: dict[str, int] = {}
    places = []
    for graph in graphs:
        made, tensors = _subgraph(graph, model, codes)
        model.subgraphs.append(made)
        places.append(tensors)
    model.signatureDefs = [_signature(s, places[s.graph]) for s in signatures] or None
    for name, data in (metadata or {}).items():
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, _buffer(model, np.frombuffer(data, np.uint8))
        model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _subgraph(graph: Graph, model: Any, codes: dict[str, int]) -> tuple[Any, dict[int, int]]:
    made = schema.SubGraphT()
    made.name, made.tensors, made.operators = graph.name, [], []
    places: dict[int, int] = {}

    def place(spec: Spec | None) -> int:
        if spec is None:
            return -1
        if id(spec) not in places:
            places[id(spec)] = len(made.tensors)
            made.tensors.append(_tensor(spec, model))
        return places[id(spec)]

    free = [s for op in graph.ops for s in op.inputs if s is not None and s.data is None]
    produced = {id(s) for op in graph.ops for s in op.outputs}
    inputs = graph.inputs
    if inputs is None:
        free = [s for s in free if id(s) not in produced and not s.variable]
        inputs = list({id(s): s for s in free}.values())
    made.inputs = [place(spec) for spec in inputs]
    made.operators = [_operator(op, place, model, codes) for op in graph.ops]
    made.outputs = [place(spec) for spec in graph.outputs]
    return made, places


def _tensor(spec: Spec, model: Any) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = spec.name, np.asarray(spec.shape, np.int32)
    tensor.type = getattr(schema.TensorType, spec.dtype.upper())
    tensor.isVariable, tensor.hasRank = spec.variable, True
    if spec.signature is not None:
        tensor.shapeSignature = np.asarray(spec.signature, np.int32)
    if spec.scale is not None:
        quantization = schema.QuantizationParametersT()
        quantization.scale = np.atleast_1d(np.asarray(spec.scale, np.float32))
        zeros = np.broadcast_to(np.asarray(spec.zero, np.int64), quantization.scale.shape)
        quantization.zeroPoint = np.ascontiguousarray(zeros)
        quantization.quantizedDimension = spec.axis
        tensor.quantization = quantization
    if spec.data is not None:
        tensor.buffer = _buffer(model, packed(spec))
    return tensor


def packed(spec: Spec) -> NDArray[np.uint8]:
    """The bytes of a constant; codes of 4 and 2 bits share bytes, the first in the low bits."""
    flat: Array = np.asarray(spec.data).astype(NUMPY[spec.dtype]).reshape(-1)
    per = PER_BYTE.get(spec.dtype)
    if per is None:
        return np.frombuffer(flat.tobytes(), np.uint8)
    bits = 8 // per
    codes = np.pad(flat.view(np.uint8) & ((1 << bits) - 1), (0, -flat.size % per)).reshape(-1, per)
    shifts = np.arange(per, dtype=np.uint8) * np.uint8(bits)
    joined: NDArray[np.uint8] = np.bitwise_or.reduce(codes << shifts, axis=1).astype(np.uint8)
    return joined


def _buffer(model: Any, data: NDArray[np.uint8]) -> int:
    buffer = schema.BufferT()
    buffer.data = data
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _operator(op: Op, place: Any, model: Any, codes: dict[str, int]) -> Any:
    made = schema.OperatorT()
    version = op.version or RAISED.get(op.builtin, 1)
    key = f"{op.builtin} {version}"
    if key not in codes:
        codes[key] = len(model.operatorCodes)
        model.operatorCodes.append(_code(op.builtin, version))
    made.opcodeIndex = codes[key]
    made.inputs = [place(spec) for spec in op.inputs]
    made.outputs = [place(spec) for spec in op.outputs]
    made.intermediates = [place(spec) for spec in op.intermediates] or None
    variables = [spec is not None and spec.variable for spec in op.inputs]
    made.mutatingVariableInputs = variables if any(variables) else None
    if op.custom:
        made.customOptions = list(op.custom)
    name = None if op.builtin.startswith("custom:") else options_of(op.builtin)
    if name is not None:
        options = getattr(schema, name + "T")()
        for key, value in op.options.items():
            setattr(options, _camel(key), _enumerated(key, value))
        first = union_of(name) == "BuiltinOptions"
        union = schema.BuiltinOptions if first else schema.BuiltinOptions2
        setattr(
            made, "builtinOptionsType" if first else "builtinOptions2Type", getattr(union, name)
        )
        setattr(made, "builtinOptions" if first else "builtinOptions2", options)
    return made


def _code(builtin: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    custom = builtin.startswith("custom:")
    number = getattr(schema.BuiltinOperator, "CUSTOM" if custom else builtin)
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    code.customCode = builtin.removeprefix("custom:") if custom else None
    code.version = version
    return code


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


_ENUMS = {
    "fused_activation_function": schema.ActivationFunctionType,
    "padding": schema.Padding,
    "mode": schema.MirrorPadMode,
    "kernel_type": schema.LSTMKernelType,
    "weights_format": schema.FullyConnectedOptionsWeightsFormat,
}


def _enumerated(key: str, value: object) -> object:
    if isinstance(value, str) and key not in ("container", "shared_name", "name"):
        return getattr(_ENUMS.get(key, schema.TensorType), value)
    return list(value) if isinstance(value, tuple) else value


def _signature(signature: Signature, places: Mapping[int, int]) -> Any:
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = signature.key, signature.graph
    made.inputs, made.outputs = (
        [_named(name, places[id(spec)]) for name, spec in side.items()]
        for side in (signature.inputs, signature.outputs)
    )
    return made


def _named(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry


def litert(data: bytes, *runs: Sequence[ArrayLike], reference: bool = False) -> list[list[Array]]:
    """Outputs of LiteRT for each run's inputs, one run after another with the state kept."""
    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=kind, num_threads=1)
    details = interpreter.get_input_details()
    for detail, value in zip(details, runs[0], strict=True):
        interpreter.resize_tensor_input(detail["index"], np.shape(value))
    interpreter.allocate_tensors()
    results = []
    for values in runs:
        for detail, value in zip(details, values, strict=True):
            interpreter.set_tensor(detail["index"], np.asarray(value, detail["dtype"]))
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        results.append([interpreter.get_tensor(detail["index"]).copy() for detail in outputs])
    return results


def some_inputs(data: bytes, seed: int = 0) -> list[Array]:
    """Random inputs of a file: all codes of integers alike, normal numbers."""
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    details = Interpreter(
        model_content=data, experimental_op_resolver_type=kind
    ).get_input_details()
    random = np.random.default_rng(seed)
    values: list[Array] = []
    for detail in details:
        dtype, shape = detail["dtype"], detail["shape"]
        if np.issubdtype(dtype, np.integer):
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            values.append(random.integers(low, high, shape, dtype=dtype, endpoint=True))
        else:
            values.append(random.normal(size=shape).astype(dtype))
    return values
