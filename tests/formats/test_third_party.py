"""A third party's package adds a format without touching this repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.formats.toymaker import PACKAGE, install, toy

RUN = "import sys; from w2e_bridge.cli.main import main; sys.exit(main())"


def w2e(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in its own process, with a folder of packages beside the installed ones."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def exercise(site: Path, folder: Path) -> None:
    """`formats`, `inspect`, `convert`, `compare` with the toy format."""
    toy(folder / "bear.toy")
    listed = json.loads(w2e(site, folder, "formats", "--json").stdout)["formats"]
    (record,) = [spec for spec in listed if spec["name"] == "toy"]
    assert [profile["name"] for profile in record["profiles"]] == ["box", "bare"]
    shown = json.loads(w2e(site, folder, "inspect", "bear.toy", "--json").stdout)
    assert [(t["name"], t["encoding"]) for t in shown["tensors"]] == [("w", "Q8"), ("norm", "F32")]
    done = w2e(site, folder, "convert", "bear.toy", "--to", "toy", "--color", "green", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["grade"] == "exact"
    assert (folder / "bear-toy/label.txt").read_text() == "green\n"
    done = w2e(site, folder, "compare", "bear.toy", "bear-toy/model.toy", "--encodings")
    assert (done.returncode, done.stderr) == (0, "")


def test_with_a_package_as_an_installer_lays_it(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    exercise(install(tmp_path / "site"), tmp_path)


@pytest.mark.slow
def test_with_a_package_that_pip_installed(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    offline = ["--no-index", "--disable-pip-version-check", "--root-user-action=ignore"]
    done = subprocess.run(
        [*pip, *offline, "--target", str(site), str(PACKAGE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    exercise(site, tmp_path)
