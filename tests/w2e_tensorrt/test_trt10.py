"""The bundle for TensorRT 10: a float network, and ranges that name its values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import w2e_bridge
from tests.w2e_onnx.quantized_networks import dynamic, static
from tests.w2e_tensorrt.runtime import Parsed
from tests.w2e_tensorrt.test_apply_cache import SCALES, network
from tests.w2e_tensorrt.trt10_cases import (
    FIXTURES,
    SOURCES,
    Case,
    bundle,
    decibels,
    lines,
    made,
    run,
    values,
)
from w2e_bridge.errors import LossError
from w2e_bridge.formats.lint import Severity
from w2e_bridge.loss import Grade
from w2e_tensorrt.calibration_cache import HEADER, read, written
from w2e_tensorrt.ranges import amax_of

LEAST = 20.0
"""Decibels between a network that rounds and the one of floats that its codes stand for."""


@pytest.fixture(scope="module", params=SOURCES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return made(request.param, tmp_path_factory.mktemp("trt10"))


def test_the_network_is_of_floats_and_computes_what_the_codes_stand_for(case: Case) -> None:
    model = case.model
    kinds = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    assert kinds == {onnx.TensorProto.FLOAT}
    assert not {n.op_type for n in model.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    floats = {t.data_type for t in model.graph.initializer} - {onnx.TensorProto.INT64}
    assert floats == {onnx.TensorProto.FLOAT}
    assert decibels(case.want, run(case.bundle / "model.onnx", case.feed)) > LEAST


def test_the_cache_names_values_of_the_network(case: Case) -> None:
    mine, theirs = read(case.bundle / "calib.cache")[1], lines(case.bundle / "calib.cache")
    assert list(mine) == list(theirs)
    assert all(mine[name].tobytes() == theirs[name].tobytes() for name in mine)
    assert set(mine) <= values(case.model.graph)
    assert set(mine) >= {v.name for v in (*case.model.graph.input, *case.model.graph.output)}
    rows = (case.bundle / "dynamic_ranges.txt").read_text().splitlines()
    ranges = {name: float(amax) for name, _, amax in (row.rpartition(": ") for row in rows)}
    assert ranges == {name: amax_of(scale) for name, scale in mine.items()}


def test_ranges_cover_the_source_and_the_loss_is_stated(case: Case) -> None:
    source, cache = w2e_bridge.open(case.source), read(case.bundle / "calib.cache")[1]
    rows = {row.name: row for row in case.report.values}
    assert set(rows) >= set(source.activations)
    for name, found in source.activations.items():
        scale, zero = float(np.asarray(found.scale)), int(np.asarray(found.zero_point or 0))
        low, high = (np.array([found.codes.low, found.codes.high]) - zero) * scale  # type: ignore[union-attr]
        reach = max(-low, high)
        assert amax_of(cache[name]) >= reach * (1 - 1e-6) - scale  # -128 has no counterpart
        exact = rows[name].grade is Grade.EXACT
        assert exact == (cache[name] == np.float32(scale))
        assert exact or 0 < rows[name].max_abs_error <= reach / 200
    weights = {row.grade for row in case.report.tensors if "int8" in row.source_encoding}
    assert weights == {Grade.FLOAT}


def test_tensorrt_parses_the_network_and_knows_the_layers(case: Case) -> None:
    parsed = Parsed(b"", case.bundle / "model.onnx")
    assert parsed.ok, parsed.errors
    layers = {parsed.network.get_layer(i).name for i in range(parsed.network.num_layers)}
    spec = (case.bundle / "layer_precisions.txt").read_text().strip()
    found = dict(item.rsplit(":", 1) for item in spec.split(","))
    assert set(found) <= layers
    kinds = {n.name: n.op_type for n in case.model.graph.node}
    weighted = [name for name, op in kinds.items() if op in ("Conv", "Gemm")]
    assert {found[name] for name in weighted} <= {"int8"}
    arguments = (case.bundle / "trtexec.args").read_text().splitlines()
    assert {"--int8", "--calib=calib.cache", "--precisionConstraints=prefer"} <= set(arguments)
    assert f"--layerPrecisions={spec}" in arguments
    document = json.loads((case.bundle / "build.json").read_text())
    assert (document["tensorrt"], document["calibration"]) == (">=10,<11", "calib.cache")


def test_the_linter_has_nothing_against_the_network(case: Case) -> None:
    found = w2e_bridge.api.lint(case.bundle / "model.onnx", "tensorrt")
    assert not [finding for finding in found if finding.rule.severity is Severity.ERROR]


def test_the_cache_gives_explicit_quantization_the_same_scales(case: Case, tmp_path: Path) -> None:
    cache = case.bundle / "calib.cache"
    w2e_bridge.convert(
        case.bundle / "model.onnx", to="tensorrt", out=tmp_path / "out", fidelity="requantized",
        allow_float=True, options={"calibration-cache": str(cache)},
    )  # fmt: skip
    graph = onnx.load(tmp_path / "out" / "model.onnx").graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    known, compared = lines(cache), 0
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or node.input[0] in constants:
            continue
        name = node.input[0].removesuffix(".unquantized")
        scale = np.float32(constants[node.input[1]].reshape(()))
        if name in known and not _joined(graph, name):
            assert scale.tobytes() == known[name].tobytes(), name
            compared += 1
        assert scale.tobytes() in {s.tobytes() for s in known.values()}
    assert compared > 4
    assert decibels(case.want, run(tmp_path / "out" / "model.onnx", case.feed)) > LEAST / 2


def _joined(graph: onnx.GraphProto, name: str) -> bool:
    """Whether a Concat reads a value, which gives all that it reads one scale."""
    return any(name in node.input for node in graph.node if node.op_type == "Concat")


def test_weights_are_never_decoded_silently(case: Case, tmp_path: Path) -> None:
    with pytest.raises(LossError, match="--allow-float"):
        bundle(case.source, tmp_path / "out", allow_float=False)
    with pytest.raises(LossError, match="a symmetric range that covers"):
        bundle(case.source, tmp_path / "out", fidelity="exact")
    assert not (tmp_path / "out").exists()


def test_the_bundle_for_newer_releases_becomes_one_for_this(tmp_path: Path) -> None:
    source, feed = static("images", tmp_path, "QDQ QUInt8 QInt8", channels=True)
    bundle(source, tmp_path / "new", profile="explicit")
    bundle(tmp_path / "new" / "model.onnx", tmp_path / "old")
    graph = onnx.load(tmp_path / "new" / "model.onnx").graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    used = [n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in constants]
    scales = {constants[node.input[1]].tobytes() for node in used}
    assert scales <= {s.tobytes() for s in lines(tmp_path / "old" / "calib.cache").values()}
    want = run(source, feed, plain=True)
    assert decibels(want, run(tmp_path / "old" / "model.onnx", feed)) > LEAST


def test_a_float_network_and_its_cache_are_carried_as_they_are(tmp_path: Path) -> None:
    cache = tmp_path / "some.cache"
    scales = {**SCALES, "f": np.float32(0.5), "y": np.float32(0.1)}
    cache.write_bytes(written(HEADER, scales))
    source, out = network(tmp_path / "net.onnx"), tmp_path / "out"
    report = w2e_bridge.convert(
        source, to="tensorrt", profile="trt10", out=out, options={"calibration-cache": str(cache)}
    )
    assert {row.grade for row in (*report.tensors, *report.values)} == {Grade.EXACT}
    found = lines(out / "calib.cache")
    assert {n: s.tobytes() for n, s in found.items()} == {n: s.tobytes() for n, s in scales.items()}
    # Which layers are faster in int8 is for the builder to find out where the source had none.
    assert not (out / "layer_precisions.txt").exists()
    assert "layerPrecisions" not in (out / "trtexec.args").read_text()


def test_ranges_known_at_run_time_only_leave_a_float_network(tmp_path: Path) -> None:
    source, feed = dynamic("images", tmp_path, "QInt8", channels=False)
    report, out = bundle(source, tmp_path / "out"), tmp_path / "out"
    assert {row.grade for row in report.values} == {Grade.FLOAT}
    assert {path.name for path in out.iterdir()} == {
        "model.onnx", "build.json", "trtexec.args", "w2e-report.json"
    }  # fmt: skip
    assert "--int8" not in (out / "trtexec.args").read_text()
    assert {row.name: row.reason for row in report.ignored}["calib.cache"].startswith("left out")
    assert decibels(run(source, feed), run(out / "model.onnx", feed)) > LEAST


@pytest.mark.slow
def test_a_language_model_has_floats_and_no_cache(tmp_path: Path) -> None:
    source, out = FIXTURES / "gguf" / "llama-Q4_0.gguf", tmp_path / "out"
    with pytest.raises(LossError, match="--allow-float would let them through"):
        bundle(source, out, fidelity="exact", allow_float=False)
    report = bundle(source, out, fidelity="exact")
    assert {row.grade for row in report.tensors} == {Grade.EXACT, Grade.FLOAT}
    assert "calib.cache" in {row.name for row in report.ignored}
    assert not (out / "calib.cache").exists()
    model = onnx.load(out / "model.onnx")
    assert {t.data_type for t in model.graph.initializer} <= {
        onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    }  # fmt: skip
    assert Parsed(b"", out / "model.onnx").ok
