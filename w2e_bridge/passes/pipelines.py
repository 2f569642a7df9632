"""Named lists of passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.passes.attach_graph import AttachGraph
from w2e_bridge.passes.base import Pass, PassResult, Sequence

Steps = tuple[Pass, ...]

LARGE = frozenset(
    {
        "Attention", "RotaryEmbedding", "RMSNormalization", "SimplifiedLayerNormalization",
        *(f"com.microsoft::{op}" for op in (
            "Gelu", "BiasGelu", "FastGelu", "FusedMatMul", "FusedConv", "FusedGemm",
            "SkipLayerNormalization", "SkipSimplifiedLayerNormalization",
        )),
    }
)  # fmt: skip
"""Operators that stand for many."""


def _tensors() -> Steps:
    """A target that stores tensors takes them as they come."""
    return ()


def _graph() -> Steps:
    """A target that runs a graph needs one. First of all, since every other pass looks at it."""
    return (AttachGraph(),)


def _parts() -> Steps:
    """Runtimes that have none of the large operators of language models, or not in every type."""
    from w2e_bridge.passes.legalize import Legalize

    return (AttachGraph(), Legalize(only=LARGE))


def _first() -> Steps:
    """Runtimes of channels first get no Transposes that they would have to take out themselves."""
    from w2e_bridge.passes.layout.passes import ChannelsFirst

    return (AttachGraph(), ChannelsFirst())


def _first_parts() -> Steps:
    """Both, for graphs that others wrote; their nodes are in the words of the newest version then."""
    from w2e_bridge.passes.layout.passes import ChannelsFirst
    from w2e_bridge.passes.legalize import Legalize

    return (AttachGraph(), Legalize(only=LARGE), ChannelsFirst())


def _last() -> Steps:
    """Integer kernels on channels-last values.

    First the operators that they have, then the layout, then the quantization that each accepts, which
    is asked of the operations that have come out.
    """
    from w2e_bridge.passes.layout.passes import ChannelsLast
    from w2e_bridge.passes.legalize import Legalize, SatisfyConstraints

    return (AttachGraph(), Legalize(), ChannelsLast(), SatisfyConstraints())


PIPELINES: Mapping[str, Callable[[], Steps]] = {
    "tensors": _tensors,
    "graph": _graph,
    "parts": _parts,
    "NCHW": _first,
    "NCHW parts": _first_parts,
    "NHWC": _last,
}
"""Name to what gives the passes in order, imported when they are wanted."""


def pipeline(model: Model, profile: Profile, request: Request) -> str:
    """The passes that a model needs for a target, by their name."""
    kernels = request.options.get("match") != "none" and model.numerics in profile.channels_last
    if not profile.needs_graph:
        return "tensors"
    if profile.layout and not model.architecture:
        return f"{profile.layout} {profile.built}".rstrip()
    if profile.built and model.architecture:
        return profile.built
    # Integer kernels are recognised as channels-last operations; a model of floats has none.
    foreign = model.numerics in profile.channels_last
    return "NCHW" if foreign and not (kernels and _rounded(model)) else "graph"


def _rounded(model: Model) -> bool:
    quantized = any(tensor.encoding.quantized for tensor in model.tensors.values())
    return bool(model.activations) or quantized


def prepare(model: Model, profile: Profile, request: Request) -> PassResult:
    """Make a model ready for negotiation with a target.

    Args:
        model: as lifted.
        profile: the target.
        request: what the user asked of it.

    Returns:
        The model, with what the passes left behind among its remarks, and what became of tensors that
        they made anew.

    Raises:
        UnsupportedError: the target needs a graph and none can be built.
    """
    result = Sequence(PIPELINES[pipeline(model, profile, request)]())(model)
    remarks = (*result.model.remarks, *result.remarks)
    return replace(result, model=replace(result.model, remarks=remarks))
