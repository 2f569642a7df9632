"""The canonical model to what TensorRT 11 builds an engine from: a network with symmetric Q/DQ, and build settings."""

from __future__ import annotations

from dataclasses import replace

from w2e_bridge.formats.output import Output, small_file
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.data import network_files
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.qdq import unfold
from w2e_bridge.graph.qdq_minimums import add_minimums
from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.graph.store import store
from w2e_bridge.graph.weights import weights_of
from w2e_bridge.ir.model import Model
from w2e_bridge.loss import TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_tensorrt.lowering.cutting import cut
from w2e_tensorrt.lowering.finishing import companion, describe, finish, inline, opset_for
from w2e_tensorrt.lowering.interface import Interface, public_floats
from w2e_tensorrt.lowering.joining import join_weights
from w2e_tensorrt.lowering.narrow import Narrow
from w2e_tensorrt.lowering.placement import Placement
from w2e_tensorrt.lowering.ranges import rectify
from w2e_tensorrt.lowering.resizing import resize_numbers
from w2e_tensorrt.lowering.scalars import with_axis
from w2e_tensorrt.lowering.scales import byte_scales
from w2e_tensorrt.lowering.states import ANEW, OPTION, settle
from w2e_tensorrt.settings import settings

VERSION = ">=11"


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx`, its data file, `build.json` and `trtexec.args`.

    Args:
        model: with a graph, channels first.
        decisions: how each tensor is held.
        request: the stem, and what becomes of states.
    """
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
    build = settings(model, work.graph, states.described(interface.io), VERSION, stem=request.stem)
    return Output(
        files=(
            *network_files(work, data),
            *(small_file(companion(request.stem, name), text) for name, text in build.files()),
        ),
        values=tuple(_named(row, interface) for row in placement.losses),
        ignored=states.ignored,
        hints=build.effects,
        conditions=(*states.conditions, *narrow.conditions(editor.tensors.values())),
        summary=_summary(decisions, len(placement.kept)),
    )


def _named(row: TensorLoss, interface: Interface) -> TensorLoss:
    """A row under the source's name of its value."""
    name = row.name.removesuffix(".inner")
    return replace(row, name=name) if name in interface.io else row


def _summary(decisions: Decisions, count: int) -> str:
    widths = sorted(
        {d.tensor.encoding.codes.bits for d in decisions.values() if d.tensor.encoding.quantized}
    )
    stored = f"{'-, '.join(map(str, widths))}-bit symmetric weights" if widths else "float weights"
    return (
        f"{stored}; {count} activations rounded to int8" if count else f"{stored}; floats between"
    )
