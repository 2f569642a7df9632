"""TFLite_Detection_PostProcess: boxes from anchors, scores, and non-maximum suppression.

Source: tensorflow/lite/kernels/detection_postprocess.cc. Rows behind the last detection are zeros here;
the kernel leaves them as they were in its fast mode.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.flexbuffer import numbers_of
from w2e_bridge.kernels.function import Functional, plain_attributes
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.lstm import build_call, match_call
from w2e_bridge.kernels.operation import Constant, Operation
from w2e_bridge.kernels.scope import Match, Scope

KIND, FUNCTION = "custom:TFLite_Detection_PostProcess", "TFLiteDetectionPostProcess"
OPTIONS = "custom_options"

PER_CLASS = 100
"""Detections of a class where the options say nothing."""

BELOW = np.float32(-3e38)
"""A score that no detection has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Options of the operator.

    Attributes:
        most: detections.
        classes_each: classes that are given for each detection, in the fast mode.
        per_class: detections of a class, in the regular mode.
        regular: whether each class is suppressed by itself.
        least: score of a detection.
        overlap: intersection over union, above which a box is suppressed.
        classes: without the background.
        scales: of y, x, h, w.
    """

    most: int
    classes_each: int
    per_class: int
    regular: bool
    least: np.float32
    overlap: np.float32
    classes: int
    scales: tuple[float, float, float, float]

    @classmethod
    def of(cls, data: bytes) -> Settings:
        """The settings in an operator's options."""
        said = numbers_of(data)
        found = cls(
            most=int(said.get("max_detections", 0)),
            classes_each=int(said.get("max_classes_per_detection", 0)),
            per_class=int(said.get("detections_per_class", PER_CLASS)),
            regular=bool(said.get("use_regular_nms", False)),
            least=np.float32(said.get("nms_score_threshold", 0)),
            overlap=np.float32(said.get("nms_iou_threshold", 0)),
            classes=int(said.get("num_classes", 0)),
            scales=tuple(float(said.get(f"{side}_scale", 0)) for side in "yxhw"),  # type: ignore[arg-type]
        )
        if min(found.most, found.classes_each, found.classes, found.per_class) < 1:
            raise UnsupportedError("options without detections or classes")
        if not 0 < found.overlap <= 1 or 0 in found.scales:
            raise UnsupportedError("options with an overlap or a scale that is none")
        return found


def _boxes(body: Functional, codes: ir.Value, anchors: ir.Value, settings: Settings) -> ir.Value:
    """(boxes, 4): ymin, xmin, ymax, xmax; computed in float64 and rounded where the kernel does."""
    double, single = ({"to": int(t)} for t in (ir.DataType.DOUBLE, ir.DataType.FLOAT))
    first = body.add("Squeeze", [codes, body.literal(np.asarray([0], np.int64))])
    ends = [body.literal(np.asarray([n], np.int64)) for n in (0, 4, 1)]
    first = body.add("Cast", [body.add("Slice", [first, *ends])], double)
    scaled = body.add("Div", [first, body.literal(np.asarray(settings.scales, np.float64))])
    at, size = body.split(scaled, 2)
    origin, extent = body.split(body.add("Cast", [anchors], double), 2)
    moved = body.add("Add", [body.add("Mul", [at, extent]), origin])
    half = body.add("Mul", [body.literal(np.float64(0.5)), body.add("Exp", [size])])
    half = body.add("Cast", [body.add("Mul", [half, extent])], single)
    centre = body.add("Cast", [moved], single)
    return body.joined([body.add("Sub", [centre, half]), body.add("Add", [centre, half])], -1)


def _scores(body: Functional, scores: ir.Value, settings: Settings) -> ir.Value:
    """(boxes, classes), the background left out."""
    whole = body.add("Squeeze", [scores, body.literal(np.asarray([0], np.int64))])
    ends = [-settings.classes, np.iinfo(np.int64).max, 1]
    return body.add("Slice", [whole, *(body.literal(np.asarray([n], np.int64)) for n in ends)])


def _suppressed(
    body: Functional, boxes: ir.Value, scores: ir.Value, most: int, settings: Settings
) -> ir.Value:
    """Rows (batch, class, box) of NonMaxSuppression over scores (classes, boxes)."""
    axis = body.literal(np.asarray([0], np.int64))
    least = np.nextafter(settings.least, np.float32(-np.inf))  # the kernel keeps what equals it
    return body.add(
        "NonMaxSuppression",
        [
            body.add("Unsqueeze", [boxes, axis]),
            body.add("Unsqueeze", [scores, axis]),
            body.literal(np.asarray([most], np.int64)),
            body.literal(np.asarray([settings.overlap], np.float32)),
            body.literal(np.asarray([least], np.float32)),
        ],
    )


def _columns(body: Functional, rows: ir.Value) -> list[ir.Value]:
    """The class and the box of each row."""
    axis = body.literal(np.asarray([1], np.int64))
    return [body.add("Squeeze", [part, axis]) for part in body.split(rows, 3)[1:]]


def _count(body: Functional, rows: ir.Value) -> ir.Value:
    return body.add("Shape", [rows], {"start": 0, "end": 1})


def _padded(body: Functional, value: ir.Value, count: ir.Value, most: int) -> ir.Value:
    """Rows up to `most`, zeros behind; `count` is how many there are."""
    room = body.add("Sub", [body.literal(np.asarray([most], np.int64)), count])
    zero = body.literal(np.asarray([0], np.int64))
    return body.add("Pad", [value, body.joined([zero, room]), None, zero])


def _fast(
    body: Functional, boxes: ir.Value, scores: ir.Value, settings: Settings
) -> list[ir.Value]:
    """Boxes are suppressed by their best class; each that is left has its best few."""
    each = min(settings.classes_each, settings.classes)
    count = body.literal(np.asarray([each], np.int64))
    best, classes = body.add_many("TopK", [scores, count], {"axis": -1}, 2)
    first = [body.literal(np.asarray([n], np.int64)) for n in (0, 1, 1)]
    top = body.add("Transpose", [body.add("Slice", [best, *first])], {"perm": (1, 0)})
    rows = _suppressed(body, boxes, top, settings.most, settings)
    _, box = _columns(body, rows)
    number = _count(body, rows)
    real = body.add("Cast", [classes], {"to": int(ir.DataType.FLOAT)})
    found = [body.add("Gather", [value, box], {"axis": 0}) for value in (boxes, real, best)]
    corners = body.add("Unsqueeze", [found[0], body.literal(np.asarray([1], np.int64))])
    repeats = body.literal(np.asarray([1, each, 1], np.int64))
    wide = [body.add("Tile", [corners, repeats]), *found[1:]]
    if each < settings.classes_each:
        room = body.literal(np.asarray([0, settings.classes_each - each], np.int64))
        axis = body.literal(np.asarray([1], np.int64))
        wide = [body.add("Pad", [value, room, None, axis]) for value in wide]
    return [*(_padded(body, value, number, settings.most) for value in wide), number]


def _regular(
    body: Functional, boxes: ir.Value, scores: ir.Value, settings: Settings
) -> list[ir.Value]:
    """Every class is suppressed by itself; the best of all are kept."""
    across = body.add("Transpose", [scores], {"perm": (1, 0)})
    limit = min(settings.per_class, settings.most)
    rows = _suppressed(body, boxes, across, limit, settings)
    label, box = _columns(body, rows)
    pair = body.joined([body.add("Unsqueeze", [v, body.literal(np.asarray([1], np.int64))]) for v in (label, box)], 1)  # fmt: skip
    score = body.add("GatherND", [across, pair])
    # As many worse ones behind them, so that there are enough; they are cut off again.
    worse = body.literal(np.full(settings.most, BELOW, np.float32))
    count = body.literal(np.asarray([settings.most], np.int64))
    best, order = body.add_many("TopK", [body.joined([score, worse]), count], {"axis": 0}, 2)
    number = body.add("Min", [_count(body, rows), count])
    start, axis = (body.literal(np.asarray([0], np.int64)) for _ in range(2))
    order = body.add("Slice", [order, start, number, axis])
    kept = body.add("Slice", [best, start, number, axis])
    corners = body.add("Gather", [boxes, body.add("Gather", [box, order])])
    classes = body.add("Cast", [body.add("Gather", [label, order])], {"to": int(ir.DataType.FLOAT)})
    most = settings.most * settings.classes_each
    return [*(_padded(body, value, number, most) for value in (corners, classes, kept)), number]


def function(operation: Operation) -> ir.Function:
    """The function of an operation."""
    options = operation.attributes.get(OPTIONS)
    settings = Settings.of(options if isinstance(options, bytes) else b"")
    body = Functional()
    formal = [ir.Value(name=name) for name in ("boxes", "scores", "anchors")]
    boxes = _boxes(body, formal[0], formal[2], settings)
    scores = _scores(body, formal[1], settings)
    *found, number = (_regular if settings.regular else _fast)(body, boxes, scores, settings)
    most = settings.most * settings.classes_each
    shapes = [(1, most, 4), (1, most), (1, most)]
    outputs = [
        body.add("Reshape", [value, body.literal(np.asarray(shape, np.int64))])
        for value, shape in zip(found, shapes, strict=True)
    ]
    outputs.append(body.add("Cast", [number], {"to": int(ir.DataType.FLOAT)}))
    return body.finish(FUNCTION, formal, outputs, plain_attributes(operation.attributes))


def _build(operation: Operation, builder: Builder) -> None:
    if len(operation.inputs) != 3 or len(operation.outputs) != 4:
        raise UnsupportedError("other operands or outputs than the operator has")
    if any(isinstance(operand, Constant) for operand in operation.inputs[:2]):
        raise UnsupportedError("boxes or scores that are constants")
    build_call(operation, builder, function(operation))


def match_custom(kind: str) -> Match:
    """What reads the call of a custom operator's function."""
    plain = match_call(kind)

    def match(root: ir.Node, scope: Scope) -> Operation | None:
        found = plain(root, scope)
        options = None if found is None else found.attributes.get(OPTIONS, ())
        if found is None or not isinstance(options, tuple):
            return found
        numbers = [n for n in options if isinstance(n, int) and 0 <= n < 256]
        return replace(found, attributes={OPTIONS: bytes(numbers)})

    return match


KINDS = (Kind(name=KIND, build=_build, roots=(f"w2e::{FUNCTION}",), match=match_custom(KIND)),)
