"""Older forms of standard operators in that of version 23: attributes that became inputs, and meanings that changed.

Source of what changed when: onnx/onnx docs/Changelog.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD
from w2e_bridge.passes.legalize.place import Place, Work

CURRENT = 23

Modern = Callable[[Place], None]


def modernize(work: Work) -> None:
    """Rewrite the nodes of a model of an older version; its version is `CURRENT` then, or as it was.

    before: a graph of any version since 7.
    after: the same graph in the words of version 23.
    why exact: the changelog says that each form is the other.
    """
    if work.opset >= CURRENT:
        return
    for graph in list(work.editor.model.graphs()):
        for node in list(graph):
            rule = _RULES.get(node.op_type) if node.domain in STANDARD else None
            if rule is not None:
                rule(Place(node=node, work=work))
    work.editor.model.graph.opset_imports[""] = CURRENT
    work.opset = CURRENT


def _to_inputs(names: Sequence[str], kind: type[np.generic] = np.int64) -> Modern:
    """Attributes that became inputs, in their order behind the first one."""

    def rule(place: Place) -> None:
        node = place.node
        if not any(name in node.attributes for name in names):
            return
        inputs = list(node.inputs[:1])
        for name in names:
            found = node.attributes.pop(name, None)
            inputs.append(
                None if found is None else place.constant(np.asarray(found.value, kind), kind)
            )
        while inputs[-1] is None:
            inputs.pop()
        node.resize_inputs(len(inputs))
        for slot, value in enumerate(inputs):
            node.replace_input_with(slot, value)

    return rule


def _split(place: Place) -> None:
    node = place.node
    _to_inputs(("split",))(place)
    if len(node.inputs) == 1 and "num_outputs" not in node.attributes:
        node.attributes["num_outputs"] = ir.AttrInt64("num_outputs", len(node.outputs))


def _softmax(place: Place) -> None:
    """Before 13, all axes from `axis` on were one."""
    node, rank = place.node, place.rank(place.need(0))
    axis = place.integer("axis", 1 if place.work.opset < 13 else -1)
    if place.work.opset >= 13 or rank is None:
        return
    axis += rank if axis < 0 else 0
    node.attributes["axis"] = ir.AttrInt64("axis", -1)
    if axis >= rank - 1:
        return
    x = place.need(0)
    shape = place.add("Shape", x)
    flat = place.add("Reshape", x, place.constant([0] * axis + [-1]))
    inner = place.add(node.op_type, flat, attributes={"axis": -1})
    place.replace(place.add("Reshape", inner, shape))


def _resize(place: Place) -> None:
    """Version 10: no region, coordinates not moved to the middle of pixels."""
    if place.work.opset >= 11:
        return
    _as_resize(place, place.need(1))


def _upsample(place: Place) -> None:
    held = place.node.attributes.get("scales")
    scales = place.input(1)
    if scales is None and held is not None:
        scales = place.constant(np.asarray(held.value, np.float32), np.float32)
    if scales is not None:
        _as_resize(place, scales)


def _as_resize(place: Place, scales: ir.Value) -> None:
    mode = place.text("mode", "nearest")
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    }
    place.replace(place.add("Resize", place.need(0), None, scales, attributes=attributes))


def _scatter(place: Place) -> None:
    place.node.op_type = "ScatterElements"


def _top(place: Place) -> None:
    _to_inputs(("k",))(place)
    node = place.node
    k = place.input(1)
    array = place.array(k)
    if array is not None and array.ndim == 0:
        node.replace_input_with(1, place.constant(array.reshape(1)))


def _normalization(place: Place) -> None:
    """Further outputs and attributes that only training had."""
    for name in ("spatial", "is_test", "consumed_inputs"):
        place.node.attributes.pop(name, None)


def _pad(place: Place) -> None:
    node = place.node
    value = node.attributes.pop("value", None)
    _to_inputs(("pads",))(place)
    if value is not None and value.as_float():
        node.resize_inputs(3)
        node.replace_input_with(2, place.constant(np.float32(value.as_float())))


_AXES = _to_inputs(("axes",))
_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum "
    "ReduceSumSquare"
)
_RULES: Mapping[str, Modern] = {
    **dict.fromkeys(_REDUCTIONS.split(), _AXES),
    "Squeeze": _AXES,
    "Unsqueeze": _AXES,
    "Split": _split,
    "Slice": _to_inputs(("starts", "ends", "axes")),
    "Pad": _pad,
    "Clip": _to_inputs(("min", "max"), np.float32),
    "TopK": _top,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Hardmax": _softmax,
    "Resize": _resize,
    "Upsample": _upsample,
    "Scatter": _scatter,
    "BatchNormalization": _normalization,
}
