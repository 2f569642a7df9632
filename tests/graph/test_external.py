from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.graph.external import ExternalFiles, MissingRange, Placement, placement
from w2e_bridge.graph.serialize import open_model

WHERE = Where(path="model.onnx", tensor="w")
DATA = bytes(range(64))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "data").write_bytes(DATA)
    (tmp_path / "secret").write_bytes(DATA)
    return folder


def find(home: Path, location: str, offset: int | None = 0, length: int | None = 16) -> bytes:
    files = ExternalFiles(model=home / "model.onnx")
    place = Placement(location=location, offset=offset, length=length)
    return files.find(place, 16, "w").read(0, 16).tobytes()


@pytest.mark.parametrize(("offset", "length"), [(0, 16), (48, 16), (None, None), (8, None)])
def test_bytes_inside_the_file(offset: int | None, length: int | None, home: Path) -> None:
    start = offset or 0
    assert find(home, "data", offset, length) == DATA[start : start + 16]


def test_files_in_folders_and_dots(home: Path) -> None:
    (home / "sub").mkdir()
    (home / "data").rename(home / "sub" / "data")
    assert find(home, "sub/data") == find(home, "./sub//data") == DATA[:16]


@pytest.mark.parametrize(
    "location",
    [
        "../secret", "sub/../../secret", "/etc/hostname", "a\\\\..\\\\..\\\\secret", "C:\\\\x", "c:x",
        "\\\\\\\\host\\\\share\\\\x", "data\0", ".", "./", "//data",
    ],
)  # fmt: skip
def test_paths_that_lead_out(location: str, home: Path) -> None:
    with pytest.raises(FormatError, match="inside the model's folder"):
        find(home, location.replace("\\\\", "\\"))


def symbolic(home: Path) -> str:
    (home / "link").symlink_to(home.parent / "secret")
    return "link"


def symbolic_inside(home: Path) -> str:
    (home / "link").symlink_to(home / "data")
    return "link"


def hard(home: Path) -> str:
    os.link(home.parent / "secret", home / "link")
    return "link"


def folder_link(home: Path) -> str:
    (home / "sub").symlink_to(home.parent)
    return "sub/secret"


def pipe(home: Path) -> str:
    os.mkfifo(home / "pipe")
    return "pipe"


def folder(home: Path) -> str:
    (home / "sub").mkdir()
    return "sub"


def file_as_folder(home: Path) -> str:
    return "data/x"


def long_name(home: Path) -> str:
    return "x" * 5000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (symbolic, "is a link"),
        (symbolic_inside, "is a link"),
        (hard, "is a link"),
        (folder_link, "is a link"),
        (pipe, "is no file"),
        (folder, "'sub' is no file"),
        (file_as_folder, "'data' is no folder"),
        (long_name, "File name too long"),
    ],
)
def test_what_is_no_plain_file(make: Callable[[Path], str], message: str, home: Path) -> None:
    location = make(home)
    with pytest.raises(FormatError) as caught:
        find(home, location)
    assert message in str(caught.value)
    assert "model.onnx" in str(caught.value)


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [
        (49, 16, "expected 16 bytes, found 15"),
        (10**15, 16, "expected 16 bytes, found 0"),
        (0, 15, "found a length of 15"),
        (0, 10**15, "found a length of 1000000000000000"),
    ],
)
def test_ranges_outside_the_file(offset: int, length: int, message: str, home: Path) -> None:
    with pytest.raises(FormatError, match=message):
        find(home, "data", offset, length)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "without a location"),
        ([("location", "")], "without a location"),
        ([("location", "a"), ("location", "a")], "'location' twice"),
        ([("location", "a"), ("offset", "-8")], "offset: expected a number of bytes, found '-8'"),
        ([("location", "a"), ("length", "1e3")], "length: expected"),
        ([("location", "a"), ("length", "٣")], "length: expected"),
        ([("location", "a"), ("offset", "9" * 20)], "offset: expected"),
        ([("location", "a"), ("offset", "")], "offset: expected"),
    ],
)
def test_wrong_entries(entries: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        placement(entries, WHERE)


def test_unknown_keys_are_left_alone() -> None:
    entries = [("checksum", "0"), ("location", "a"), ("__class__", "x"), ("offset", "007")]
    assert placement(entries, WHERE) == Placement(location="a", offset=7)


def external_model(home: Path, location: str) -> Path:
    tensor = TensorProto(name="w", data_type=1, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "16"}.items():
        tensor.external_data.add(key=key, value=value)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])
    graph = helper.make_graph([helper.make_node("Neg", ["w"], ["y"])], "g", [], [y], [tensor])
    path = home / "model.onnx"
    onnx.save(helper.make_model(graph, ir_version=10), path)
    return path


def test_a_missing_file_is_missed_when_it_is_read(home: Path) -> None:
    opened = open_model(external_model(home, "weights.bin"))
    assert opened.tensors["w"].shape == (2, 2)
    assert isinstance(opened.tensors["w"].storage.source, MissingRange)  # type: ignore[attr-defined]
    assert [remark.name for remark in opened.remarks] == ["weights.bin"]
    with pytest.raises(FormatError, match=r"weights.bin 'w': the external data file is missing"):
        opened.tensors["w"].dequantize()


def test_a_hostile_location_is_refused_when_the_model_is_opened(home: Path) -> None:
    with pytest.raises(FormatError, match="inside the model's folder"):
        open_model(external_model(home, "../secret"))


def test_a_file_that_became_shorter(home: Path) -> None:
    path = external_model(home, "data")
    one = open_model(path).tensors["w"]
    (home / "data").write_bytes(b"12")
    with pytest.raises(FormatError, match="became shorter"):
        one.dequantize()


def test_values_are_those_of_the_file(home: Path) -> None:
    one = open_model(external_model(home, "data")).tensors["w"]
    assert one.dequantize().tolist() == np.frombuffer(DATA[:16], "<f4").reshape(2, 2).tolist()
