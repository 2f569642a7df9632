"""How each encoding of each format arrives in each target, asked of the negotiation itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from w2e_bridge.cli.render import short
from w2e_bridge.errors import MissingDependencyError, UnsupportedError
from w2e_bridge.formats.options import resolve
from w2e_bridge.formats.registry import formats, load
from w2e_bridge.formats.spec import Format, Request
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.negotiation.profile import Profile, Role

_COLUMNS = 4096  # a whole number of blocks of every encoding that there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One encoding in one target, as the second operand of a matrix product.

    Attributes:
        format, encoding: how it is stored. target, profile: where it goes.
        grade: at what grade it arrives, "none" where the target can't hold it.
        stored: how the target holds it.
        reason: why it is not exact.
    """

    format: str
    encoding: str
    target: str
    profile: str
    grade: str
    stored: str
    reason: str


def cells() -> list[Cell]:
    """All of them; formats whose modules are missing are left out."""
    return [cell for target in _targets() for cell in _column(*target)]


def _targets() -> Iterator[tuple[str, Profile, Request]]:
    for spec in formats().values():
        profiles: Mapping[str, Profile] = _loaded(spec, spec.profiles)
        for profile in profiles.values():
            values = resolve(spec, "lower", {}, profile.options)
            yield spec.name, profile, Request(profile=profile.name, options=values)


def _column(target: str, profile: Profile, request: Request) -> Iterator[Cell]:
    # without a graph nothing has a role: the forms for matrices are offered to all
    forms = [replace(f, roles=frozenset(Role)) for f in profile.forms if Role.MATMUL in f.roles]
    bare = replace(profile, forms=tuple(forms), needs_graph=False)
    for source in formats().values():
        encodings: Mapping[str, Encoding] = _loaded(source, source.encodings)
        for label, encoding in encodings.items():
            grade, stored, reason = _held(encoding, bare, request)
            yield Cell(
                format=source.name, encoding=label, target=target, profile=profile.name,
                grade=grade, stored=stored, reason=reason,
            )  # fmt: skip


def _held(encoding: Encoding, profile: Profile, request: Request) -> tuple[str, str, str]:
    tensor = Tensor(  # of no rows: what depends on numbers holds for none of them
        name="w", shape=(0, _COLUMNS), dtype="float32", encoding=encoding,
        storage=ComputedStorage(compute=_unread),
    )  # fmt: skip
    try:
        row = negotiate(Model(tensors={"w": tensor}), profile, request)["w"].loss
    except UnsupportedError as error:
        return "none", "", str(error)
    return row.grade.label, row.encoding, row.reason


def _unread(start: int, stop: int) -> Parts:
    raise AssertionError("planning reads no weights")


def _loaded(spec: Format, target: str | None) -> Any:
    if target is None:
        return {}
    try:
        return load(spec, target)()
    except MissingDependencyError:
        return {}


def rows(found: list[Cell], *, every: bool) -> list[tuple[str, ...]]:
    """A line for each encoding, a column for each target; `every` says how it is held there."""
    targets = list(dict.fromkeys((cell.target, cell.profile) for cell in found))
    lines: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for cell in found:
        text = f"{cell.grade} ({short(cell.stored, 40)})" if every and cell.stored else cell.grade
        lines.setdefault((cell.format, cell.encoding), {})[(cell.target, cell.profile)] = text
    head = ("from", "encoding", *(f"{target} {profile}" for target, profile in targets))
    return [head, *((*key, *(line[target] for target in targets)) for key, line in lines.items())]
