"""Damage anywhere in a file is read or refused, never anything else."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from tests.w2e_gguf.blocks.samples import BY_NAME, random_blocks
from tests.w2e_gguf.maker import (
    F32,
    I32,
    STRING,
    U16,
    Recipe,
    items,
    key,
    number,
    string,
    tensor,
    text,
)
from w2e_bridge.errors import FormatError
from w2e_gguf.read import lift

WORDS = ["<unk>", "<s>", "</s>", "▁a", "b", "c", "▁"]
WORD_PATTERNS = (b"\xff\xff\xff\xff", bytes(8), struct.pack("<Q", 1 << 40), b"\x09\0\0\0")


def network() -> bytes:
    """A network of one layer with a vocabulary."""
    row = BY_NAME["Q4_K"]
    return Recipe(
        keys=(
            text("general.architecture", "llama"),
            text("general.type", "model"),
            number("general.alignment", 32),
            number("llama.block_count", 1),
            number("llama.context_length", 64),
            number("llama.embedding_length", 256),
            items("llama.attention.head_count", I32, 1, struct.pack("<i", 4)),
            key("llama.attention.layer_norm_rms_epsilon", F32, struct.pack("<f", 1e-5)),
            text("llama.rope.scaling.type", "linear"),
            key("split.count", U16, b"\0\0"),
            text("tokenizer.ggml.model", "llama"),
            items("tokenizer.ggml.tokens", STRING, 7, b"".join(map(string, WORDS))),
            items("tokenizer.ggml.scores", F32, 7, bytes(28)),
            items("tokenizer.ggml.token_type", I32, 7, struct.pack("<7i", 2, 3, 3, 1, 1, 1, 1)),
            number("tokenizer.ggml.bos_token_id", 1),
        ),
        tensors=(
            tensor("token_embd.weight", [256, 7], row.id),
            tensor("output_norm.weight", [256], 0, 1024),
        ),
        data=random_blocks(row, 7, 1).tobytes().ljust(2048, b"\0"),
    ).bytes()


def outcome(path: Path) -> bool:
    """Whether the file was read; anything but a refusal goes on to the test."""
    try:
        model = lift(path, {})
    except FormatError as error:
        line = str(error)
        assert line.startswith(str(path))
        assert line.isprintable()
        assert len(line) < len(str(path)) + 400
        return False
    assert len(dict(model.metadata)) == len(model.metadata)
    assert model.nbytes < 1 << 20
    return True


@pytest.mark.parametrize("word", WORD_PATTERNS)
def test_a_word_anywhere(tmp_path: Path, word: bytes) -> None:
    data, path = network(), tmp_path / "a.gguf"
    path.write_bytes(data)
    assert outcome(path)
    places = range(0, len(data) - 2048, 2)
    with path.open("r+b", buffering=0) as file:
        read = 0
        for place in places:
            file.seek(0)
            file.write(data[:place] + word + data[place + len(word) :])
            read += outcome(path)
    assert 0 < read < len(places) / 2


def test_bits_and_runs_anywhere(tmp_path: Path) -> None:
    data, path, chance = network(), tmp_path / "a.gguf", random.Random(5)
    path.write_bytes(data)
    with path.open("r+b", buffering=0) as file:
        for _ in range(400):
            broken = bytearray(data)
            at = chance.randrange(len(data) - 2048)
            broken[at] ^= 1 << chance.randrange(8)
            if chance.random() < 0.5:
                other = chance.randrange(len(data) - 64)
                broken[other : other + 32] = data[at : at + 32].ljust(32, b"\0")
            file.seek(0)
            file.write(broken)
            outcome(path)
