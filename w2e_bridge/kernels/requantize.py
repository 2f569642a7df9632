"""Changes of a value's type: real numbers to codes and back, codes to other codes, numbers to other numbers."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given
from w2e_bridge.graph.weights import DTYPE_NAMES, DTYPES
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.elementwise import single, type_of
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope, attribute


def _same(operation: Operation, builder: Builder) -> None:
    # Quantization is a property of values: between two of them nothing else happens.
    x = builder.value(operation.inputs[0])
    builder.node("Identity", [x], outputs=operation.outputs)


def _match_quantize(root: ir.Node, scope: Scope) -> Operation | None:
    x = given(root, 0)
    if x is None or scope.static(root.outputs[0]) is None:
        return None
    return single("quantize", root, [x])


def _match_dequantize(root: ir.Node, scope: Scope) -> Operation | None:
    x = given(root, 0)
    if x is None or scope.quantization(root.outputs[0]) is not None:
        return None
    tensor = scope.tensor(x)
    quantized = tensor is not None and tensor.encoding.quantized
    if not quantized and scope.static(x) is None:
        return None
    return single("dequantize", root, [x])


def _cast(operation: Operation, builder: Builder) -> None:
    to = type_of(operation.outputs[0]) or operation.text("out_data_type").lower()
    if to not in DTYPES:
        raise UnsupportedError(f"cast to {to}")
    x = builder.value(operation.inputs[0])
    builder.node("Cast", [x], {"to": int(DTYPES[to])}, outputs=operation.outputs)


def _match_cast(root: ir.Node, scope: Scope) -> Operation | None:
    x, to = given(root, 0), attribute(root, "to")
    if x is None or not isinstance(to, int) or scope.quantization(x) is not None:
        return None
    into = DTYPE_NAMES.get(ir.DataType(to), "")
    types = {"in_data_type": type_of(x).upper(), "out_data_type": into.upper()}
    return single("cast", root, [x], dict(types)) if all(types.values()) else None


KINDS = (
    Kind(name="quantize", build=_same, roots=("Identity",), match=_match_quantize),
    Kind(name="dequantize", build=_same, roots=("Identity",), match=_match_dequantize),
    Kind(name="cast", build=_cast, roots=("Cast",), match=_match_cast),
)
