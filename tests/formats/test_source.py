"""Reading never goes past what is there, and says so with the place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from w2e_bridge.errors import FormatError
from w2e_bridge.formats.source import FileRange, Source

DATA = bytes(range(200))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("source") / "x.gguf"
    path.write_bytes(DATA)
    return Source(path)


@settings(derandomize=True, max_examples=200)
@given(offset=st.integers(-9, 2**70), count=st.integers(-9, 2**70))
def test_a_read_is_right_or_refused(source: Source, offset: int, count: int) -> None:
    offset, count = offset % 300 - 9, count % 300 - 9
    inside = offset >= 0 and count >= 0 and offset + count <= len(DATA)
    try:
        assert source.take(offset, count, "x") == DATA[offset : offset + count]
        assert inside
    except FormatError:
        assert not inside


def test_huge_counts_are_refused_before_anything_is_allocated(source: Source) -> None:
    for count in (2**40, 2**63, 2**64 - 1):
        with pytest.raises(FormatError) as caught:
            source.take(8, count, "names")
        assert caught.value.where.offset == 8


def test_messages(source: Source) -> None:
    with pytest.raises(FormatError) as caught:
        source.take(150, 100, "tensor data")
    assert str(caught.value).replace(str(source.path.parent), "/at") == snapshot(
        "/at/x.gguf @0x96: tensor data: expected 100 bytes, found 50 (probably a cut download: compare its size with the original and fetch it again)"
    )


def test_a_range_keeps_to_itself(source: Source) -> None:
    part = FileRange(source=source, offset=50, nbytes=10, what="blk.0")
    assert part.read(2, 3).tolist() == [52, 53, 54]
    for offset, count in ((-1, 2), (8, 3), (0, 11)):
        with pytest.raises(FormatError, match=r"'?blk\.0"):
            part.read(offset, count)
    with pytest.raises(FormatError):
        FileRange(source=source, offset=195, nbytes=6, what="blk.1")


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(DATA)
    source = Source(path)
    path.write_bytes(DATA[:20])
    with pytest.raises(FormatError, match="became shorter"):
        source.take(0, 100, "x")
    with pytest.raises(FormatError, match="became shorter"):
        source.read_into(0, np.empty(100, np.uint8), "x")


def test_missing_and_lfs(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file"):
        Source(tmp_path / "none")
    path = tmp_path / "x.gguf"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    with pytest.raises(FormatError, match="git lfs pull"):
        Source(path).take(0, 1000, "header")
