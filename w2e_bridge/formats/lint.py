"""What a linter finds in a model, whatever the target is."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from w2e_bridge.errors import UsageError
from w2e_bridge.formats.registry import formats
from w2e_bridge.formats.spec import Format


class Severity(enum.Enum):
    """How bad a finding is.

    ERROR: the target refuses the model, or computes something else than it says. WARNING: it runs, worse
    than it could or with a surprise. NOTE: depends on something that the file does not say.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of a linter.

    Attributes:
        name: "zero-point"; unique for a target.
        severity: of its findings.
        reason: why the target minds, in a sentence.
        mend: what to do about it.
    """

    name: str
    severity: Severity
    reason: str
    mend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A place where a rule is broken.

    Attributes:
        rule: which.
        node: the node or value.
        detail: what was found there.
    """

    rule: Rule
    node: str
    detail: str


def targets() -> Mapping[str, tuple[Format, str]]:
    """What models can be checked for: target to the format that knows it, and its function."""
    found: dict[str, tuple[Format, str]] = {}
    for spec in formats().values():
        for name, function in spec.lints:
            found[name] = (spec, function)
    return dict(sorted(found.items()))


def target(name: str) -> tuple[Format, str]:
    """The one of that name, or `UsageError` with those there are."""
    import difflib

    known = targets()
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, 1)
    guess = f"; did you mean '{close[0]}'?" if close else ""
    raise UsageError(f"--for is one of {', '.join(known)}, not '{name}'{guess}")
