"""Engines are identified and refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

import w2e_bridge
from tests.w2e_tensorrt.runtime import Parsed, library
from tests.w2e_tensorrt.samples import conv
from w2e_bridge.errors import BridgeError, FormatError, UnsupportedError


def plan(mark: bytes = b"ftrt", version: tuple[int, ...] = (10, 3, 0, 30)) -> bytes:
    body = bytes(40)
    head = mark + struct.pack("<IQQ", 0, 2, 28 + len(body)) + bytes(version)
    return head + body


def header(path: Path) -> dict[str, object]:
    found = w2e_bridge.api.inspect(path)["file"]
    assert isinstance(found, dict)
    return found


def test_the_release_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.engine").write_bytes(plan())
    assert header(tmp_path / "a.engine") == {
        "runtime": "TensorRT", "version": "10.3.0.30", "serialization": 0, "engine_nbytes": 68,
    }  # fmt: skip


def test_nothing_is_lifted(tmp_path: Path) -> None:
    (tmp_path / "a.plan").write_bytes(plan())
    for target in ("onnx", "tensorrt", "w2e", "calibration_cache"):
        with pytest.raises(UnsupportedError, match=r"an engine of TensorRT 10\.3\.0\.30: weights"):
            w2e_bridge.convert(tmp_path / "a.plan", to=target, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_metadata_of_ultralytics(tmp_path: Path) -> None:
    metadata = json.dumps({"task": "detect", "names": {"0": "person"}}).encode()
    path = tmp_path / "yolo.engine"
    path.write_bytes(struct.pack("<i", len(metadata)) + metadata + plan())
    found = header(path)
    assert found["ultralytics"] == {"task": "detect", "names": {"0": "person"}}
    assert found["version"] == "10.3.0.30"
    with pytest.raises(UnsupportedError, match="with Ultralytics' metadata"):
        w2e_bridge.open(path)


def test_a_real_engine_of_the_rtx_runtime(tmp_path: Path) -> None:
    trt, _ = library()
    parsed = Parsed(conv())
    config = parsed.builder.create_builder_config()
    data = bytes(parsed.builder.build_serialized_network(parsed.network, config))
    path = tmp_path / "real.bin"
    path.write_bytes(data)
    found = header(path)
    assert found["runtime"] == "TensorRT-RTX"
    assert str(found["version"]).startswith(trt.__version__)
    assert "damage" not in found
    path.write_bytes(data[:-1])
    assert header(path)["damage"] == f"says it has {len(data)} bytes"
    with pytest.raises(FormatError, match="probably a cut file"):
        w2e_bridge.open(path)


@pytest.mark.parametrize(
    "data",
    [
        plan()[:27],
        b"ftrt",
        b"\x89PNG1234",
        struct.pack("<i", -5) + b"{}" + plan(),
        struct.pack("<i", 1 << 30) + b"{}" + plan(),
        struct.pack("<i", 2) + b"{]" + plan(),
        struct.pack("<i", 2) + b"{}" + b"nope" + bytes(40),
        struct.pack("<i", 3) + b"{\xff}" + plan(),
    ],
)
def test_what_is_no_engine(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.engine").write_bytes(data)
    for use in (w2e_bridge.open, w2e_bridge.api.inspect):
        with pytest.raises(BridgeError) as caught:
            use(tmp_path / "a.engine")
        assert isinstance(caught.value, FormatError)
        assert "a.engine" in str(caught.value)


def test_a_later_serialization_has_no_release_to_tell(tmp_path: Path) -> None:
    (tmp_path / "a.engine").write_bytes(b"ftrt" + struct.pack("<I", 9) + bytes(40))
    assert header(tmp_path / "a.engine")["version"] == "unknown"
