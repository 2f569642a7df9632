"""The codebooks of the IQ types, kept as data and loaded when first asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.codes import VectorTable

FILE = Path(__file__).parent.with_name("codebooks.npz")
"""The grids of ggml-org/llama.cpp ggml/src/ggml-common.h (`iq2xxs_grid`, …), int8."""


@cache
def grids() -> dict[str, NDArray[np.int8]]:
    """Codebook name to grid, (entries, 8 or 4)."""
    with np.load(FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@cache
def codebook(name: str, *, signs: bool) -> VectorTable:
    """A codebook as a code map."""
    grid = grids()[name]
    return VectorTable(name=name, width=grid.shape[1], values=grid.tobytes(), signs=signs)
