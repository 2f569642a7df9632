"""What the canonical file holds: everything, as it is."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.negotiation.profile import Form, Profile, Role

CANONICAL = Profile(
    name="canonical",
    title="the canonical file",
    forms=(Form(name="as it is", roles=frozenset(Role), anything=True),),
    needs_graph=False,
)


def profiles() -> Mapping[str, Profile]:
    """Profiles by name; the first is the default."""
    return {CANONICAL.name: CANONICAL}
