"""Weights of fewer bits than int8, and other forms: exact, parsed, built, and found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

import w2e_bridge
from tests.graph.support import run
from tests.w2e_onnx.trt_exports import EXPORTS, F32, INT4, Graph
from tests.w2e_tensorrt.runtime import Parsed, library
from w2e_bridge.fidelity.report import Report
from w2e_bridge.formats.lint import Severity
from w2e_bridge.loss import Grade
from w2e_tensorrt.lint import lint

AnyArray = NDArray[Any]
UINT4, UINT8, INT8 = TensorProto.UINT4, TensorProto.UINT8, TensorProto.INT8
N, K = 16, 96
RANDOM = np.random.default_rng(5)


def built(parsed: Parsed, capability: str) -> bool:
    """Whether an engine is made for a kind of device."""
    trt, _ = library()
    config = parsed.builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, capability), 0)
    return parsed.builder.build_serialized_network(parsed.network, config) is not None


def converted(source: bytes, folder: Path, **options: Any) -> tuple[Report, Path]:
    """The report and the model of a bundle."""
    path = folder / "source.onnx"
    path.write_bytes(source)
    report = w2e_bridge.convert(path, to="tensorrt", out=folder / "out", **options)
    return report, folder / "out" / "model.onnx"


def errors(path: Path) -> list[str]:
    return [f.rule.name for f in lint(path) if f.rule.severity is Severity.ERROR]


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_carried_exactly(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    report, path = converted(export.model, tmp_path)
    assert {row.grade for row in (*report.tensors, *report.values)} <= {Grade.EXACT}
    again = w2e_bridge.open(path)
    weight = again.tensors[export.weight]
    if name == "tf2onnx":  # its kernels are turned once and for all
        np.testing.assert_array_equal(weight.dequantize(), export.values.transpose(3, 2, 0, 1))
    else:
        assert str(weight.encoding) == export.encoding
        np.testing.assert_array_equal(weight.dequantize(), export.values)
    found = [(str(p.codes), p.mode.value) for p in again.activations.values()]
    assert found == ([] if export.activation is None else [export.activation])
    assert not errors(path)


@pytest.mark.parametrize("name", EXPORTS)
def test_the_linter_agrees_with_the_parser_on_exports(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    path = tmp_path / "source.onnx"
    path.write_bytes(export.model)
    assert bool(errors(path)) is not export.parsed
    assert Parsed(export.model).ok is export.parsed


@pytest.mark.parametrize("name", [n for n in EXPORTS if EXPORTS[n]().standard])
def test_exports_compute_the_same(name: str, tmp_path: Path) -> None:
    _, path = converted(EXPORTS[name]().model, tmp_path)
    given = onnx.load(path).graph.input[0].type.tensor_type
    shape = [extent.dim_value for extent in given.shape.dim]
    kind = onnx.helper.tensor_dtype_to_np_dtype(given.elem_type)
    x = np.random.default_rng(1).normal(size=shape).astype(kind)
    want, got = (run(p, {"x": x})["y"] for p in (tmp_path / "source.onnx", path))
    np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_are_parsed_and_built(name: str, tmp_path: Path) -> None:
    _, path = converted(EXPORTS[name]().model, tmp_path)
    parsed = Parsed(b"", path)
    assert parsed.ok, parsed.errors
    assert built(parsed, "SM120")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A matrix (N, K) in blocks, and what becomes of it.

    Attributes:
        kind: of its codes.
        low, high: bounds of its codes.
        scale: of each block.
        zero: zero points of its blocks.
        form: of the bundle.
        block: of the source.
    """

    kind: int
    low: int
    high: int
    form: str
    scale: AnyArray
    zero: AnyArray | None = None
    block: int = 32


def scales(block: int = 32, low: float = 0.01, high: float = 0.02) -> AnyArray:
    return RANDOM.uniform(low, high, (N, K // block)).astype(np.float32)


SIGNED = scales() * np.where(RANDOM.random((N, K // 32)) < 0.5, -1, 1).astype(np.float32)
SOME_ZERO = np.where(RANDOM.random((N, K // 32)) < 0.3, 0, scales()).astype(np.float32)

CASES: Mapping[str, Case] = {
    "symmetric": Case(kind=INT4, low=-8, high=8, scale=scales(), form="int4"),
    "zero point 8": Case(
        kind=UINT4, low=0, high=16, scale=scales(), zero=np.full((N, K // 32), 8), form="int4"
    ),
    "other zero points": Case(
        kind=UINT4, low=0, high=16, scale=scales(), form="int8",
        zero=RANDOM.integers(0, 16, (N, K // 32)),
    ),
    "bytes within reach": Case(
        kind=UINT8, low=60, high=180, scale=scales(), form="int8", zero=np.full((N, K // 32), 120)
    ),
    "negative scales": Case(kind=INT4, low=-7, high=8, scale=SIGNED, form="int4"),
    "negative scales over lowest codes": Case(
        kind=INT4, low=-8, high=-7, scale=SIGNED, form="int8"
    ),
    "zero scales": Case(kind=INT4, low=-8, high=8, scale=SOME_ZERO, form="int4"),
    "blocks of 16": Case(kind=INT4, low=-8, high=8, scale=scales(16), form="int4", block=16),
}  # fmt: skip


def matrix(case: Case) -> tuple[bytes, AnyArray]:
    """The model, and what its matrix decodes to."""
    g = Graph()
    codes = RANDOM.integers(case.low, case.high, (N, K))
    inputs = [g.constant("w", codes, case.kind), g.constant("w_scale", case.scale)]
    zeros = np.zeros((N, K // case.block)) if case.zero is None else case.zero
    if case.zero is not None:
        inputs.append(g.constant("w_zero", case.zero, case.kind))
    w = g.node("DequantizeLinear", inputs, axis=1, block_size=case.block)
    g.node("MatMul", ["x", g.node("Transpose", [w], perm=[1, 0])], "y")
    spread = [np.repeat(a, case.block, axis=1) for a in (zeros, case.scale)]
    values = (codes - spread[0]).astype(np.float32) * spread[1]
    return g.model((2, K), (2, N), 21, F32), values


@pytest.mark.parametrize("name", CASES)
def test_blocks_of_codes_take_the_smallest_exact_form(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model, values = matrix(case)
    report, path = converted(model, tmp_path)
    (row,) = report.tensors
    assert row.grade is Grade.EXACT
    assert row.encoding.startswith(f"DequantizeLinear {case.form}:")
    weight = w2e_bridge.open(path).tensors["w"]
    np.testing.assert_array_equal(weight.dequantize(), values)  # where -0 is 0
    x = np.random.default_rng(1).normal(size=(2, K)).astype(np.float32)
    want, got = (run(p, {"x": x})["y"] for p in (tmp_path / "source.onnx", path))
    np.testing.assert_array_equal(want, got)
    assert not errors(path)
    parsed = Parsed(b"", path)
    assert parsed.ok, parsed.errors
    assert built(parsed, "SM89")


def test_short_blocks_are_no_codes(tmp_path: Path) -> None:
    """The parser takes 4 scales of 100 columns for blocks of 25, whatever the size that the node says."""
    g = Graph()
    codes, scale = RANDOM.integers(-8, 8, (N, 100)), RANDOM.uniform(0.01, 0.02, (N, 4))
    inputs = [g.constant("w", codes, INT4), g.constant("w_scale", scale)]
    w = g.node("DequantizeLinear", inputs, axis=1, block_size=32)
    g.node("MatMul", ["x", g.node("Transpose", [w], perm=[1, 0])], "y")
    source = g.model((2, 100), (2, N), 21)
    assert Parsed(source).ok
    report, path = converted(source, tmp_path, allow_float=True)
    assert errors(tmp_path / "source.onnx") == ["block-size"]
    assert [row.grade for row in report.tensors] == [Grade.FLOAT]
    assert not errors(path)


def test_scales_in_the_network_are_those_of_the_source(tmp_path: Path) -> None:
    model, _ = matrix(CASES["symmetric"])
    _, path = converted(model, tmp_path)
    trt, _ = library()
    parsed = Parsed(b"", path)
    found = []
    for index in range(parsed.network.num_layers):
        layer = parsed.network.get_layer(index)
        if layer.type == trt.LayerType.CONSTANT:
            layer.__class__ = trt.IConstantLayer
            if isinstance(layer.weights, np.ndarray):  # of float32; codes are bytes
                found.append(np.array(layer.weights))
    (scale,) = found
    np.testing.assert_array_equal(scale, CASES["symmetric"].scale.T.reshape(-1))
