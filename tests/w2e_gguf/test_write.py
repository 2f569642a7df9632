"""What is written is what was read, and gguf-py reads it too."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from tests.w2e_gguf.blocks.samples import BY_NAME, oracle, random_blocks
from tests.w2e_gguf.maker import (
    BOOL,
    F32,
    I16,
    STRING,
    U64,
    Recipe,
    header,
    items,
    key,
    number,
    string,
    tensor,
    text,
)
from w2e_bridge.api import convert
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.output import Output
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import OwnedStorage, Tensor, plain_tensor
from w2e_bridge.loss import Grade
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.stream.pipeline import write
from w2e_gguf.blocks.table import TYPES, GgmlType
from w2e_gguf.profiles import profiles
from w2e_gguf.read import lift
from w2e_gguf.write import lower

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gguf"
REQUEST = Request(profile="gguf")


def planned(model: Model) -> Output:
    """The plan for a model, by the way of negotiation."""
    decisions = negotiate(model, profiles()["gguf"], REQUEST)
    assert all(d.loss.grade is Grade.EXACT for d in decisions.values())
    return lower(model, decisions, REQUEST)


def written(model: Model, folder: Path) -> Path:
    """The file of a model."""
    folder.mkdir()
    write(planned(model), folder, name=lambda name: name.replace("{stem}", "m"), threads=1)
    return folder / "m.gguf"


def contents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keys and tensors as comparable values."""
    head, data = header(path), path.read_bytes()
    keys = {}
    for name, value in head.keys.items():
        found = value.decoded()
        keys[name] = (value.label, found.tolist() if isinstance(found, np.ndarray) else found)
    tensors = {
        i.name: (i.type.name, i.shape, data[i.offset : i.offset + i.nbytes]) for i in head.tensors
    }
    return keys, tensors


def through_json(model: Model) -> Model:
    """The same without a type, an order or a file that JSON and arrays do not keep."""
    metadata = json.loads(json.dumps(dict(model.metadata), allow_nan=False, sort_keys=True))
    return replace(
        model, metadata=metadata, tensors={n: owned(t) for n, t in model.tensors.items()}
    )


def owned(one: Tensor) -> Tensor:
    """The tensor in memory: codes, scales and offsets, and no blocks."""
    return replace(one, storage=OwnedStorage(whole=one.storage.parts(0, one.rows)))


@pytest.mark.parametrize("name", ["llama-Q4_0", "llama-Q4_K_M"])
@pytest.mark.parametrize("by_way_of", [lambda model: model, through_json])
def test_a_real_file_comes_back(tmp_path: Path, name: str, by_way_of: Any) -> None:
    path = FIXTURES / f"{name}.gguf"
    back = written(by_way_of(lift(path, {})), tmp_path / "out")
    keys, tensors = contents(path)
    found_keys, found_tensors = contents(back)
    assert list(found_keys.items()) == list(keys.items())
    assert found_tensors == tensors
    assert list(found_tensors) == list(lift(path, {}).tensors)
    assert back.stat().st_size == path.stat().st_size


def test_written_twice_is_written_the_same(tmp_path: Path) -> None:
    once = written(lift(FIXTURES / "llama-Q4_0.gguf", {}), tmp_path / "a")
    again = written(lift(once, {}), tmp_path / "b")
    assert once.read_bytes() == again.read_bytes()


@pytest.mark.parametrize("row", TYPES.values(), ids=lambda row: row.name)
def test_every_type_comes_back(tmp_path: Path, row: GgmlType) -> None:
    blocks = random_blocks(row, rows=6, blocks=2)
    path = Recipe(
        keys=(text("general.architecture", "x"),),
        tensors=(tensor("a.weight", [2 * row.elements, 3, 2], row.id), tensor("b", [], 0, 1 << 16)),
        data=blocks.tobytes().ljust(1 << 16, b"\0") + struct.pack("<f", 7),
    ).write(tmp_path / "a.gguf")
    back = written(lift(path, {}), tmp_path / "out")
    assert contents(back) == contents(path)
    if row.name in gguf.GGMLQuantizationType.__members__:
        first, second = gguf.GGUFReader(back).tensors
        assert (first.name, first.tensor_type.name) == ("a.weight", row.name)
        assert list(first.shape) == [2 * row.elements, 3, 2]
        assert first.data.tobytes() == blocks.tobytes()
        assert second.data.tobytes() == struct.pack("<f", 7)


@pytest.mark.parametrize("name", ["Q4_0", "Q4_K", "Q6_K", "IQ4_NL", "BF16", "MXFP4", "I32"])
def test_packs_what_is_no_longer_in_blocks(tmp_path: Path, name: str) -> None:
    row = BY_NAME[name]
    blocks = random_blocks(row, rows=5, blocks=3)
    path = Recipe(
        keys=(text("general.architecture", "x"),),
        tensors=(tensor("a", [3 * row.elements, 5], row.id),),
        data=blocks.tobytes(),
    ).write(tmp_path / "a.gguf")
    back = written(through_json(lift(path, {})), tmp_path / "out")
    (entry,) = gguf.GGUFReader(back).tensors
    assert entry.tensor_type.name == name
    if name != "I32":
        data = entry.data.view(np.uint8).reshape(5, 3, row.bytes)
        np.testing.assert_array_equal(oracle(row, data), oracle(row, blocks))


def test_every_type_of_value_comes_back(tmp_path: Path) -> None:
    keys = (
        text("z", "first"),
        text("general.architecture", "x"),
        text("a.empty", ""),
        key("a.bytes", STRING, string(b"\xff\xfe")),
        items("a.tokens", STRING, 3, string(b"\xe2\x96") + string("▁") + string("")),
        items("a.short", I16, 2, struct.pack("<2h", -5, 5)),
        items("a.flags", BOOL, 2, b"\0\1"),
        key("a.huge", U64, b"\xff" * 8),
        items("a.inf", F32, 2, struct.pack("<2f", float("inf"), 0.1)),
    )
    path = Recipe(keys=keys).write(tmp_path / "a.gguf")
    for number_, by_way_of in enumerate((lambda model: model, through_json)):
        back = written(by_way_of(lift(path, {})), tmp_path / str(number_))
        assert back.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("alignment", [1, 64, 4096])
def test_the_alignment_becomes_what_llama_cpp_can_requantize(
    tmp_path: Path, alignment: int
) -> None:
    path = Recipe(
        keys=(text("general.architecture", "x"), number("general.alignment", alignment)),
        tensors=(tensor("a", [3]), tensor("b", [1], offset=4096)),
        data=struct.pack("<3f", 1, 2, 3).ljust(4096, b"\0") + struct.pack("<f", 4),
        alignment=alignment,
    ).write(tmp_path / "a.gguf")
    output = planned(lift(path, {}))
    assert [ignored.name for ignored in output.ignored] == ["general.alignment"]
    back = written(lift(path, {}), tmp_path / "out")
    head = header(back)
    assert (head.alignment, head.keys["general.alignment"].data) == (32, 32)
    assert contents(back)[1] == contents(path)[1]
    assert [t.data.tolist() for t in gguf.GGUFReader(back).tensors] == [[1, 2, 3], [4]]


def test_an_alignment_of_32_is_nothing_to_speak_of(tmp_path: Path) -> None:
    keys = (text("general.architecture", "x"), number("general.alignment", 32))
    assert not planned(lift(Recipe(keys=keys).write(tmp_path / "a.gguf"), {})).ignored


def test_split_models_become_one_file(tmp_path: Path) -> None:
    for index, name in enumerate("ab"):
        keys = (
            text("general.architecture", "x"),
            number("split.no", index),
            number("split.count", 2),
            number("split.tensors.count", 2),
        )
        Recipe(
            keys=keys, tensors=(tensor(name, [1]),), data=struct.pack("<f", index)
        ).write(tmp_path / f"m-0000{index + 1}-of-00002.gguf")  # fmt: skip
    back = written(lift(tmp_path / "m-00002-of-00002.gguf", {}), tmp_path / "out")
    keys_found, tensors = contents(back)
    assert keys_found == {"general.architecture": ("string", "x")}
    assert [data for _, _, data in tensors.values()] == [struct.pack("<f", v) for v in (0, 1)]


def test_files_without_a_network_are_written_too(tmp_path: Path) -> None:
    path = Recipe(
        keys=(text("general.type", "imatrix"),),
        tensors=(tensor("blk.0.attn_q.weight.in_sum2", [2]),),
        data=struct.pack("<2f", 1, 2),
    ).write(tmp_path / "a.gguf")
    report = convert(path, to="gguf", out=tmp_path / "b.gguf")
    assert {row.grade for row in report.tensors} == {Grade.EXACT}
    assert contents(tmp_path / "b.gguf") == contents(path)


def made(tensors: Mapping[str, Tensor]) -> Model:
    """A model of GGUF's with other tensors."""
    return Model(tensors=tensors, metadata={"general.architecture": "x"})


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (plain_tensor("a" * 64, np.ones(3, np.float32)), "63 bytes"),
        (plain_tensor("", np.ones(3, np.float32)), "63 bytes"),
        (plain_tensor("a", np.ones((1, 1, 1, 1, 2), np.float32)), "5 axes, GGUF at most 4"),
        (plain_tensor("a", np.ones((0, 4), np.float32)), "it is empty"),
        (plain_tensor("a", np.ones(3, np.uint8)), "can't hold"),
    ],
)
def test_what_gguf_can_not_say_is_refused(one: Tensor, problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        planned(made({one.name: one}))


def test_rows_must_be_whole_blocks(tmp_path: Path) -> None:
    row = BY_NAME["Q4_0"]
    path = Recipe(tensors=(tensor("a", [64, 2], 2),), data=random_blocks(row, 2, 2).tobytes())
    whole = lift(path.write(tmp_path / "a.gguf"), {}).tensors["a"]
    ragged = replace(owned(whole), shape=(2, 48))
    with pytest.raises(UnsupportedError, match="rows of 48 weights are no whole blocks of Q4_0"):
        planned(made({"a": ragged}))


def test_a_model_that_never_was_gguf_is_refused() -> None:
    one = plain_tensor("a", np.ones(3, np.float32))
    with pytest.raises(UnsupportedError, match=r"no GGUF metadata \('general.architecture'\)"):
        planned(Model(tensors={"a": one}))


def test_one_form_for_each_type_and_one_type_for_each_encoding() -> None:
    forms = profiles()["gguf"].forms
    assert [form.name for form in forms] == [row.name for row in TYPES.values()]
    assert len({form.encoding for form in forms}) == len(forms)
    for form, row in zip(forms, TYPES.values(), strict=True):
        assert form.layout == row.layout.name
        assert form.plain == (row.layout.encoding.scale is None)
