"""`w2e-bridge formats`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from w2e_bridge.cli.help import HelpFirst, common
from w2e_bridge.cli.render import listed, show, table
from w2e_bridge.errors import MissingDependencyError
from w2e_bridge.formats.registry import broken, formats, load
from w2e_bridge.formats.spec import Format

if TYPE_CHECKING:
    from w2e_bridge.negotiation.profile import Profile

_EXAMPLES = (
    "w2e-bridge formats",
    "w2e-bridge formats --matrix        # how each encoding arrives in each target",
)


@click.command(cls=HelpFirst, name="formats", examples=_EXAMPLES)
@click.option("--matrix", is_flag=True, help="At which grade each encoding arrives in each target.")
@common
def command(*, matrix: bool, as_json: bool, quiet: bool, verbose: bool) -> int:
    """List the installed formats: what is read and written, profiles and options.

    A format is a package with an entry point in the group "w2e_bridge.formats".
    """
    from w2e_bridge.fidelity.report import to_json

    documents = [_document(spec) for spec in formats().values()]
    document: dict[str, object] = {"formats": documents, "broken": broken()}
    lines = _lines(documents)
    if matrix:
        from w2e_bridge.cli.matrix import cells, rows

        found = cells()
        document["matrix"] = found
        lines = table(rows(found, every=verbose))
    if as_json:
        print(to_json(document))
    elif not quiet:
        show(lines)
    return 0


def _document(spec: Format) -> dict[str, object]:
    profiles, needs = _profiles(spec)
    return {
        "name": spec.name,
        "title": spec.title,
        "reads": spec.lift is not None and not spec.opaque,
        "writes": spec.lower is not None,
        "suffixes": spec.suffixes,
        "profiles": [
            {"name": p.name, "title": p.title, "forms": [form.name for form in p.forms]}
            for p in profiles.values()
        ],
        "options": spec.options,
        "needs": needs,
        "docs": spec.docs,
    }


def _profiles(spec: Format) -> tuple[Mapping[str, Profile], str]:
    if spec.profiles is None:
        return {}, ""
    try:
        profiles: Mapping[str, Profile] = load(spec, spec.profiles)()
    except MissingDependencyError as error:
        return {}, str(error)
    return profiles, ""


def _lines(documents: list[dict[str, object]]) -> list[str]:
    head = ("format", "reads", "writes", "suffixes", "profiles", "")
    rows: list[tuple[str, ...]] = [head]
    options, needs = [], []
    for spec, document in zip(formats().values(), documents, strict=True):
        profiles = [p["name"] for p in document["profiles"]]  # type: ignore[attr-defined]
        yes = ["yes" if document[key] else "no" for key in ("reads", "writes")]
        rows.append((spec.name, *yes, " ".join(spec.suffixes), ", ".join(profiles), spec.title))
        options += [
            (f"--{o.name}", spec.name, "|".join(o.choices) or ("" if o.flag else "TEXT"), o.help)
            for o in spec.options
        ]
        needs += [str(document["needs"])] if document["needs"] else []
    return [
        *table(rows),
        *(["options", *table(options)] if options else []),
        *listed("not usable", [*needs, *(f"{n}: {why}" for n, why in broken().items())], 10**9),
    ]
