"""What TensorRT's files hold, as data."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.ir.encoding import FLOAT32
from w2e_bridge.negotiation.profile import Form, Profile, Role

RANGES = Profile(
    name="ranges",
    title="a table of activation ranges",
    forms=(Form(name="left out", roles=frozenset(Role), codes=None, scale=FLOAT32),),
    needs_graph=False,
)
"""One symmetric range for each value; no weights."""


def ranges() -> Mapping[str, Profile]:
    """Profiles of the files that hold activation ranges only."""
    return {RANGES.name: RANGES}
