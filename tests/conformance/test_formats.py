"""Every installed format, through the same door as a third party's."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2e_bridge.formats.registry import formats
from w2e_bridge.formats.spec import Format
from w2e_bridge.testing import conformance
from w2e_bridge.testing.models import ZOO

FORMATS = [pytest.param(spec, id=name) for name, spec in formats().items()]
KEEPS_ALL = {"w2e"}
"""Formats that must accept every model of the zoo."""


@pytest.mark.parametrize("spec", FORMATS)
def test_record(spec: Format) -> None:
    conformance.check_record(spec)
    conformance.check_profiles(spec)


@pytest.mark.parametrize("animal", ZOO)
@pytest.mark.parametrize("spec", [p for p in FORMATS if p.values[0].lower])  # type: ignore[attr-defined]
def test_round_trip(spec: Format, animal: str, tmp_path: Path) -> None:
    accepted = conformance.check_round_trip(spec, ZOO[animal](), tmp_path)
    assert accepted or spec.name not in KEEPS_ALL


@pytest.mark.parametrize("animal", ["plain", "two_levels"])
@pytest.mark.parametrize("spec", [p for p in FORMATS if p.values[0].lower])  # type: ignore[attr-defined]
def test_same_bytes_twice(spec: Format, animal: str, tmp_path: Path) -> None:
    accepted = conformance.check_deterministic(spec, ZOO[animal](), tmp_path)
    assert accepted or spec.name not in KEEPS_ALL


@pytest.mark.parametrize("spec", [p for p in FORMATS if p.values[0].lower and p.values[0].lift])  # type: ignore[attr-defined]
def test_truncated(spec: Format, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "cuts").mkdir()
    path = conformance.lowered(ZOO["plain"](), spec, tmp_path / "in")
    if path is None:
        pytest.skip(f"{spec.name} does not hold a model without a graph")
    conformance.check_truncated(spec, path, tmp_path / "cuts")
