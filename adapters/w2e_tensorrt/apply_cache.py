"""A calibration cache's scales on the values of a graph: what TensorRT up to 10 did while it built an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import FormatError, UnsupportedError, Where
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.model import Model, Remark
from w2e_tensorrt.calibration_cache import read
from w2e_tensorrt.ranges import quantization

OPTION = "calibration-cache"
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

WHOLE = frozenset(
    {"And", "ArgMax", "ArgMin", "Cast", "Constant", "ConstantOfShape", "Equal", "Greater", "Less",
     "NonZero", "Not", "Or", "Shape", "Size"}
)  # fmt: skip
"""Operators whose results are no activations where the graph names no type."""

NAMED = 3
"""Values that a message names."""


def calibrated(model: Model, request: Request) -> Model:
    """Give a model's values the scales of the cache that was asked for.

    Args:
        model: with a graph where there is a cache.
        request: `options["calibration-cache"]` is the file.

    Raises:
        FormatError: the file is no cache, or one of another network.
        UnsupportedError: the model has no graph whose values a cache could name.
    """
    path = request.options.get(OPTION)
    if not path:
        return model
    place = Path(str(path))
    if place.exists() and not place.is_file():  # a pipe would block, a folder has no bytes
        raise FormatError(Where(path=place), "no file")
    return put(model, place, read(place)[1], OPTION)


def put(model: Model, place: Path, scales: Mapping[str, np.float32], option: str) -> Model:
    """Give a model's values the scales of a file.

    Args:
        model: with a graph.
        place: the file.
        scales: by the names of values.
        option: by which the file was given.

    Raises:
        FormatError: they are those of another network.
        UnsupportedError: the model has no graph whose values the file could name.
    """
    if model.graph is None:
        raise UnsupportedError(f"--{option}: the model has no graph whose values it could name")
    floats = list(dict.fromkeys(_floats(model.graph)))
    _same_network(place, floats, scales)
    known, usable = set(floats), {n: s for n, s in scales.items() if s > 0 and np.isfinite(s)}
    remarks = [
        Remark(name=name, reason=_why(name, scale, known, option))
        for name, scale in scales.items()
        if name not in known or name not in usable
    ]
    added = {name: quantization(usable[name]) for name in floats if name in usable}
    return replace(
        model,
        activations={**model.activations, **added},
        remarks=(*model.remarks, *remarks),
    )


def _floats(model: ir.Model) -> Iterator[str]:
    """Names of what flows through a graph as floats; where no type is said, of what may."""
    for value in model.graph.inputs:
        if value.dtype in FLOATS and name_of(value) not in model.graph.initializers:
            yield name_of(value)
    for graph in model.graphs():
        for node in graph:
            for value in node.outputs:
                unsaid = value.dtype is None and node.op_type not in WHOLE
                if name_of(value) and (value.dtype in FLOATS or unsaid):
                    yield name_of(value)


def _same_network(place: Path, floats: list[str], scales: Mapping[str, np.float32]) -> None:
    missing = [name for name in floats if name not in scales]
    if 2 * len(missing) > len(floats) or not floats:
        named = ", ".join(missing[:NAMED])
        raise FormatError(
            Where(path=place),
            f"expected scales of the model's {len(floats)} float values, found "
            f"{len(floats) - len(missing)}; without: {named}",
            "probably the cache of another network; names have to be the model's own",
        )


def _why(name: str, scale: np.float32, known: set[str], option: str) -> str:
    what = "calibration cache" if option == OPTION else "file of hints"
    if name not in known:
        return f"in the {what}, but no float value of the graph"
    return f"its scale in the {what} is {scale}"
