"""What every network for TensorRT is at its end: without functions, named, of the lowest operator set that serves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import STANDARD
from w2e_bridge.graph.qdq_emit import opset_of
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor
from w2e_tensorrt.lint_rules import has_operator

FOLDER = "model"
"""Stem of the model in a folder of its own."""

OPSETS = {19: 9, 20: 9, 21: 10, 23: 11}
"""Operator sets and their IR versions. The lowest that has what is needed: ONNX Runtime 1.32 can't load
all int8 Q/DQ graphs of set 21 (its optimizer loses the type of a zero point), and judges compare with it."""

NEWER = {"GroupNormalization": 21}
"""Operators that mean something else since a later set; graphs are in the words of the newest."""


def companion(stem: str, name: str) -> str:
    """What a file beside the model is called: in a folder of their own its name, else under the model's stem."""
    return name if stem == FOLDER else f"{stem}.{name}"


def inline(work: ir.Model) -> None:
    """Put the bodies of functions in the places of their calls: the engine's builder knows none by name."""
    from onnx_ir.passes.common import InlinePass

    if work.functions:
        version = work.graph.opset_imports.get("", max(OPSETS))
        for function in work.functions.values():
            function.opset_imports[""] = version
        InlinePass()(work)


def opset_for(work: ir.Model, tensors: Mapping[str, Tensor]) -> int:
    """The lowest operator set that has every node and encoding."""
    needed = [
        opset_of(tensor.encoding, tensor.shape, tensor.dtype)
        for tensor in tensors.values()
        if tensor.encoding.quantized
    ]
    for graph in work.graphs():
        needed += [since(node) for node in graph if not node.domain]
    return next((known for known in OPSETS if known >= max(needed, default=0)), max(OPSETS))


def since(node: ir.Node) -> int:
    """The operator set in which a standard operator first appeared in the form that is written."""
    import onnx

    if node.op_type in NEWER:
        return NEWER[node.op_type]

    history = onnx.defs.get_all_schemas_with_history()
    versions = [s.since_version for s in history if s.name == node.op_type and not s.domain]
    return min(versions, default=0)


def finish(work: ir.Model, opset: int) -> None:
    """Take out what nothing calls, name the nodes, and set the operator set.

    Raises:
        UnsupportedError: operators that TensorRT has not.
    """
    called = {node.op_identifier() for graph in work.graphs() for node in graph}
    for identifier in [i for i in work.functions if i not in called]:
        del work.functions[identifier]
    _refuse_missing(work)
    _own_names(work)
    work.graph.opset_imports.clear()
    others = {node.domain for graph in work.graphs() for node in graph} - set(STANDARD)
    work.graph.opset_imports.update({"": opset} | dict.fromkeys(sorted(others), 1))
    work.ir_version = OPSETS[opset]


def _refuse_missing(work: ir.Model) -> None:
    nodes = [node for graph in work.graphs() for node in graph]
    missing = Counter(n.op_type for n in nodes if not has_operator(n.domain, n.op_type))
    if missing:
        said = ", ".join(f"{kind} ({count})" for kind, count in sorted(missing.items()))
        raise UnsupportedError(f"TensorRT has no {said}; nothing was written")


def _own_names(work: ir.Model) -> None:
    """Node names that occur once in all graphs: the parser makes layers of them, inner graphs' too."""
    taken: set[str] = set()
    for number, node in enumerate(node for graph in work.graphs() for node in graph):
        if not node.name or node.name in taken:
            node.name = f"{node.name or node.op_type}#{number}"
        taken.add(node.name)


def describe(work: ir.Model, model: Model) -> None:
    """What else the source says."""
    work.producer_name = "w2e-bridge"
    for key, value in model.metadata.items():
        work.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)
