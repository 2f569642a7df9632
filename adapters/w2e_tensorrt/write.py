"""The canonical model to a folder from which TensorRT builds an engine: Q/DQ graph, build settings, report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from w2e_bridge.formats.output import Output, OutputFile, small_file
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import STANDARD
from w2e_bridge.graph.qdq import unfold
from w2e_bridge.graph.qdq_emit import opset_of
from w2e_bridge.graph.qdq_minimums import add_minimums
from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.graph.store import store
from w2e_bridge.graph.weights import weights_of
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_tensorrt.lowering.cutting import cut
from w2e_tensorrt.lowering.interface import Interface, public_floats
from w2e_tensorrt.lowering.joining import join_weights
from w2e_tensorrt.lowering.narrow import Narrow
from w2e_tensorrt.lowering.placement import Placement
from w2e_tensorrt.lowering.ranges import rectify
from w2e_tensorrt.lowering.resizing import resize_numbers
from w2e_tensorrt.lowering.scalars import with_axis
from w2e_tensorrt.lowering.scales import byte_scales
from w2e_tensorrt.lowering.states import ANEW, OPTION, settle
from w2e_tensorrt.profiles import EXPLICIT, TRT10
from w2e_tensorrt.settings import settings

OPSETS = {19: 9, 20: 9, 21: 10, 23: 11}
"""Operator sets and their IR versions. The lowest that has what is needed: ONNX Runtime 1.32 can't load
all int8 Q/DQ graphs of set 21 (its optimizer loses the type of a zero point), and judges compare with it."""

NEWER = {"GroupNormalization": 21}
"""Operators that mean something else since a later set; graphs are in the words of the newest."""

VERSIONS = {EXPLICIT.name: ">=11"}


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx`, its data file, `build.json` and `trtexec.args`.

    Args:
        model: with a graph, channels first.
        decisions: how each tensor is held.
        request: name of the profile.
    """
    if request.profile == TRT10.name:
        from w2e_tensorrt import trt10  # which finishes its graph with what stands here

        return trt10.lower(model, decisions, request)
    assert model.graph is not None
    work = model.graph.clone()
    inline(work)
    drop_unused(work.graph)
    model = replace(model, activations=resize_numbers(work, model.activations))
    states = settle(work, model, str(request.options.get(OPTION) or ANEW))
    rectify(work, model.activations)
    interface = public_floats(work.graph, model.activations)
    narrow = Narrow.of(interface.values)
    placement = Placement(values=narrow.others)
    placement.run(work)
    narrow.place(placement, work)
    used = {name for graph in work.graphs() for name, _ in weights_of(graph)}
    tensors = {name: decisions[name].tensor for name in used if name in decisions}
    cut(work, {**model.activations, **interface.values}, placement.held(), tensors)
    editor = Editor(model=work, tensors=tensors)
    placement.move(editor)
    join_weights(editor)
    with_axis(editor)
    opset = opset_for(work, editor.tensors)
    add_minimums(editor)
    narrow.write(editor)
    unfold(editor, placement.kept)
    byte_scales(editor)
    data = store(work.graph, editor.tensors, f"{request.stem}.onnx.data")
    finish(work, opset)
    describe(work, replace(model, metadata=states.metadata))
    build = settings(model, work.graph, states.described(interface.io), VERSIONS[request.profile])
    content = ir.serde.serialize_model(work).SerializeToString(deterministic=True)
    external = OutputFile(
        name="{stem}.onnx.data", nbytes=data.size, head=tuple(data.head), jobs=tuple(data.jobs)
    )
    return Output(
        files=(
            small_file("{stem}.onnx", content),
            *([external] if data.size else []),
            *(small_file(name, text) for name, text in build.files()),
        ),
        values=tuple(_named(row, interface) for row in placement.losses),
        hints=build.effects,
        conditions=(*states.conditions, *narrow.conditions(editor.tensors.values())),
        summary=_summary(decisions, len(placement.kept)),
    )


def inline(work: ir.Model) -> None:
    """Put the bodies of functions in the places of their calls: the engine's builder knows none by name."""
    from onnx_ir.passes.common import InlinePass

    if work.functions:
        version = work.graph.opset_imports.get("", max(OPSETS))
        for function in work.functions.values():
            function.opset_imports[""] = version
        InlinePass()(work)


def _named(row: TensorLoss, interface: Interface) -> TensorLoss:
    """A row under the source's name of its value."""
    name = row.name.removesuffix(".inner")
    return replace(row, name=name) if name in interface.io else row


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
    """Take out what nothing calls, name the nodes, and set the operator set."""
    called = {node.op_identifier() for graph in work.graphs() for node in graph}
    for identifier in [i for i in work.functions if i not in called]:
        del work.functions[identifier]
    _own_names(work)
    work.graph.opset_imports.clear()
    others = {node.domain for graph in work.graphs() for node in graph} - set(STANDARD)
    work.graph.opset_imports.update({"": opset} | dict.fromkeys(sorted(others), 1))
    work.ir_version = OPSETS[opset]


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


def _summary(decisions: Decisions, count: int) -> str:
    widths = sorted(
        {d.tensor.encoding.codes.bits for d in decisions.values() if d.tensor.encoding.quantized}
    )
    stored = f"{'-, '.join(map(str, widths))}-bit symmetric weights" if widths else "float weights"
    return (
        f"{stored}; {count} activations rounded to int8" if count else f"{stored}; floats between"
    )
