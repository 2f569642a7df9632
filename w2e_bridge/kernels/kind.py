"""A kind of operation: the pair that builds its nodes and finds them again."""

from __future__ import annotations

from dataclasses import dataclass

from w2e_bridge.kernels.build import Build
from w2e_bridge.kernels.scope import Match


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A row of the table.

    Attributes:
        name: "conv_2d".
        build: appends the nodes that compute an operation; the last ones make its outputs.
        roots: canonical operators that can be the last node: "Conv", or "w2e::Name" of a function.
        match: reads an operation from its last node, None where it is another. What it covers must be
            what `build` makes, or anything equal to it.
    """

    name: str
    build: Build
    roots: tuple[str, ...]
    match: Match
