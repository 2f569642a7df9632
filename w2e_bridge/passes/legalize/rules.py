"""All rules of legalization: operators to the functions that rewrite them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from w2e_bridge.passes.legalize.place import Place

Rule = Callable[[Place], bool]
"""Rewrites a node, or returns False."""

FAMILIES = (
    "tidy",
    "convolution",
    "pooling",
    "linear",
    "flattened",
    "normalization",
    "activations",
    "arithmetic",
    "reductions",
    "moving",
    "indexing",
    "resizing",
    "products",
    "attention",
    "recurrent",
    "contributed",
    "dynamic",
)
"""Modules of this package, each with `RULES: Mapping[str, tuple[Rule, ...]]`, operators to rules in order."""


@cache
def rules() -> Mapping[str, tuple[Rule, ...]]:
    """Operators to their rules."""
    from importlib import import_module
    from importlib.util import find_spec

    found: dict[str, tuple[Rule, ...]] = {}
    for family in FAMILIES:
        name = f"w2e_bridge.passes.legalize.{family}"
        if find_spec(name) is not None:
            for op, own in import_module(name).RULES.items():
                found[op] = (*found.get(op, ()), *own)
    return found
