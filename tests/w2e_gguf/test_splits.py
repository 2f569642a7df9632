"""Models in several files, as gguf-split names them."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.w2e_gguf.maker import I32, U16, Recipe, key, number, tensor, text
from w2e_bridge.errors import FormatError
from w2e_gguf.read import lift


def split(number_: int, count: int, tensors: int = 2) -> tuple[bytes, ...]:
    """The keys of a part."""
    return (
        key("split.no", U16, struct.pack("<H", number_)),
        key("split.count", U16, struct.pack("<H", count)),
        key("split.tensors.count", I32, struct.pack("<i", tensors)),
    )


def part(name: str, value: float, keys: Sequence[bytes]) -> Recipe:
    """A file with one tensor of one number."""
    return Recipe(keys=tuple(keys), tensors=(tensor(name, [1]),), data=struct.pack("<f", value))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts."""
    first = (text("general.architecture", "llama"), number("x.y", 7), *split(0, 2))
    part("a", 1, first).write(tmp_path / "m-00001-of-00002.gguf")
    part("b", 2, split(1, 2)).write(tmp_path / "m-00002-of-00002.gguf")
    return tmp_path


@pytest.mark.parametrize("given", ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"])
def test_any_part_stands_for_all(folder: Path, given: str) -> None:
    model = lift(folder / given, {})
    assert {n: float(t.dequantize()[0]) for n, t in model.tensors.items()} == {"a": 1, "b": 2}
    assert model.metadata["x.y"] == 7
    assert not [name for name in model.metadata if name.startswith("split.")]
    assert model.origin is not None
    assert model.origin.nbytes == sum(f.stat().st_size for f in folder.iterdir())


def test_parts_of_gguf_py(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=2)
    for index in range(5):
        writer.add_tensor(f"t{index}", np.full(3, index, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = lift(tmp_path / "m-00002-of-00003.gguf", {})
    assert [float(t.dequantize()[0]) for t in model.tensors.values()] == [0, 1, 2, 3, 4]


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(FormatError, match=r"m-00002-of-00002.gguf: part 2 of 2 is missing"):
        lift(folder / "m-00001-of-00002.gguf", {})


def test_a_renamed_part_can_not_find_the_others(folder: Path) -> None:
    shutil.copy(folder / "m-00002-of-00002.gguf", folder / "other.gguf")
    with pytest.raises(FormatError, match="part 2 of 2, but the file is not named NAME-00002-of"):
        lift(folder / "other.gguf", {})


def test_parts_must_belong_together(folder: Path) -> None:
    part("b", 2, split(0, 2)).write(folder / "m-00002-of-00002.gguf")
    with pytest.raises(FormatError, match="expected part 2 of 2, found 1 of 2"):
        lift(folder / "m-00001-of-00002.gguf", {})
    part("a", 2, split(1, 2)).write(folder / "m-00002-of-00002.gguf")
    with pytest.raises(FormatError, match=r"'a': the tensor is in m-00001-of-00002\.gguf as"):
        lift(folder / "m-00001-of-00002.gguf", {})


def test_the_number_of_tensors_must_be_right(folder: Path) -> None:
    part("a", 1, split(0, 2, tensors=3)).write(folder / "m-00001-of-00002.gguf")
    with pytest.raises(FormatError, match="expected 3 tensors in all parts, found 2"):
        lift(folder / "m-00001-of-00002.gguf", {})


def test_the_keys_of_a_split_must_be_numbers(folder: Path) -> None:
    keys = (text("split.count", "2"),)
    with pytest.raises(FormatError, match=r"'split\.count': expected a whole number, found string"):
        lift(part("a", 1, keys).write(folder / "x.gguf"), {})


@pytest.mark.parametrize("count", [0, 1])
def test_a_split_of_one_is_none(tmp_path: Path, count: int) -> None:
    model = lift(part("a", 1, split(0, count, 1)).write(tmp_path / "x.gguf"), {})
    assert list(model.tensors) == ["a"]
    assert model.metadata["split.count"] == count
