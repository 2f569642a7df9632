"""Named lists of passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.passes.attach_graph import AttachGraph
from w2e_bridge.passes.base import Pass, Sequence
from w2e_bridge.passes.layout.passes import ChannelsFirst

PIPELINES: Mapping[str, tuple[Pass, ...]] = {
    # A target that stores tensors takes them as they come.
    "tensors": (),
    # A target that runs a graph needs one. First of all, since every other pass looks at it.
    "graph": (AttachGraph(),),
    # Runtimes that compute channels first get no Transposes that they would have to take out themselves.
    "NCHW": (AttachGraph(), ChannelsFirst()),
}
"""Name to passes in order."""


def pipeline(model: Model, profile: Profile) -> str:
    """The passes that a model needs for a target, by their name."""
    if not profile.needs_graph:
        return "tensors"
    if profile.layout and not model.architecture:
        return profile.layout
    # Integer kernels are recognised as channels-last operations; a model of floats has none.
    if model.numerics in profile.channels_last and not _rounded(model):
        return "NCHW"
    return "graph"


def _rounded(model: Model) -> bool:
    quantized = any(tensor.encoding.quantized for tensor in model.tensors.values())
    return bool(model.activations) or quantized


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
    steps = PIPELINES[pipeline(model, profile)]
    result = Sequence(steps)(model)
    return replace(result.model, remarks=(*result.model.remarks, *result.remarks))
