"""What the options of `--to tensorrt` add to a model before any pass looks at it: hints, then scales."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.records import Hints
from w2e_tensorrt.apply_cache import calibrated, put
from w2e_tensorrt.hints.recognise import said

OPTION = "hints"


def prepare(model: Model, request: Request) -> Model:
    """A model with what the files say that were given with `--hints` and `--calibration-cache`.

    Args:
        model: as lifted.
        request: its options name the files.

    Raises:
        FormatError: a file that is damaged, of no kind that is known, or of another network.
        UnsupportedError: the model has no graph whose values a file could name.
    """
    path = request.options.get(OPTION)
    hinted = _hinted(model, Path(str(path))) if path else model
    return calibrated(hinted, request)


def _hinted(model: Model, place: Path) -> Model:
    """A model with a file's hints, which win over its own, and its scales where it has any."""
    found = said(place)
    scales = {
        name: np.float32(np.reshape(row.scale, ()))
        for name, row in found.activations.items()
        if row.scale is not None
    }
    hinted = replace(
        model,
        hints=Hints(values={**model.hints.values, **found.hints}),
        remarks=(*model.remarks, *found.remarks),
    )
    return put(hinted, place, scales, OPTION) if scales else hinted
