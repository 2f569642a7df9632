"""ONNX's own messages: parsed without trust, their arrays described as byte ranges before anything is read."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped,unused-ignore]
from google.protobuf.message import (  # type: ignore[import-untyped,unused-ignore]
    DecodeError,
    Message,
)
from numpy.typing import NDArray

from w2e_bridge.errors import FormatError, UnsupportedError, Where
from w2e_bridge.formats.source import FileRange, Source
from w2e_bridge.graph.external import ExternalFiles, placement
from w2e_bridge.graph.planes import ArrayRange, sane, stored_width
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.graph.wire import Skeleton
from w2e_bridge.ir.tensor import ByteRange

_NODES = 1 << 20
_DTYPES = {int(value): name for value, name in DTYPE_NAMES.items()}
_ARRAYS = (
    "raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data",
)  # fmt: skip

# onnx_ir warns of damaged graphs on standard error; here they are refused with an error of our own.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An array that a model holds.

    Attributes:
        dtype: element type.
        shape: extents.
        source: its bytes as ONNX's `raw_data` would have them, exactly as many as there must be; None where
            the model doesn't say where they are.
    """

    dtype: str
    shape: tuple[int, ...]
    source: ByteRange | None

    @property
    def nbytes(self) -> int:
        """Bytes that type and shape need."""
        return -(-math.prod(self.shape) * stored_width(self.dtype) // 8)


def parse(data: bytes, where: Where) -> onnx.ModelProto:
    """The message in some bytes; `FormatError` where it is none or has no graph."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(
            where, "no ONNX model: not a protobuf message", "damaged or cut"
        ) from error
    if not proto.HasField("graph") or not (proto.ir_version and proto.opset_import):
        raise FormatError(where, "no ONNX model: expected a graph, a version and an operator set")
    problem = next(_problems(proto), None)
    if problem is not None:
        raise FormatError(where, f"no valid ONNX graph: {problem}")
    return proto


def _problems(proto: onnx.ModelProto) -> Iterator[str]:
    """What `onnx_ir` takes and can't write again, or what would take too long."""
    nodes = [*nodes_of(main_graphs(proto)), *function_nodes(proto)]
    if len(nodes) > _NODES:
        yield f"{len(nodes)} nodes, more than {_NODES}"
    for node in nodes:
        for attribute in node.attribute:
            if not attribute.type:
                yield f"attribute '{attribute.name}' of '{node.name}' has no type"
    for text in _texts(proto):
        if not isinstance(text, str):  # protobuf hands out what is no UTF-8 as bytes
            yield f"{text[:40]!r} is no UTF-8 text"


def _texts(message: Message) -> Iterator[str | bytes]:
    """All text in a message and the messages inside it."""
    todo = [message]
    while todo:
        for field, value in todo.pop().ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                yield from [value] if isinstance(value, str | bytes) else value
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                todo.extend([value] if isinstance(value, Message) else value)


def main_graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and the graphs in its nodes' attributes, each before those inside it."""
    yield proto.graph
    yield from _nested(proto.graph.node)


def function_graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graphs in the attributes of the nodes of functions."""
    for function in proto.functions:
        yield from _nested(function.node)


def _nested(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    todo = list(nodes)
    while todo:
        for attribute in todo.pop().attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield graph
                todo.extend(graph.node)


def nodes_of(graphs: Iterable[onnx.GraphProto]) -> Iterator[onnx.NodeProto]:
    """The nodes of graphs."""
    for graph in graphs:
        yield from graph.node


def function_nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of functions and of the graphs in them."""
    for function in proto.functions:
        yield from function.node
    yield from nodes_of(function_graphs(proto))


def tensors_of(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    """The tensors that are attributes of a node."""
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """Finds the bytes of a file's tensors.

    Attributes:
        source: the model's file.
        key: see `Skeleton`.
        files: its external data.
    """

    source: Source
    key: str
    files: ExternalFiles

    @classmethod
    def of(cls, source: Source, skeleton: Skeleton) -> Arrays:
        """The arrays of a model that was read as a skeleton."""
        return cls(source=source, key=skeleton.key, files=ExternalFiles(model=source.path))

    def array(self, tensor: onnx.TensorProto) -> Array:
        """The array of a tensor, checked to be all there.

        Raises:
            FormatError: type, shape and bytes don't go together.
            UnsupportedError: an element type that the model doesn't know.
        """
        where = Where(path=self.source.path, tensor=tensor.name)
        dtype, shape = typed_shape(tensor, where)
        array = Array(dtype=dtype, shape=shape, source=None)
        return replace(array, source=self._bytes(tensor, array.nbytes, where))

    def _bytes(self, tensor: onnx.TensorProto, need: int, where: Where) -> ByteRange:
        entries = [(entry.key, entry.value) for entry in tensor.external_data]
        notes = [value for key, value in entries if key == self.key]
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if external and not notes:
            return self.files.find(placement(entries, where), need, tensor.name)
        if external or len(notes) > 1:
            raise FormatError(where, "data in more than one place")
        if not notes:
            return _inline(tensor, need, where)
        offset, length = (int(number) for number in notes[0].split(":"))
        _same_length(length, need, where)
        return FileRange(source=self.source, offset=offset, nbytes=length, what=f"'{tensor.name}'")


def inline_array(tensor: onnx.TensorProto, where: Where) -> Array:
    """The array that a tensor holds itself."""
    dtype, shape = typed_shape(tensor, where)
    array = Array(dtype=dtype, shape=shape, source=None)
    return replace(array, source=_inline(tensor, array.nbytes, where))


def typed_shape(
    tensor: onnx.TensorProto, where: Where, *, strings: bool = False
) -> tuple[str, tuple[int, ...]]:
    """Element type and shape of a tensor, which some machine can hold."""
    if tensor.data_type not in onnx.TensorProto.DataType.values() or tensor.data_type == 0:
        raise FormatError(where, f"expected an element type, found {tensor.data_type}")
    if tensor.data_type not in _DTYPES and not strings:
        name = onnx.TensorProto.DataType.Name(tensor.data_type)
        raise UnsupportedError(f"{where}: elements of type {name} are not supported")
    shape = tuple(tensor.dims)
    if not sane(shape):
        raise FormatError(where, f"expected a shape, found {list(shape)[:8]}")
    if tensor.HasField("segment"):
        raise UnsupportedError(f"{where}: a tensor in segments is not supported")
    return _DTYPES.get(tensor.data_type, "string"), shape


def _same_length(found: int, need: int, where: Where) -> None:
    if found != need:
        problem = f"type and shape need {need} bytes of data, found {found}"
        raise FormatError(where, problem, "damaged, or made by a broken exporter")


def _inline(tensor: onnx.TensorProto, need: int, where: Where) -> ArrayRange:
    data = _raw(tensor, where)
    _same_length(data.nbytes, need, where)
    return ArrayRange(data=data)


def _raw(tensor: onnx.TensorProto, where: Where) -> NDArray[np.uint8]:
    """The array inside a tensor as raw bytes, whichever of the fields it is in.

    Which field holds which type: comments in onnx/onnx onnx/onnx.proto, TensorProto.
    """
    if tensor.HasField("raw_data"):
        return np.frombuffer(tensor.raw_data, np.uint8)
    dtype = _DTYPES[tensor.data_type]
    if dtype not in _FIELD:
        # 16 bits and fewer are in int32_data, one element each; of those that share a byte, one byte each
        width = max(8, stored_width(dtype))
        wide = _numbers(tensor.int32_data, "<i4", where)
        return wide.astype(f"<i{width // 8}", copy=False).view(np.uint8)
    name, kind = _FIELD[dtype]
    numbers = _numbers(getattr(tensor, name), kind[0], where)
    return numbers.astype(kind[1], copy=False).view(np.uint8)


_FIELD: dict[str, tuple[str, tuple[str, str]]] = {
    "float32": ("float_data", ("<f4", "<f4")),
    "float64": ("double_data", ("<f8", "<f8")),
    "int64": ("int64_data", ("<i8", "<i8")),
    "uint64": ("uint64_data", ("<u8", "<u8")),
    "uint32": ("uint64_data", ("<u8", "<u4")),
}
"""Types that have a field of their own: its name, the type of its numbers, the type wanted."""


def _numbers(values: Sequence[float], kind: str, where: Where) -> NDArray[np.generic]:
    try:
        return np.array(values, kind).reshape(-1)
    except (ValueError, OverflowError) as error:
        raise FormatError(where, "numbers out of range") from error


def check_strings(tensor: onnx.TensorProto, where: Where) -> None:
    """Raise `FormatError` unless a tensor of strings has as many as its shape says."""
    _, shape = typed_shape(tensor, where, strings=True)
    found = len(tensor.string_data)
    if found != math.prod(shape):
        problem = f"shape {list(shape)} needs {math.prod(shape)} strings, found {found}"
        raise FormatError(replace(where, tensor=tensor.name), problem)


def strip(tensor: onnx.TensorProto, note: str) -> None:
    """Take the array out of a tensor and leave a note in its place."""
    for name in _ARRAYS:
        tensor.ClearField(name)
    tensor.ClearField("data_location")
    tensor.doc_string = note


def fill(tensor: onnx.TensorProto, array: Array, where: Where) -> None:
    """Put an array's bytes into a tensor itself."""
    if array.source is None:
        raise FormatError(where, "an attribute without its numbers")
    data = array.source.read(0, array.nbytes).tobytes()
    strip(tensor, tensor.doc_string)
    tensor.raw_data = data


def understood(build: Callable[[], object], where: Where) -> object:
    """What a builder of `onnx_ir` returns; its errors, which are of many types, become ours."""
    try:
        return build()
    except Exception as error:  # third-party code over unchecked input
        root = error
        while root.__cause__ is not None and isinstance(root.__cause__, Exception):
            root = root.__cause__
        if isinstance(root, NotImplementedError):
            raise UnsupportedError(f"{where}: {str(root).split(chr(46) + chr(32))[0]}") from error
        reason = str(root).split("\n", maxsplit=1)[0][:200] or type(root).__name__
        raise FormatError(where, f"no valid ONNX graph: {reason}") from error
