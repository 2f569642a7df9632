"""GGUF files put together by hand, so that each of their bytes can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from w2e_bridge.formats.source import Source
from w2e_gguf.container import Header, read_header

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)


def string(text: str | bytes, length: int | None = None) -> bytes:
    """A string, or one that lies about its length."""
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data) if length is None else length) + data


def key(name: str | bytes, type_: int, value: bytes) -> bytes:
    """A key with a packed value."""
    return string(name) + struct.pack("<I", type_) + value


def text(name: str, value: str) -> bytes:
    """A key with a string."""
    return key(name, STRING, string(value))


def number(name: str, value: int, type_: int = U32) -> bytes:
    """A key with a number of 32 bits."""
    return key(name, type_, struct.pack("<I", value))


def items(name: str, type_: int, count: int, packed: bytes) -> bytes:
    """A key with an array."""
    return key(name, ARRAY, struct.pack("<IQ", type_, count) + packed)


def tensor(name: str | bytes, dims: Sequence[int], type_: int = 0, offset: int = 0) -> bytes:
    """An entry of the directory; dimensions in the file's order."""
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return string(name) + shape + struct.pack("<IQ", type_, offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A file: its keys, its directory, its data, and what the header says of them."""

    keys: tuple[bytes, ...] = ()
    tensors: tuple[bytes, ...] = ()
    data: bytes = b""
    magic: bytes = b"GGUF"
    version: int = 3
    alignment: int = 32
    key_count: int | None = None
    tensor_count: int | None = None
    order: str = "<"

    def bytes(self) -> bytes:
        """The whole file."""
        keys = len(self.keys) if self.key_count is None else self.key_count
        tensors = len(self.tensors) if self.tensor_count is None else self.tensor_count
        head = self.magic + struct.pack(f"{self.order}IQQ", self.version, tensors, keys)
        head += b"".join((*self.keys, *self.tensors))
        return head + bytes(-len(head) % self.alignment) + self.data

    def write(self, path: Path) -> Path:
        """The path, once the file is there."""
        path.write_bytes(self.bytes())
        return path


def header(path: Path) -> Header:
    """What our reader makes of a file."""
    return read_header(Source(path))


def small() -> Recipe:
    """A file with something of everything."""
    return Recipe(
        keys=(
            text("general.architecture", "llama"),
            number("llama.block_count", 1),
            key("llama.flag", BOOL, b"\1"),
            key("llama.big", F64, struct.pack("<d", 2.5)),
            items("llama.words", STRING, 3, string("a") + string("") + string("héllo")),
            items("llama.numbers", I32, 2, struct.pack("<2i", -1, 7)),
        ),
        tensors=(tensor("a.weight", [4, 2]), tensor("b.weight", [32], 8, 32)),
        data=bytes(32) + bytes(34),
    )
