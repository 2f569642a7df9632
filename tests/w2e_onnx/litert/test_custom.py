"""TFLite_Detection_PostProcess against LiteRT, MediaPipe's operators against what their sources say."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from tests.w2e_onnx.litert.steps import again, litert, onnx_of, opened, run
from tests.w2e_tflite.maker import Op, Spec, build
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.flexbuffer import numbers_of

BOXES, CLASSES = 20, 4
SETTINGS = {
    "max_detections": 6, "max_classes_per_detection": 1, "detections_per_class": 3,
    "use_regular_nms": False, "nms_score_threshold": 0.3, "nms_iou_threshold": 0.5,
    "num_classes": CLASSES, "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
}  # fmt: skip


def packed(settings: dict[str, Any]) -> bytes:
    """Options as the converter writes them."""
    builder = flexbuffers.Builder()
    with builder.Map():
        for key, value in settings.items():
            builder.Key(key)
            add = {bool: builder.Bool, int: builder.Int, float: builder.Float}[type(value)]
            add(value)
    return bytes(builder.Finish())


def anchors() -> NDArray[np.float32]:
    """Boxes of a grid that overlap."""
    at = np.stack(np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 4)), -1).reshape(-1, 2)
    return np.concatenate([at, np.full((BOXES, 2), 0.4)], 1).astype(np.float32)


def detector(settings: dict[str, Any], background: int, codes: bool) -> bytes:
    """A file of the operator."""
    said = {"dtype": "uint8", "zero": 120} if codes else {}
    scale = {"scale": 0.05} if codes else {}
    boxes = Spec("boxes", (1, BOXES, 4), **said, **scale)  # type: ignore[arg-type]
    kind = {"dtype": "uint8", "scale": 1 / 256} if codes else {}
    scores = Spec("scores", (1, BOXES, CLASSES + background), **kind)  # type: ignore[arg-type]
    grid = anchors()
    if codes:
        anchor = Spec("anchors", grid.shape, "uint8", scale=1 / 256, data=np.rint(grid * 255))
    else:
        anchor = Spec("anchors", grid.shape, data=grid)
    most = settings["max_detections"] * settings["max_classes_per_detection"]
    outputs = [Spec(f"y{i}", s) for i, s in enumerate([(1, most, 4), (1, most), (1, most), (1,)])]
    name = "custom:TFLite_Detection_PostProcess"
    return build([Op(name, [boxes, scores, anchor], outputs, custom=packed(settings))])


@pytest.mark.parametrize("background", [0, 1])
@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"max_classes_per_detection": 2},
        {"use_regular_nms": True},
        {"use_regular_nms": True, "max_detections": 20, "nms_score_threshold": 0.9},
        {"nms_score_threshold": 0.99, "nms_iou_threshold": 0.2},
    ],
    ids=str,
)
def test_detections(tmp_path: Path, more: dict[str, Any], background: int, codes: bool) -> None:
    settings = SETTINGS | more
    data = detector(settings, background, codes)
    made = onnx_of(opened(data, tmp_path))
    random = np.random.default_rng(len(more))
    shapes = [(1, BOXES, 4), (1, BOXES, CLASSES + background)]
    for _ in range(3):
        if codes:  # without ties, which the kernel's partial sort breaks as it likes
            values: list[Any] = [random.integers(0, 256, shapes[0]).astype(np.uint8)]
            order = random.permutation(256)[: BOXES * (CLASSES + background)]
            values.append(order.reshape(shapes[1]).astype(np.uint8))
        else:
            values = [random.normal(size=shapes[0]).astype(np.float32)]
            values.append(random.uniform(size=shapes[1]).astype(np.float32))
        got, want = run(made, [values])[0], litert(data, [values])[0]
        count = int(want[3][0])
        assert got[3][0] == count
        each = 1 if settings["use_regular_nms"] else settings["max_classes_per_detection"]
        for g, w in zip(got[:3], want[:3], strict=True):
            assert g.shape == w.shape
            assert np.allclose(g[:, : count * each], w[:, : count * each], atol=1e-6)
    back = litert(again(made, tmp_path), [values])[0]
    for g, w in zip(back[:3], want[:3], strict=True):
        assert np.array_equal(g[:, : count * each], w[:, : count * each])


def test_options_that_are_cut_are_refused() -> None:
    whole = packed(SETTINGS)
    assert numbers_of(whole) == pytest.approx(SETTINGS)
    for end in range(len(whole)):
        try:
            numbers_of(whole[:end])
        except UnsupportedError:
            continue
    random = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        broken[random.integers(len(whole))] = random.integers(256)
        try:
            numbers_of(bytes(broken))
        except UnsupportedError:
            continue


def through(op: Op, folder: Path) -> bytes:
    """The ONNX of a file of an operator, which becomes the same operator again."""
    data = build([op])
    made = onnx_of(opened(data, folder))
    assert (
        said(again(made, folder)) == said(data) == [(op.builtin.removeprefix("custom:"), op.custom)]
    )
    return made


def said(data: bytes) -> list[tuple[str, bytes]]:
    """Names and options of a file's custom operators."""
    model = schema.ModelT.InitFromPackedBuf(data)
    codes = [code.customCode.decode() for code in model.operatorCodes]
    graph = model.subgraphs[0]
    return [(codes[op.opcodeIndex], bytes(bytearray(op.customOptions))) for op in graph.operators]


def pool_options(padding: int, stride: int, size: int) -> bytes:
    """`TfLitePoolParams`."""
    return struct.pack("<10i", padding, stride, stride, size, size, 0, 0, 0, 0, 0)


def pooled(x: NDArray[Any], size: int, stride: int, pad: int, out: int) -> list[NDArray[Any]]:
    """max_pool_argmax.cc, window by window."""
    most = np.zeros((1, out, out, x.shape[3]), np.float32)
    index = np.zeros_like(most)
    for y in range(out):
        for z in range(out):
            for c in range(x.shape[3]):
                best = -np.inf
                for dy in range(size):
                    for dx in range(size):
                        a, b = y * stride - pad + dy, z * stride - pad + dx
                        if min(a, b) >= 0 and max(a, b) < x.shape[1] and x[0, a, b, c] > best:
                            best = x[0, a, b, c]
                            index[0, y, z, c] = dy * size + dx + 0.1
                most[0, y, z, c] = best
    return [most, index]


@pytest.mark.parametrize(
    ("padding", "stride", "size", "pad", "out"), [(2, 2, 2, 0, 3), (1, 2, 3, 1, 4)]
)
def test_pooling_says_where(
    tmp_path: Path, padding: int, stride: int, size: int, pad: int, out: int
) -> None:
    extent = 6 if padding == 2 else 7
    x = np.random.default_rng(0).normal(size=(1, extent, extent, 2)).astype(np.float32)
    outputs = [Spec(f"y{i}", (1, out, out, 2)) for i in range(2)]
    op = Op("custom:MaxPoolingWithArgmax2D", [Spec("x", x.shape)], outputs,
            custom=pool_options(padding, stride, size))  # fmt: skip
    got = run(through(op, tmp_path), [[x]])[0]
    for g, w in zip(got, pooled(x, size, stride, pad, out), strict=True):
        assert np.array_equal(g, w)


def test_unpooling_undoes_it(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(2, 3, 4, 2)).astype(np.float32)
    where = random.integers(0, 4, x.shape)
    op = Op("custom:MaxUnpooling2D", [Spec("x", x.shape), Spec("i", x.shape)],
            [Spec("y", (2, 6, 8, 2))], custom=pool_options(1, 2, 2))  # fmt: skip
    (got,) = run(through(op, tmp_path), [[x, where + np.float32(0.1)]])[0]
    want = np.zeros((2, 6, 8, 2), np.float32)
    for n, y, z, c in np.ndindex(*x.shape):
        dy, dx = divmod(int(where[n, y, z, c]), 2)
        want[n, 2 * y + dy, 2 * z + dx, c] = x[n, y, z, c]
    assert np.array_equal(got, want)


@pytest.mark.parametrize("padding", [1, 2])
def test_convolution_with_a_bias(tmp_path: Path, padding: int) -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(1, 3, 4, 2)).astype(np.float32)
    weights = random.normal(size=(5, 3, 3, 2)).astype(np.float32)
    bias = random.normal(size=5).astype(np.float32)
    total = [max(0, 3 - (n - 1) % 2 - 1) if padding == 1 else 0 for n in (3, 4)]
    out = [2 * (n - 1) + 3 - t for n, t in zip((3, 4), total, strict=True)]
    op = Op(
        "custom:Convolution2DTransposeBias",
        [Spec("x", x.shape), Spec("w", weights.shape, data=weights), Spec("b", (5,), data=bias)],
        [Spec("y", (1, *out, 5))],
        custom=struct.pack("<4i", padding, 2, 2, 0),
    )
    made = onnx_of(opened(build([op]), tmp_path))
    (got,) = run(made, [[x]])[0]
    want = np.tile(bias, (1, *out, 1))
    for y, z, dy, dx in np.ndindex(3, 4, 3, 3):
        a, b = 2 * y - total[0] // 2 + dy, 2 * z - total[1] // 2 + dx
        if 0 <= a < out[0] and 0 <= b < out[1]:
            want[0, a, b] += weights[:, dy, dx] @ x[0, y, z]
    assert np.allclose(got, want, atol=1e-5)
    # TRANSPOSE_CONV, which LiteRT has.
    assert np.allclose(litert(again(made, tmp_path), [[x]])[0][0], want, atol=1e-5)
