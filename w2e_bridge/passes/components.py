"""Further networks of a file, made ready for a target as the model itself is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from w2e_bridge.formats.output import Part
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.loss import Ignored, TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.passes.pipelines import prepare


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decided:
    """A network as a target takes it.

    Attributes:
        name: of the component; "" of the model itself.
        model: what the passes made of it.
        decisions: how each of its tensors is held.
    """

    name: str = ""
    model: Model
    decisions: Decisions

    @property
    def part(self) -> Part:
        """What the report says of it."""
        remarks = tuple(Ignored(name=r.name, reason=r.reason) for r in self.model.remarks)
        return Part(name=self.name, held=self.decisions, ignored=remarks)


def decide(model: Model, profile: Profile, request: Request, name: str = "") -> Decided:
    """Passes and negotiation of one network.

    Args:
        model: as lifted.
        profile: the target.
        request: what the user asked of it.
        name: of the component.

    Raises:
        UnsupportedError: the target can't hold it.
    """
    passed = prepare(model, profile, request)
    decisions = _told(negotiate(passed.model, profile, request), passed.losses)
    return Decided(name=name, model=passed.model, decisions=decisions)


def components(model: Model, profile: Profile, request: Request) -> Iterator[Decided]:
    """The further networks of a model, for a target whose files hold several.

    One without a graph is left out where the target needs graphs.
    """
    for name, part in model.components.items():
        if part.graph is not None or part.architecture is not None or not profile.needs_graph:
            yield decide(part, profile, request, name)


def _told(decisions: Decisions, losses: tuple[TensorLoss, ...]) -> Decisions:
    """The decisions, with what passes did to tensors before where that is the greater loss."""
    told = dict(decisions)
    for loss in losses:
        decision = told.get(loss.name)
        if decision is not None and loss.grade > decision.loss.grade:
            told[loss.name] = replace(decision, loss=replace(loss, encoding=decision.loss.encoding))
    return told
