"""Random quantized convolutions of ONNX in LiteRT, against plain integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import w2e_bridge

Array = NDArray[Any]
LIMIT = 14
"""Extents of space stay below."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Codes of values: type, scale, zero point."""

    dtype: Any
    scale: np.float32
    zero: int

    def codes(self, numbers: Array) -> Array:
        """Whole numbers around 0 as codes."""
        info = np.iinfo(self.dtype)
        codes: Array = np.clip(numbers + self.zero, info.min, info.max).astype(self.dtype)
        return codes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """A convolution, an activation and the grid of what comes out.

    Attributes:
        codes: of the weights, (outputs, inputs / groups, height, width).
        scale: of the weights: one, or one for each output.
        shift: what is added to codes and zero points in the file, whose weights may be unsigned.
        bias: int32 codes, None = no bias.
        group, strides, dilations: as ONNX says them.
        auto: `auto_pad`.
        pads: begin and end of height, then of width.
        activation: "", "Relu" or "Clip".
        output: its codes.
    """

    codes: Array
    scale: Array
    shift: int
    bias: Array | None
    group: int
    strides: Sequence[int]
    dilations: Sequence[int]
    auto: str
    pads: tuple[tuple[int, int], tuple[int, int]]
    activation: str
    output: Grid


def taps(layer: Layer, axis: int) -> int:
    return int((layer.codes.shape[2 + axis] - 1) * layer.dilations[axis] + 1)


def borders(layer: Layer, sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros before and behind each axis, as onnx/onnx docs/Operators.md, Conv, has auto_pad."""
    if layer.auto == "NOTSET":
        return list(layer.pads)
    if layer.auto == "VALID":
        return [(0, 0), (0, 0)]
    found = []
    for axis, size in enumerate(sizes):
        steps = -(-size // layer.strides[axis])
        total = max(0, (steps - 1) * layer.strides[axis] + taps(layer, axis) - size)
        less, more = total // 2, total - total // 2
        found.append((less, more) if layer.auto == "SAME_UPPER" else (more, less))
    return found


def sums(x: Array, layer: Layer) -> Array:
    """What the kernel adds up, in integers."""
    (top, bottom), (left, right) = borders(layer, x.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    outputs, depth, height, width = layer.codes.shape
    (down, along), (dy, dx) = layer.strides, layer.dilations
    rows = (x.shape[2] - taps(layer, 0)) // down + 1
    columns = (x.shape[3] - taps(layer, 1)) // along + 1
    each = outputs // layer.group
    total = np.zeros((x.shape[0], outputs, rows, columns), np.int64)
    for g in range(layer.group):
        part = x[:, g * depth : (g + 1) * depth]
        kernel = layer.codes[g * each : (g + 1) * each].astype(np.int64)
        for i in range(height):
            for j in range(width):
                seen = part[
                    :,
                    :,
                    i * dy : i * dy + (rows - 1) * down + 1 : down,
                    j * dx : j * dx + (columns - 1) * along + 1 : along,
                ]
                total[:, g * each : (g + 1) * each] += np.einsum(
                    "oc,nchw->nohw", kernel[:, :, i, j], seen
                )
    return total if layer.bias is None else total + layer.bias.reshape(1, -1, 1, 1)


def computed(x: Array, grid: Grid, layers: Sequence[Layer]) -> Array:
    """The codes that come out: sums times one float32 factor, rounded half to even."""
    for layer in layers:
        out = layer.output
        factor = np.float32(grid.scale * layer.scale) / out.scale  # (1,) or (outputs,)
        total = sums(x.astype(np.int64) - grid.zero, layer).astype(np.float32)
        steps = np.rint(total * factor.astype(np.float32).reshape(1, -1, 1, 1))
        low, high = -np.inf, np.inf
        if layer.activation:
            low = 0
        if layer.activation == "Clip":
            high = float(np.rint(np.float32(6) / out.scale))
        x, grid = out.codes(np.clip(steps, low, high).astype(np.int64)), out
    return x


def model(shape: Sequence[int], grid: Grid, layers: Sequence[Layer]) -> onnx.ModelProto:
    """The layers as onnxruntime.quantization writes them: Q/DQ around float operators."""
    constants: dict[str, Any] = {"low": np.float32(0), "high": np.float32(6)}
    nodes: list[onnx.NodeProto] = []

    def node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def constant(name: str, value: Any) -> str:
        constants[name] = value
        return name

    def ends(name: str, of: Grid) -> list[str]:
        zero = np.asarray(of.zero, of.dtype)
        return [constant(f"{name}.scale", of.scale), constant(f"{name}.zero", zero)]

    value = node("DequantizeLinear", ["x", *ends("x", grid)], "x.real")
    for n, layer in enumerate(layers):
        stored = np.uint8 if layer.shift else np.int8
        codes = constant(f"w{n}", (layer.codes.astype(int) + layer.shift).astype(stored))
        per = layer.scale.size > 1
        scale = layer.scale if per else layer.scale.reshape(())
        sides = [
            constant(f"w{n}.scale", scale),
            constant(f"w{n}.zero", np.full(scale.shape, layer.shift, stored)),
        ]
        axis = {"axis": 0} if per else {}
        inputs = [value, node("DequantizeLinear", [codes, *sides], f"w{n}.real", **axis)]
        if layer.bias is not None:
            steps = constant(f"b{n}.scale", np.float32(grid.scale * scale))
            zero = constant(f"b{n}.zero", np.zeros(scale.shape, np.int32))
            held = [constant(f"b{n}", layer.bias), steps, zero]
            inputs.append(node("DequantizeLinear", held, f"b{n}.real", **axis))
        attributes: dict[str, Any] = {
            "group": layer.group, "strides": layer.strides, "dilations": layer.dilations,
            "auto_pad": layer.auto, "kernel_shape": layer.codes.shape[2:],
        }  # fmt: skip
        if layer.auto == "NOTSET":
            attributes["pads"] = [pair[side] for side in (0, 1) for pair in layer.pads]
        value = node("Conv", inputs, f"c{n}", **attributes)
        if layer.activation:
            rest = ["low", "high"] if layer.activation == "Clip" else []
            value = node(layer.activation, [value, *rest], f"a{n}")
        grid = layer.output
        last = n == len(layers) - 1
        value = node(
            "QuantizeLinear", [value, *ends(f"y{n}", grid)], "y" if last else f"y{n}.codes"
        )
        if not last:
            value = node("DequantizeLinear", [value, *nodes[-1].input[1:]], f"y{n}.real")
    kinds = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kinds[grid.dtype], shape)],
        [helper.make_tensor_value_info("y", kinds[grid.dtype], None)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    versions = [helper.make_opsetid("", 19)]
    return helper.make_model(graph, opset_imports=versions, ir_version=10)


@st.composite
def grids(draw: st.DrawFn, dtype: Any, scale: float) -> Grid:
    info = np.iinfo(dtype)
    zero = draw(st.integers(int(info.min), int(info.max)))
    factor = draw(st.floats(0.75, 1.5, width=32))
    return Grid(dtype=dtype, scale=np.float32(scale * factor), zero=zero)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Array, Grid, list[Layer]]:
    """An input and one to three layers."""
    dtype = draw(st.sampled_from([np.int8, np.uint8]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = [draw(st.integers(1, 2)), draw(st.integers(1, 8))]
    shape += [draw(st.integers(1, LIMIT - 1)) for _ in range(2)]
    grid = first = draw(grids(dtype, draw(st.sampled_from([0.004, 0.02, 0.1]))))
    info = np.iinfo(dtype)
    codes = x = chance.integers(info.min, info.max, shape, endpoint=True).astype(dtype)
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 3))):
        layer = draw(layer_after(codes, grid, chance))
        layers.append(layer)
        codes, grid = computed(codes, grid, [layer]), layer.output
    return x, first, layers


@st.composite
def layer_after(draw: st.DrawFn, x: Array, grid: Grid, chance: np.random.Generator) -> Layer:
    channels, sizes = x.shape[1], x.shape[2:]
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    group = draw(st.sampled_from([1, channels, *divisors]))
    outputs = group * draw(st.integers(1, max(1, 8 // group)))
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    strides = [draw(st.integers(1, 3)) for _ in range(2)]
    dilations = [draw(st.sampled_from([1, 1, 2])) for _ in range(2)]
    kernel, pads = [], []
    equal = draw(st.booleans())
    for axis in range(2):
        before = draw(st.integers(0, 2))
        after = before if equal else draw(st.integers(0, 2))
        room = sizes[axis] + (before + after if auto == "NOTSET" else 0)
        most = max(1, (room - 1) // dilations[axis] + 1)
        kernel.append(draw(st.integers(1, min(most, 5))))
        pads.append((before, after))
    codes = chance.integers(-127, 127, (outputs, channels // group, *kernel), endpoint=True)
    per = draw(st.booleans())
    scale = chance.uniform(0.002, 0.01, outputs if per else 1).astype(np.float32)
    spread = float(grid.scale) * float(scale.mean()) * 5000 * (codes[0].size ** 0.5)
    layer_output = draw(grids(grid.dtype, spread / 128))
    bias = chance.integers(-9000, 9000, outputs).astype(np.int32)
    return Layer(
        codes=codes,
        scale=scale,
        shift=draw(st.sampled_from([0, 128])),
        bias=draw(st.sampled_from([bias, None])),
        group=group,
        strides=strides,
        dilations=dilations,
        auto=auto,
        pads=(pads[0], pads[1]),
        activation=draw(st.sampled_from(["", "Relu", "Clip"])),
        output=layer_output,
    )


def litert(path: Path, x: Array) -> Array:
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    made: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return made


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(case=chains())
def test_integers(case: tuple[Array, Grid, list[Layer]]) -> None:
    x, grid, layers = case
    wanted = computed(x, grid, layers)
    with TemporaryDirectory() as folder:
        source, target = Path(folder) / "model.onnx", Path(folder) / "out.tflite"
        onnx.save(model(x.shape, grid, layers), source)
        report = w2e_bridge.convert(source, to="tflite", out=target, audit="none")
        assert {row.grade.label for row in report.tensors} <= {"exact"}
        got = litert(target, x)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)
