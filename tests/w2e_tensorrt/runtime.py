"""TensorRT-RTX as a judge: parses and builds without a device."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


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

    def scales(self) -> dict[str, NDArray[np.float32]]:
        """The scale of every layer that quantizes or dequantizes, by the layer's name, as the network holds it."""
        trt, _ = library()
        layers = [self.network.get_layer(i) for i in range(self.network.num_layers)]
        makers = {
            layer.get_output(i).name: layer for layer in layers for i in range(layer.num_outputs)
        }
        found = {}
        for layer in layers:
            if layer.type not in (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE):
                continue
            constant = makers[layer.get_input(1).name]
            assert constant.type == trt.LayerType.CONSTANT
            constant.__class__ = trt.IConstantLayer  # get_layer gives the base class
            shape = tuple(constant.shape)
            found[layer.name] = np.array(constant.weights, np.float32).reshape(shape)
        return found

    def builds(self, profiles: Sequence[Mapping[str, Mapping[str, Sequence[int]]]] = ()) -> bool:
        """Whether an engine comes of it, with profiles as in build.json."""
        config = self.builder.create_builder_config()
        for shapes in profiles:
            profile = self.builder.create_optimization_profile()
            for name, shape in shapes.items():
                profile.set_shape(name, shape["min"], shape["opt"], shape["max"])
            config.add_optimization_profile(profile)
        return self.builder.build_serialized_network(self.network, config) is not None
