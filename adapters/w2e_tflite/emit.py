"""Graphs of the canonical model to subgraphs of a file: values to tensors, operations to operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.operation import Attribute, Constant, Operand, Operation
from w2e_tflite.options import FIELDS, options_record
from w2e_tflite.packing import Scales, scales_of
from w2e_tflite.quant import plain_name, type_number
from w2e_tflite.record import Held, Record, make
from w2e_tflite.schema import union_of
from w2e_tflite.sparse_out import sparse_records
from w2e_tflite.store import Source, Store, vector
from w2e_tflite.versions import Written, version_of

DEQUANTIZED = ".dequantized"
DENSE = ".dense"


@dataclass(slots=True, kw_only=True, eq=False)
class Emitter:
    """A subgraph in the making.

    Attributes:
        store: the file.
        source: the model.
        graph: the canonical graph.
        tensors: of the subgraph.
        operators: of the subgraph.
        index: values to numbers of their tensors.
    """

    store: Store
    source: Source
    graph: ir.Graph
    tensors: list[Record] = field(default_factory=list)
    operators: list[Record] = field(default_factory=list)
    index: dict[ir.Value, int] = field(default_factory=dict)
    _constants: dict[tuple[object, ...], int] = field(default_factory=dict)
    _read: dict[tuple[int, str], int] = field(default_factory=dict)

    def add(self, record: Record) -> int:
        """Append a tensor; its number."""
        self.tensors.append(record)
        return len(self.tensors) - 1

    def value(self, value: ir.Value) -> int:
        """The tensor of a value as it is stored or computed."""
        if value not in self.index:
            if value.const_value is None:
                self.index[value] = self.add(self.computed(value))
            elif is_weight(value):
                self.index[value] = self._weight(value)
            else:
                self.index[value] = self.constant(value.const_value.numpy(), name_of(value))
        return self.index[value]

    def computed(self, value: ir.Value, *, variable: bool = False) -> Record:
        """A tensor that some operator makes, or that is given."""
        name, quantization = name_of(value), self.source.values.get(name_of(value))
        static = quantization is not None and quantization.mode is ActivationMode.STATIC
        if value.shape is None or (value.dtype is None and not static):
            raise UnsupportedError(f"the shape or type of '{name}' is not known")
        if static and quantization is not None:
            dtype, said = str(quantization.codes), _quantization(quantization)
        else:
            dtype, said = DTYPE_NAMES.get(value.dtype, str(value.dtype)), None  # type: ignore[arg-type]
        extents = [d if isinstance(d, int) else -1 for d in value.shape]
        free = -1 in extents
        return make(
            "Tensor",
            {
                "shape": vector([1 if d < 0 else d for d in extents]),
                "type": _type(dtype, name),
                "name": value.metadata_props.get("source_name") or name,
                "quantization": said,
                "is_variable": variable,
                "shape_signature": vector(extents) if free else None,
                "has_rank": True,
            },
        )

    def stored_type(self, value: ir.Value) -> np.dtype[np.generic]:
        """The numpy type of a value as it is stored."""
        found = self.source.values.get(name_of(value))
        if found is not None and isinstance(found.codes, Integer):
            return numpy_type(Encoding(codes=found.codes))
        assert value.dtype is not None
        return numpy_type(PLAIN[DTYPE_NAMES[value.dtype]])

    def variable(self, value: ir.Value) -> int:
        """A tensor that the runtime keeps from one run to the next."""
        self.index[value] = self.add(self.computed(value, variable=True))
        return self.index[value]

    def constant(self, array: NDArray[Any], name: str) -> int:
        """A small constant under a name of its own; equal ones are one tensor."""
        dtype = str(array.dtype)
        key = (dtype, array.shape, array.tobytes())
        if key not in self._constants:
            record = _plain(array.shape, _type(dtype, name), name)
            record.values["buffer"] = self.store.data(np.ascontiguousarray(array).tobytes())
            self._constants[key] = self.add(record)
        return self._constants[key]

    def _weight(self, value: ir.Value) -> int:
        tensor = self.source.tensors.get(name_of(value))
        if tensor is None:
            raise UnsupportedError(f"'{name_of(value)}' is a constant without data")
        record = self._stored(tensor)
        pattern = self.source.patterns.get(tensor.name)
        found = None if pattern is None else sparse_records(tensor, pattern)
        if found is None:
            record.values["buffer"] = self.store.weights(tensor)
            return self.add(record)
        record.values["sparsity"], data = found
        record.values["buffer"] = self.store.data(data)
        index = self.add(record)
        if pattern is None or not pattern.densify:
            return index
        dense = self.add(self._like(record, tensor.name + DENSE))
        self.operator("densify", {}, [index], [dense])
        return dense

    def _stored(self, tensor: Tensor) -> Record:
        """The tensor of a constant without its data."""
        dtype = "bool" if tensor.dtype == "bool" else plain_name(tensor.encoding)
        record = _plain(tensor.shape, _type(dtype, tensor.name), tensor.name)
        scales = scales_of(tensor)
        if scales is not None:
            record.values["quantization"] = self._scales(tensor, scales)
        return record

    def _scales(self, tensor: Tensor, scales: Scales) -> Record:
        if not scales.block:
            zero = np.zeros(scales.scale.size, np.int64) if scales.zero is None else scales.zero
            values = {"scale": scales.scale, "zero_point": zero, "quantized_dimension": scales.axis}
            return make("QuantizationParameters", values)
        shape = (*tensor.shape[:-1], scales.scale.shape[-1])
        name = self.source.names.free(f"{tensor.name}_scales")
        record = _plain(shape, _type(scales.kind, name), name)
        record.values["buffer"] = self.store.data(scales.scale.tobytes())
        said = {"scales": self.add(record), "zero_points": -1, "block_size": scales.block}
        details = make("BlockwiseQuantization", said)
        return make("QuantizationParameters", {"details": details})

    def _like(self, record: Record, name: str) -> Record:
        """A tensor of the same type, shape and quantization that is computed."""
        kept = {k: v for k, v in record.values.items() if k not in ("buffer", "sparsity")}
        return make("Tensor", {**kept, "name": self.source.names.free(name)})

    def copy(self, index: int) -> int:
        """A tensor of its own with the same numbers: a RESHAPE to the shape that there is."""
        record = self.tensors[index]
        shape = record.integers("shape_signature") or record.integers("shape")
        if shape.count(-1) > 1:
            raise UnsupportedError(f"'{record.text('name')}' of several free dimensions twice")
        copy = self.add(self._like(record, record.text("name")))
        wanted = self.constant(vector(shape), self.source.names.free("shape"))
        self.operator("reshape", {"new_shape": shape}, [index, wanted], [copy])
        return copy

    def operand(self, operand: Operand, *, codes: bool) -> int:
        """The tensor that an operator reads.

        Args:
            operand: of an operation.
            codes: whether the operator reads a quantized constant as it is stored.
        """
        if operand is None:
            return -1
        if isinstance(operand, Constant):
            return self.constant(operand.array, self.source.names.free(operand.name))
        index = self.value(operand)
        tensor = self.source.tensors.get(name_of(operand)) if is_weight(operand) else None
        if tensor is None:
            return index
        narrow = isinstance(tensor.encoding.codes, Float) and str(tensor.encoding) != tensor.dtype
        if narrow or (tensor.encoding.quantized and not codes):
            return self._floats(index, tensor)
        return index

    def _floats(self, index: int, tensor: Tensor) -> int:
        """A constant behind a DEQUANTIZE, the same for all who read it."""
        key = (index, DEQUANTIZED)
        if key not in self._read:
            name = self.source.names.free(tensor.name + DEQUANTIZED)
            self._read[key] = self.add(_plain(tensor.shape, _type(tensor.dtype, name), name))
            self.operator("dequantize", {}, [index], [self._read[key]])
        return self._read[key]

    def operation(self, operation: Operation, bodies: Mapping[str, int]) -> None:
        """Append an operation as an operator.

        Args:
            operation: with the outputs that the format has for it.
            bodies: numbers of its subgraphs by role.
        """
        codes = self._reads_codes(operation)
        inputs = [self.operand(operand, codes=codes) for operand in operation.inputs]
        outputs = [self.value(value) for value in operation.outputs]
        attributes = dict(operation.attributes)
        attributes |= {f"{role}_subgraph_index": number for role, number in bodies.items()}
        self.operator(operation.kind, attributes, inputs, outputs)

    def _reads_codes(self, operation: Operation) -> bool:
        """Whether an operator computes with codes: one of its values is quantized, or rounded by it."""
        read = [v for v in operation.inputs if isinstance(v, ir.Value) and v.const_value is None]
        return operation.kind == "dequantize" or any(
            name_of(value) in self.source.values for value in (*read, *operation.outputs)
        )

    def operator(
        self,
        kind: str,
        attributes: Mapping[str, Attribute],
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> None:
        """Append an operator."""
        written = Written(
            kind=kind,
            attributes=attributes,
            inputs=[None if i < 0 else self.tensors[i] for i in inputs],
            outputs=[self.tensors[i] for i in outputs],
        )
        custom = attributes.get("custom_options")
        values: dict[str, Any] = {
            "opcode_index": self.store.code(kind, version_of(written)),
            "inputs": vector(inputs),
            "outputs": vector(outputs),
            "custom_options": Held(data=custom) if isinstance(custom, bytes) else None,
            "intermediates": self._intermediates(attributes),
        }
        options = options_record(kind, attributes)
        if options is not None:
            values[FIELDS[union_of(options.kind)]] = options
        self.operators.append(make("Operator", values))

    def _intermediates(self, attributes: Mapping[str, Attribute]) -> NDArray[np.int32] | None:
        types = attributes.get("intermediate_types")
        if not isinstance(types, tuple):
            return None
        rows = zip(
            types,
            _sequence(attributes.get("intermediate_scales")),
            _sequence(attributes.get("intermediate_zero_points")),
            strict=True,
        )
        indices = []
        for number, (kind, scale, zero) in enumerate(rows):
            name = self.source.names.free(f"intermediate_{number}")
            record = _plain((0,), _type(str(kind).lower(), name), name)
            if scale:
                said = {"scale": np.asarray([scale], np.float32), "zero_point": np.asarray([zero])}
                record.values["quantization"] = make("QuantizationParameters", said)
            indices.append(self.add(record))
        return vector(indices)

    def finish(self, inputs: Iterable[int], outputs: Iterable[int], name: str) -> Record:
        """The subgraph."""
        return make(
            "SubGraph",
            {
                "tensors": tuple(self.tensors),
                "inputs": vector(list(inputs)),
                "outputs": vector(list(outputs)),
                "operators": tuple(self.operators),
                "name": name,
            },
        )


def _sequence(value: Attribute | None) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()


def _plain(shape: Sequence[int], kind: int, name: str) -> Record:
    values = {"shape": vector(list(shape)), "type": kind, "name": name, "has_rank": True}
    return make("Tensor", values)


def _type(dtype: str, name: str) -> int:
    number = type_number(dtype)
    if number is None:
        raise UnsupportedError(f"'{name}': TensorFlow Lite has no type {dtype}")
    return number


def _quantization(found: ActivationQuantization) -> Record:
    """The parameters of a value."""
    assert found.scale is not None
    scale = np.asarray(found.scale, np.float32).reshape(-1)
    zero = np.zeros(scale.size, np.int64)
    if found.zero_point is not None:
        zero = np.asarray(found.zero_point).astype(np.int64).reshape(-1)
    values = {"scale": scale, "zero_point": zero, "quantized_dimension": found.axis or 0}
    return make("QuantizationParameters", values)
