"""Arithmetic of shapes and of small constants, done beforehand."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD, is_op
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.passes.layout.site import SMALL, constant, dims, is_constant
from w2e_bridge.passes.legalize.partial import known_of
from w2e_bridge.passes.legalize.place import Place, Work

NEVER = frozenset(
    {"If", "Loop", "Scan", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial", "Transpose", "Identity", "QuantizeLinear", "DequantizeLinear"}
)
"""Operators that are no function of constants, or whose constants a kernel wants as they are."""


def fold(work: Work) -> bool:
    """Replace what depends on constants and known shapes only by its value; whether there was any.

    before: Shape(x) of a known shape; any operator that reads small constants only.
    after: its value.
    why exact: it is what the operator's own reference computes.
    """
    changed = False
    for graph in list(work.editor.model.graphs()):
        for node in list(graph):
            if node.graph is None or node.domain not in STANDARD or len(node.outputs) != 1:
                continue
            place = Place(node=node, work=work)
            value = _value(place)
            if value is not None:
                changed |= _put(place, value)
    return changed


def _put(place: Place, value: AnyArray) -> bool:
    output = place.output
    if output.is_graph_output() or place.quantized(output):
        return False
    dtype = output.dtype
    held = value if dtype is None else value.astype(dtype.numpy())
    return place.pass_on(place.constant(held, held.dtype))


def _value(place: Place) -> AnyArray | None:
    node = place.node
    if is_op(node, "Constant"):
        return constant(node.outputs[0], {}) if node.outputs[0].uses() else None
    partial = _integers(place)
    if partial is not None:
        return partial
    if node.op_type in NEVER or not node.inputs or _has_body(node) or _base(node):
        return None
    arrays = [None if v is None else _small(place, v) for v in node.inputs]
    missing = [v is not None and a is None for v, a in zip(node.inputs, arrays, strict=True)]
    if any(missing) or all(a is None for a in arrays):
        return None
    shape = dims(node.outputs[0])
    if shape is None or any(not isinstance(d, int) for d in shape):
        return None
    return _computed(node, arrays, place.work.opset)


def _integers(place: Place) -> AnyArray | None:
    """A vector of integers that shapes decide."""
    output = place.output
    if output.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    found = known_of(output, place.work.editor.tensors)
    if found is None or any(not isinstance(n, int) for n in found.numbers):
        return None
    numbers = np.asarray(found.numbers, np.int64)
    return numbers.reshape(()) if found.scalar else numbers


def _small(place: Place, value: ir.Value) -> AnyArray | None:
    return constant(value, place.work.editor.tensors) if is_constant(value) else None


def _base(node: ir.Node) -> bool:
    """Whether it is what a kernel scatters into."""
    users = [user.op_type for output in node.outputs for user, _ in output.uses()]
    return node.op_type == "ConstantOfShape" and "ScatterND" in users


def _has_body(node: ir.Node) -> bool:
    return any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values())


def _computed(node: ir.Node, arrays: list[AnyArray | None], opset: int) -> AnyArray | None:
    """What the reference implementation of the `onnx` package gives."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    names = ["" if array is None else f"x{i}" for i, array in enumerate(arrays)]
    made = ir.serde.serialize_node(node)
    del made.input[:], made.output[:]
    made.input.extend(names)
    made.output.append("y")
    infos = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in zip(names, arrays, strict=True)
        if array is not None
    ]
    graph = onnx.helper.make_graph([made], "constant", infos, [onnx.ValueInfoProto(name="y")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    feeds = {n: a for n, a in zip(names, arrays, strict=True) if a is not None}
    try:
        (found,) = ReferenceEvaluator(model).run(None, feeds)
    except Exception:  # what can't be computed beforehand stays as it is
        return None
    array = np.asarray(found)
    return array if array.size <= SMALL and array.dtype.kind in "fiub" else None
