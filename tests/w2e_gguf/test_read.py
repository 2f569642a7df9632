"""Real files and made ones, lifted."""

from __future__ import annotations

import hashlib
import struct
import tomllib
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.w2e_gguf.blocks.samples import JUDGED, oracle, random_blocks
from tests.w2e_gguf.maker import (
    F32,
    STRING,
    Recipe,
    items,
    number,
    string,
    tensor,
    text,
)
from w2e_bridge.errors import FormatError
from w2e_bridge.formats.registry import named, sniff
from w2e_bridge.tokenizers import Tokenizer
from w2e_gguf.blocks.table import TYPES, GgmlType
from w2e_gguf.read import lift

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gguf"
CASES = sorted(FIXTURES.glob("*.toml"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_fixtures_are_what_their_notes_say(case: Path) -> None:
    notes = tomllib.loads(case.read_text())
    for name, digest in (("file", "sha256"), ("reference", "reference_sha256")):
        found = hashlib.sha256((FIXTURES / notes[name]).read_bytes()).hexdigest()
        assert found == notes[digest]


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_real_file(case: Path) -> None:
    path = case.with_suffix(".gguf")
    model = lift(path, {})
    reader = gguf.GGUFReader(path)
    assert model.kind == "model"
    assert not model.remarks
    assert set(model.tensors) == {entry.name for entry in reader.tensors}
    for entry in reader.tensors:
        found = model.tensors[entry.name]
        assert found.label == entry.tensor_type.name
        assert found.shape == tuple(int(n) for n in reversed(entry.shape))
        assert found.nbytes == entry.n_bytes
        values = gguf.quants.dequantize(entry.data, entry.tensor_type)
        np.testing.assert_array_equal(found.dequantize(), values.reshape(found.shape))
    network = model.architecture
    assert network is not None
    assert (network.family, network.layers, network.hidden, network.vocabulary) == (
        "llama", 4, 256, 1024,
    )  # fmt: skip
    assert set(network.roles.values()) == set(model.tensors)
    assert list(network.roles.values()) == list(model.tensors)
    assert [t.order for t in model.tensors.values()] == list(range(len(model.tensors)))
    assert list(model.tensors)[:2] == ["token_embd.weight", "blk.0.attn_norm.weight"]
    assert list(model.tensors)[-2:] == ["output_norm.weight", "output.weight"]


def test_the_tokenizer_and_the_metadata_of_a_real_file() -> None:
    path = FIXTURES / "llama-Q4_0.gguf"
    model = lift(path, {})
    fields = gguf.GGUFReader(path).fields
    assert isinstance(model.tokenizer, Tokenizer)
    assert model.tokenizer.missing is None
    assert model.tokenizer.max_length == 512
    vocabulary = model.tokenizer.vocabulary
    assert list(vocabulary.tokens) == fields["tokenizer.ggml.tokens"].contents()
    for key, field in fields.items():
        if key.startswith("GGUF."):
            continue
        found, expected = model.metadata[key], field.contents()
        assert found == (tuple(expected) if isinstance(expected, list) else expected)
    assert model.origin is not None
    assert (model.origin.format, model.origin.nbytes) == ("gguf", path.stat().st_size)


@pytest.mark.parametrize("row", TYPES.values(), ids=lambda row: row.name)
def test_every_type(tmp_path: Path, row: GgmlType) -> None:
    blocks = random_blocks(row, rows=6, blocks=2)
    columns = 2 * row.elements
    recipe = Recipe(tensors=(tensor("a", [columns, 3, 2], row.id),), data=blocks.tobytes())
    found = lift(recipe.write(tmp_path / "a.gguf"), {}).tensors["a"]
    assert found.label == row.name
    assert (found.shape, found.rows, found.columns) == ((2, 3, columns), 6, columns)
    integer = row.name in ("I8", "I16", "I32", "I64")
    other = {"F64": "float64"}.get(row.name, "float32")
    assert found.dtype == (row.name.replace("I", "int") if integer else other)
    assert found.storage.raw(1, 5).tobytes() == blocks[1:5].tobytes()
    if row in JUDGED:
        np.testing.assert_array_equal(found.decode_rows(2, 4), oracle(row, blocks)[2:4])


def test_lifting_reads_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    Recipe(tensors=(tensor("a", [1 << 20, 1 << 12]),)).write(path)
    with path.open("r+b") as file:
        file.truncate((1 << 34) + 4096)  # a hole of 16 GiB
    model = lift(path, {})
    assert model.nbytes == 1 << 34
    assert model.tensors["a"].decode_rows(4095, 4096).max() == 0


@pytest.mark.parametrize(
    ("keys", "tensors", "kind"),
    [
        ((text("general.architecture", "llama"),), True, "model"),
        ((text("general.type", "model"),), True, "model"),
        ((), True, "model"),
        ((text("general.architecture", "llama"),), False, "vocabulary"),
        ((), False, "vocabulary"),
        ((text("general.type", "imatrix"),), True, "imatrix"),
        ((text("general.type", "adapter"),), True, "adapter"),
        ((text("adapter.type", "lora"), text("general.architecture", "llama")), True, "adapter"),
        ((text("general.architecture", "controlvector"),), True, "adapter"),
        ((text("general.type", "mmproj"),), True, "projector"),
        ((text("general.architecture", "clip"),), True, "projector"),
    ],
)
def test_kinds(tmp_path: Path, keys: tuple[bytes, ...], tensors: bool, kind: str) -> None:
    entries = (tensor("a", [1]),) if tensors else ()
    recipe = Recipe(keys=keys, tensors=entries, data=struct.pack("<f", 1))
    model = lift(recipe.write(tmp_path / "a.gguf"), {})
    assert model.kind == kind
    assert model.architecture is None


def test_keys_that_the_tokenizer_does_not_use_are_said(tmp_path: Path) -> None:
    keys = (
        text("tokenizer.ggml.model", "llama"),
        items("tokenizer.ggml.tokens", STRING, 2, string("a") + string("b")),
        items("tokenizer.ggml.scores", F32, 2, bytes(8)),
        text("tokenizer.huggingface.json", "{}"),
        number("tokenizer.ggml.token_type_count", 2),
    )
    model = lift(Recipe(keys=keys).write(tmp_path / "a.gguf"), {})
    assert [remark.name for remark in model.remarks] == [
        "tokenizer.huggingface.json", "tokenizer.ggml.token_type_count",
    ]  # fmt: skip
    assert model.metadata["tokenizer.huggingface.json"] == "{}"


def test_a_vocabulary_that_can_not_be_is_refused(tmp_path: Path) -> None:
    path = Recipe(keys=(text("tokenizer.ggml.model", "llama"),)).write(tmp_path / "a.gguf")
    with pytest.raises(FormatError, match=r"a\.gguf 'tokenizer\.ggml\.tokens'"):
        lift(path, {})


def test_the_format_is_found() -> None:
    assert sniff(FIXTURES / "llama-Q4_0.gguf") is named("gguf")
    assert named("gguf").suffixes == (".gguf",)
