"""Which layers compute in int8 and which in floats: what a source with codes says of each of its operators.

Grammar of the flag: `--layerPrecisions=NAME:TYPE,…` in NVIDIA/TensorRT samples/common/sampleOptions.cpp, release
10: split at commas, a name ends at the last colon, "*" in it stands for anything, "'" quotes.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD, given, is_op, name_of
from w2e_tensorrt.lowering.kinds import floats_of
from w2e_tensorrt.lowering.placement import MOVING, READERS, WEIGHTED

FREE = MOVING | {"Cast", "Constant", "ConstantOfShape", "If", "Loop", "Range", "Scan", "Where"}
"""Operators that are not told a type: they compute no numbers, or have graphs of their own."""

SEPARATORS = str.maketrans(dict.fromkeys(",'", "_"))
RESERVED = str.maketrans(dict.fromkeys(",'*", "_"))
"""What a layer's name can't have in the flag's grammar; a pattern has a star."""


def precisions(
    model: ir.Model,
    scales: Mapping[str, np.float32],
    quantized: Container[str],
    plain: str = "fp32",
) -> dict[str, str]:
    """The precision of each layer of a network some of whose weights were codes.

    Args:
        model: as it is written.
        scales: the ranges of its values.
        quantized: names of the weights that were codes.
        plain: what the source's floats are.

    Returns:
        By the node's name "int8" or `plain`; nothing where no layer would be int8.
    """
    floats = floats_of(model)
    found: dict[str, str] = {}
    for node in (node for graph in model.graphs() for node in graph):
        results = [value for value in node.outputs if value in floats]
        operands = [v for v in node.inputs if v is not None and v in floats and not _constant(v)]
        if not results or not operands or node.domain not in STANDARD or node.op_type in FREE:
            continue
        ranged = all(name_of(value) in scales for value in [*operands, *results])
        codes = node.op_type not in WEIGHTED or _codes(node, scales, quantized)
        if ranged and codes and node.op_type in READERS:
            found[node.name or ""] = "int8"
        elif not (ranged and codes):
            found[node.name or ""] = plain
    return found if "int8" in found.values() else {}


def spec(found: Mapping[str, str]) -> str:
    """The flag's value."""
    return ",".join(f"{name}:{kind}" for name, kind in found.items())


def _codes(node: ir.Node, scales: Container[str], quantized: Container[str]) -> bool:
    """Whether the weights of a product were codes: stored so, or rounded by the graph; two values have none."""
    weights = given(node, 1)
    if weights is None or not _constant(weights) or name_of(weights) in scales:
        return True
    maker = weights.producer()
    if is_op(maker, "Transpose") and maker is not None:
        weights = given(maker, 0)
    return weights is not None and name_of(weights) in quantized


def _constant(value: ir.Value | None) -> bool:
    """Whether a value is a constant, be it moved."""
    if value is None or value.is_initializer():
        return True
    maker = value.producer()
    if maker is None:
        return False
    if is_op(maker, "Constant"):
        return True
    return maker.op_type in MOVING and _constant(given(maker, 0))
