"""Which rule computes which kind of operation. A family adds its rows in its own module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import onnx_ir as ir

from w2e_onnx.lowering.litert.call import Call

Rule = Callable[[Call], Sequence[ir.Value]]
"""Appends the nodes of a kernel to a call's body; the codes of its outputs as they travel.

Raises `NotHere` for a case that the rule does not know: the fallback computes it in floats."""


class NotHere(Exception):  # noqa: N818 - an answer, not an error
    """A case that a rule does not know; `str()` says which."""


FAMILIES = (
    "convolution", "depthwise", "deconvolution", "linear", "pooling", "arithmetic", "requantize", "comparison", "rectify", "joining", "unary", "normalize", "reduce",
    "shape", "padding", "indices", "spaces", "image", "control", "lstm", "recurrent", "custom",
)  # fmt: skip
"""Modules of this package, each with `RULES: Mapping[str, Rule]`."""


@cache
def rules() -> Mapping[str, Rule]:
    """Kind to rule."""
    from importlib import import_module
    from importlib.util import find_spec

    found: dict[str, Rule] = {}
    for family in FAMILIES:
        name = f"w2e_onnx.lowering.litert.{family}"
        if find_spec(name) is not None:
            found |= import_module(name).RULES
    return found
