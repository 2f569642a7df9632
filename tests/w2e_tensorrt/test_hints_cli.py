"""Hints and caches from the command line: what is applied, and how bad files end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import Done, run_main
from tests.w2e_tensorrt.test_apply_cache import SCALES, network
from w2e_tensorrt.calibration_cache import HEADER, written


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    network(tmp_path / "net.onnx")
    return tmp_path


def convert(*options: str, profile: str = "explicit") -> Done:
    return run_main(
        "convert", "net.onnx", "--to", "tensorrt", "-o", "out", "--profile", profile,
        "--fidelity", "requantized", "--allow-float", "--json", *options,
    )  # fmt: skip


def refused(done: Done, *words: str) -> None:
    """One line that has these words, exit code 2, nothing written."""
    assert done.code == 2
    (line,) = done.stderr.splitlines()
    for word in words:
        assert word in line, line
    assert json.loads(done.stdout)["error"]["exit_code"] == 2
    assert {path.name for path in Path().iterdir()} <= {"net.onnx", "some.cache", "some.args"}


def cache(scales: dict[str, np.float32]) -> str:
    Path("some.cache").write_bytes(written(HEADER, scales))
    return "some.cache"


def test_a_broken_line_of_a_cache() -> None:
    text = Path(cache(SCALES)).read_text().replace("c: ", "c  ")
    Path("some.cache").write_text(text)
    refused(convert("--calibration-cache", "some.cache"), "some.cache", "line 3: expected")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1: expected TRT-<version>-<algorithm>"),
        (b"TRT-10", "line 1"),
        (b"TRT-8600-EntropyCalibration2\nx: 3c\xff", "no text"),
        (b"TRT-8600-EntropyCalibration2\nx: 3c010a14\nx: 3c010a15", "line 3: a second scale"),
        (b"\0" * 64, "line 1"),
    ],
)
def test_a_damaged_cache(data: bytes, words: str) -> None:
    Path("some.cache").write_bytes(data)
    refused(convert("--calibration-cache", "some.cache"), "some.cache", words)


def test_a_folder_or_nothing_for_a_cache(tmp_path: Path) -> None:
    refused(convert("--calibration-cache", "missing"), "missing: No such file")
    refused(convert("--calibration-cache", str(tmp_path)), str(tmp_path), "no file")
    refused(convert("--hints", "missing"), "missing: No such file")
    refused(convert("--hints", str(tmp_path)), str(tmp_path), "no file")


def test_the_cache_of_another_network() -> None:
    other = cache({"x": SCALES["x"], "elsewhere": np.float32(1)})
    words = ("some.cache", "found 1", "without: c, r, f", "another network")
    refused(convert("--calibration-cache", other), *words)


def test_names_that_the_graph_lacks_are_ignored_and_told() -> None:
    strange = "(Unnamed Layer* 46) [Constant]_output"
    scales = {**SCALES, "f": SCALES["r"], "ONNXTRT_Broadcast_1_output": np.float32(0), strange: 1}
    done = convert("--calibration-cache", cache(scales))  # type: ignore[arg-type]
    assert done.code == 0
    reasons = {row["name"]: row["reason"] for row in json.loads(done.stdout)["ignored"]}
    assert "no float value of the graph" in reasons[strange]
    assert "no float value of the graph" in reasons["ONNXTRT_Broadcast_1_output"]


def effects(done: Done) -> dict[str, str]:
    assert done.code == 0, done.stderr
    return {row["key"]: row["effect"] for row in json.loads(done.stdout)["hints"]}


def test_hints_are_applied_ignored_or_unsupported() -> None:
    Path("some.args").write_text(
        "--builderOptimizationLevel=4\n--layerPrecisions=*:fp16\n--useSpinWait\n"
    )
    assert effects(convert("--hints", "some.args")) == {
        "optimization_level": "applied",
        "layer_precisions": "unsupported",
        "--useSpinWait": "ignored",
    }
    assert "--builderOptimizationLevel=4" in Path("out/trtexec.args").read_text()


def test_release_10_has_an_ear_for_precisions() -> None:
    Path("some.args").write_text("--layerPrecisions=*:fp16\n--fp16\n--builderOptimizationLevel=4\n")
    found = effects(convert("--hints", "some.args", profile="trt10"))
    assert set(found.values()) == {"applied"}
    lines = Path("out/trtexec.args").read_text().splitlines()
    assert {"--fp16", "--layerPrecisions=*:fp16", "--builderOptimizationLevel=4"} <= set(lines)
    again = run_main("inspect", "out/build.json", "--json")
    hints = json.loads(again.stdout)["hints"]
    assert hints["layer_precisions"] == {"*": "fp16"}
    assert hints["precisions"] == ["fp16"]
    assert hints["optimization_level"] == 4


def test_scales_of_a_file_of_hints_quantize_as_a_cache_does() -> None:
    scales = {name: float(scale) for name, scale in {**SCALES, "f": SCALES["r"]}.items()}
    Path("p_precision_config.json").write_text(
        json.dumps({"int8_tensor_scales": {**scales, "none": 1.0}, "fp16_nodes": ["y"]})
    )
    done = convert("--hints", "p_precision_config.json")
    assert effects(done) == {"layer_precisions": "unsupported"}
    report = json.loads(done.stdout)
    assert {row["grade"] for row in report["tensors"]} == {"requantized"}
    assert "none" in {row["name"] for row in report["ignored"]}
    mine = Path("out/model.onnx").read_bytes()
    by_cache = {name: np.float32(scale) for name, scale in scales.items()}
    assert convert("--calibration-cache", cache(by_cache), "--force").code == 0
    assert Path("out/model.onnx").read_bytes() == mine


def test_scales_of_another_network_in_a_file_of_hints() -> None:
    Path("some.args").write_text('{"int8_tensor_scales": {"elsewhere": 1}}')
    refused(convert("--hints", "some.args"), "some.args", "another network")


def test_an_engine_is_shown_and_refused() -> None:
    Path("a.engine").write_bytes(b"ftrt" + bytes(20) + bytes((10, 3, 0, 30)) + bytes(9))
    shown = run_main("inspect", "a.engine", "--json")
    assert shown.code == 0
    assert json.loads(shown.stdout)["file"]["version"] == "10.3.0.30"
    assert "10.3.0.30" in run_main("inspect", "a.engine").stdout
    done = run_main("convert", "a.engine", "--to", "tensorrt", "-o", "out")
    assert done.code == 2
    (line,) = done.stderr.splitlines()
    assert "a.engine: an engine of TensorRT 10.3.0.30: weights, scales and graph" in line


def test_hints_are_no_network() -> None:
    Path("some.args").write_text("--refit\n")
    done = run_main("convert", "some.args", "--to", "onnx", "-o", "out")
    assert done.code == 2
    assert "this is of kind 'hints', no network to run" in done.stderr
    assert "refit = True" in run_main("inspect", "some.args").stdout
