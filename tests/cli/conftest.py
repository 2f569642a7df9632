from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.runner import Run, run_main
from tests.formats.toymaker import toy, toy_format
from w2e_bridge.formats.spec import Format

__all__ = ["toy_format"]


@pytest.fixture
def w2e(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_format: Path) -> Run:
    """Runs the command line in a folder with a toy; only the toy format is installed."""
    from w2e_bridge.formats import registry

    installed = registry._installed()
    only: tuple[dict[str, Format], dict[str, str]] = ({"toy": installed[0]["toy"]}, {})
    monkeypatch.setattr(registry, "_installed", lambda: only)
    monkeypatch.chdir(tmp_path)
    toy(Path("bear.toy"))
    return run_main
