"""Per-tensor dynamic ranges as text: a line `name: largest magnitude` for each activation.

Grammar: NVIDIA/TensorRT release/8.6 samples/sampleINT8API/sampleINT8API.cpp, which ends a name at the first
colon. Names with colons are read at the last one, which gives the same for all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from w2e_bridge.formats.output import Output
from w2e_bridge.formats.spec import OptionValue, Request
from w2e_bridge.ir.model import Model
from w2e_bridge.loss import Ignored
from w2e_bridge.negotiation.decision import Decisions
from w2e_tensorrt.ranges import Line, amax_of, model_of, output, ranges_of, scale_of, text_of


def read(path: Path) -> dict[str, np.float32]:
    """Scales by name, in the file's order.

    Raises:
        FormatError: a line that is not of this grammar; says its number.
    """
    scales: dict[str, np.float32] = {}
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if not line.strip():
            continue
        place = Line(path=path, number=number)
        name, colon, said = line.rpartition(":")
        try:
            amax = float(said)
        except ValueError:
            amax = math.nan
        if not colon or not name.strip() or math.isnan(amax) or amax < 0:
            raise place.error(f"expected 'name: largest magnitude', found '{line[:60]}'")
        scales[name.strip()] = scale_of(amax)
    return scales


def written(scales: Mapping[str, np.float32]) -> bytes:
    """A table's bytes."""
    return "".join(f"{name}: {amax_of(scale)!r}\n" for name, scale in scales.items()).encode()


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """A table of ranges as a model that holds nothing else.

    Args:
        path: the file.
        options: none.
    """
    del options
    return model_of(path, "dynamic_ranges", read(path))


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan the table of a model's activations."""
    del decisions, request
    found = ranges_of(model)
    colons = [
        Ignored(name=name, reason="TensorRT's own reader ends the name at its first colon")
        for name in found.scales
        if ":" in name
    ]
    return output("{stem}.dynamic_ranges.txt", written(found.scales), found, colons)
