"""All kinds. A family adds its rows in its own module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import STANDARD
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.function import VARIANT
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operation

FAMILIES = (
    "convolution",
    "depthwise",
    "deconvolution",
    "volume",
    "linear",
    "pooling",
    "arithmetic",
    "requantize",
    "comparison",
    "rectify",
    "joining",
    "special",
    "unary",
    "normalize",
    "reduce",
    "shape",
    "slicing",
    "strided",
    "padding",
    "gathering",
    "indices",
    "scatter",
    "image",
    "spaces",
    "control",
    "lstm",
    "recurrent",
    "custom",
    "mediapipe",
)
"""Modules of this package, each with `KINDS: tuple[Kind, ...]`."""


@cache
def kinds() -> Mapping[str, Kind]:
    """Name to kind."""
    from importlib import import_module
    from importlib.util import find_spec

    found: dict[str, Kind] = {}
    for family in FAMILIES:
        name = f"w2e_bridge.kernels.{family}"
        if find_spec(name) is not None:
            found |= {kind.name: kind for kind in import_module(name).KINDS}
    return found


@cache
def by_root() -> Mapping[str, tuple[Kind, ...]]:
    """Canonical operator to the kinds of which it can be the last node."""
    found: dict[str, list[Kind]] = {}
    for kind in kinds().values():
        for root in kind.roots:
            found.setdefault(root, []).append(kind)
    return {root: tuple(those) for root, those in found.items()}


def root_of(node: ir.Node) -> str:
    """A node's operator as `roots` names it: of a function with variants without what tells them apart."""
    if node.domain in STANDARD:
        return node.op_type
    return f"{node.domain}::{node.op_type.partition(VARIANT)[0]}"


def build(operation: Operation, builder: Builder) -> None:
    """Append the nodes of an operation.

    Raises:
        UnsupportedError: no kind of that name, or one that can't be built so.
    """
    kind = kinds().get(operation.kind)
    if kind is None:
        raise UnsupportedError(f"operator {operation.kind.removeprefix('custom:')} is not known")
    kind.build(operation, builder)
