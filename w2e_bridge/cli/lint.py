"""`w2e-bridge lint`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from w2e_bridge.cli.failures import about
from w2e_bridge.cli.help import HelpFirst, common
from w2e_bridge.cli.render import short, show

if TYPE_CHECKING:
    from w2e_bridge.formats.lint import Finding

_EXAMPLES = (
    "w2e-bridge lint model.onnx --for tensorrt",
    "w2e-bridge lint model.onnx --for ort",
    "w2e-bridge lint model.onnx --for portable --sarif > findings.sarif",
)


@click.command(cls=HelpFirst, name="lint", examples=_EXAMPLES)
@click.argument("source")
@click.option(
    "--for", "target", required=True, metavar="TARGET", help="What the model is meant to run on."
)
@click.option("--sarif", is_flag=True, help="Print SARIF on standard output.")
@common
def command(
    source: str, *, target: str, sarif: bool, as_json: bool, quiet: bool, verbose: bool
) -> int:
    """Check an ONNX model against the rules of the runtime that it is meant for.

    Needs neither the runtime nor its hardware. Each finding has a rule, the node, the reason and what
    mends it. Exit code 1: there are errors.
    """
    from w2e_bridge.api import lint
    from w2e_bridge.fidelity.report import to_json
    from w2e_bridge.formats.lint import Severity

    with about(source):
        findings = lint(source, target)
    errors = [f for f in findings if f.rule.severity is Severity.ERROR]
    if sarif:
        from w2e_bridge.cli.sarif import document

        print(to_json(document(source, target, findings)))
    elif as_json:
        rows = [_row(finding) for finding in findings]
        print(to_json({"for": target, "ok": not errors, "findings": rows}))
    elif not quiet:
        show(_lines(source, target, findings, every=verbose))
    return 1 if errors else 0


def _row(finding: Finding) -> dict[str, str]:
    rule = finding.rule
    return {
        "rule": rule.name,
        "severity": rule.severity.value,
        "node": finding.node,
        "detail": finding.detail,
        "reason": rule.reason,
        "mend": rule.mend,
    }


def _lines(source: str, target: str, findings: Sequence[Finding], *, every: bool) -> list[str]:
    """Findings by rule, the worst first."""
    if not findings:
        return [f"{source}: nothing to say against it for {target}"]
    most = 10**9 if every else 5
    counts = Counter(finding.rule.severity.value for finding in findings)
    kinds = ", ".join(f"{counts[k]} {k}{'s' * (counts[k] > 1)}" for k in _ORDER if counts[k])
    lines = [f"{source} for {target}: {kinds}"]
    for rule in sorted(
        {f.rule for f in findings}, key=lambda r: (_ORDER.index(r.severity.value), r.name)
    ):
        own = [finding for finding in findings if finding.rule == rule]
        lines += ["", f"{rule.severity.value}: {rule.name} ({len(own)})"]
        lines += [short(f"  {f.node}: {f.detail}", 110) for f in own[:most]]
        lines += [f"  … and {len(own) - most} more"] if len(own) > most else []
        lines += [f"  why: {rule.reason}", f"  mend: {rule.mend}"]
    return lines


_ORDER = ("error", "warning", "note")
