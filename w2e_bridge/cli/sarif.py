"""Findings as SARIF 2.1.0, the form in which code hosts show what a linter says (OASIS sarif-v2.1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from w2e_bridge import __version__
from w2e_bridge.formats.lint import Finding, Rule


def document(path: str, target: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The whole log."""
    rules = {finding.rule.name: finding.rule for finding in findings}
    driver = {
        "name": "w2e-bridge",
        "version": __version__,
        "rules": [_rule(target, rule) for rule in rules.values()],
    }
    return {
        "version": "2.1.0",
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "runs": [
            {"tool": {"driver": driver}, "results": [_result(path, target, f) for f in findings]}
        ],
    }


def _rule(target: str, rule: Rule) -> dict[str, Any]:
    return {
        "id": f"{target}/{rule.name}",
        "shortDescription": {"text": rule.reason},
        "help": {"text": rule.mend},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _result(path: str, target: str, finding: Finding) -> dict[str, Any]:
    rule = finding.rule
    return {
        "ruleId": f"{target}/{rule.name}",
        "level": rule.severity.value,
        "message": {"text": f"{finding.node}: {finding.detail}. {rule.reason} {rule.mend}"},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": path}},
                "logicalLocations": [{"name": finding.node}],
            }
        ],
    }
