"""The canonical model to a folder from which TensorRT builds an engine: which release, by the profile."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from w2e_bridge.formats.output import Output
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.decision import Decisions
from w2e_tensorrt import explicit, trt10
from w2e_tensorrt.profiles import EXPLICIT, TRT10

Lower = Callable[[Model, Decisions, Request], Output]

PROFILES: Mapping[str, Lower] = {EXPLICIT.name: explicit.lower, TRT10.name: trt10.lower}


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan the files of the profile that is asked for.

    Args:
        model: with a graph, channels first.
        decisions: how each tensor is held.
        request: profile, stem, options.
    """
    return PROFILES[request.profile](model, decisions, request)
