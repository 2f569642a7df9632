"""TensorRT-RTX as a judge: parses and builds without a device."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@cache
def library() -> Any:
    """The bindings and the one logger that a process may have; skips the test where they are missing."""
    libs = pytest.importorskip(
        "tensorrt_rtx_libs", reason="tensorrt-rtx-cu13-libs is not installed"
    )
    folder = Path(libs.__file__).parent
    for name in ("libtensorrt_rtx.so.1", "libtensorrt_onnxparser_rtx.so.1"):
        ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
    import tensorrt_rtx_bindings as trt

    return trt, trt.Logger(trt.Logger.ERROR)


class Parsed:
    """A model as the parser reads it."""

    def __init__(self, data: bytes, path: Path | None = None) -> None:
        trt, logger = library()
        self.builder = trt.Builder(logger)
        self.network = self.builder.create_network(0)
        self.parser = trt.OnnxParser(self.network, logger)
        self.ok: bool = (
            self.parser.parse(data) if path is None else self.parser.parse_from_file(str(path))
        )
        self.errors = [str(self.parser.get_error(i)) for i in range(self.parser.num_errors)]
