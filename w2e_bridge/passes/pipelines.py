"""Named lists of passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.passes.attach_graph import AttachGraph
from w2e_bridge.passes.base import Pass, Sequence

PIPELINES: Mapping[str, tuple[Pass, ...]] = {
    # A target that runs a graph needs one. First of all, since every other pass looks at it.
    "graph": (AttachGraph(),),
    # A target that stores tensors takes them as they come.
    "tensors": (),
}
"""Name to passes in order."""


def prepare(model: Model, profile: Profile, request: Request) -> Model:
    """Make a model ready for negotiation with a target.

    Args:
        model: as lifted.
        profile: the target.
        request: what the user asked of it.

    Returns:
        The model, with what the passes left behind among its remarks.

    Raises:
        UnsupportedError: the target needs a graph and none can be built.
    """
    del request  # no pass depends on a target's options
    steps = PIPELINES["graph" if profile.needs_graph else "tensors"]
    result = Sequence(steps)(model)
    return replace(result.model, remarks=(*result.model.remarks, *result.remarks))
