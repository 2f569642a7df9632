"""Installs the toy format, and makes toys."""

from __future__ import annotations

import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from w2e_bridge.formats import registry

PACKAGE = Path(__file__).parent / "toy"


def install(site: Path) -> Path:
    """What an installer leaves behind: the package and its metadata, in a folder for `sys.path`."""
    shutil.copytree(PACKAGE / "w2e_toy", site / "w2e_toy")
    info = site / "w2e_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: w2e-toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[w2e_bridge.formats]\ntoy = w2e_toy:FORMAT\n")
    return site


def toy(path: Path, rows: int = 6, columns: int = 8, seed: int = 0, **header: object) -> Path:
    """A file with a quantized tensor `w`, a float tensor `norm`, and what else the header says."""
    chance = np.random.default_rng(seed)
    tensors = [["w", "q8", [rows, columns]], ["norm", "f32", [columns]]]
    text = json.dumps({"tensors": tensors, "metadata": {"name": "bear"}, **header}).encode()
    scales = chance.random((rows, 1), np.float32).view(np.uint8)  # (rows, 4)
    codes = chance.integers(0, 256, (rows, columns), np.uint8)
    data = np.concatenate([scales, codes], axis=1).tobytes()
    floats = chance.random(columns, np.float32).tobytes()
    path.write_bytes(b"TOY1" + struct.pack("<I", len(text)) + text + data + floats)
    return path


@pytest.fixture(scope="module")
def toy_format(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The toy format is installed while the tests of a module run; the folder it is in."""
    site = install(tmp_path_factory.mktemp("site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        registry._installed.cache_clear()
        yield site
    registry._installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("w2e_toy")]:
        del sys.modules[name]
