"""How a format is found: by content, then by name; and what is said where none is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from inline_snapshot import snapshot

from tests.formats.toymaker import toy
from w2e_bridge.errors import BridgeError, MissingDependencyError, UsageError
from w2e_bridge.formats import registry
from w2e_bridge.formats.registry import broken, formats, load, named, sniff
from w2e_bridge.formats.spec import Format

pytestmark = pytest.mark.usefixtures("toy_format")


def test_content_decides_before_the_name(tmp_path: Path) -> None:
    toy(tmp_path / "bear.gguf")
    (tmp_path / "old.toy").write_bytes(b"older toys had no magic")
    assert sniff(tmp_path / "bear.gguf").name == "toy"
    assert sniff(tmp_path / "old.toy").name == "toy"


def test_what_is_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "formats", lambda: {"toy": formats()["toy"]})
    monkeypatch.setattr(registry, "broken", dict)
    (tmp_path / "empty.toy").touch()
    (tmp_path / "page.bin").write_text("<!doctype html>")
    (tmp_path / "lfs.toy").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.toy")
    names = (
        "empty.toy",
        "page.bin",
        "lfs.toy",
        "folder",
        "pipe.toy",
        "missing",
        "nul\0",
        "x" * 300,
    )
    found = {}
    for name in names:
        with pytest.raises(BridgeError) as caught:
            sniff(tmp_path / name)
        found[name[:9]] = str(caught.value).replace(str(tmp_path), "/at").replace("x" * 300, "xxx")
    assert found == snapshot(
        {
            "empty.toy": "/at/empty.toy: the file is empty (probably a cut download)",
            "page.bin": "/at/page.bin @0x0: no format begins with b'<!doctyp' (known: .toy)",
            "lfs.toy": "/at/lfs.toy @0x0: this is a git-lfs pointer, not a model (fetch the file itself with `git lfs pull`)",
            "folder": "/at/folder: a folder that no installed format knows",
            "pipe.toy": "/at/pipe.toy: neither a file nor a folder",
            "missing": "/at/missing: No such file or directory",
            "nul\x00": "/at/nul\x00: embedded null byte",
            "xxxxxxxxx": "/at/xxx: File name too long",
        }
    )


def test_names_are_guessed() -> None:
    with pytest.raises(UsageError, match="no format 'toi'; did you mean 'toy'"):
        named("toi")


def install(site: Path, package: str, entry: str, body: str) -> None:
    (site / f"{package}.py").write_text(body)
    info = site / f"{package}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[w2e_bridge.formats]\n{entry} = {package}:FORMAT\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_installed", registry._installed.__wrapped__)
    return tmp_path


def test_one_broken_package_stops_no_other(site: Path) -> None:
    install(site, "w2e_test_broken", "dented", "import w2e_test_no_such_module\n")
    assert "toy" in formats()
    assert (
        broken()["dented"]
        == "w2e_test_broken:FORMAT does not load: No module named 'w2e_test_no_such_module'"
    )
    with pytest.raises(MissingDependencyError, match="'dented' is installed, but"):
        named("dented")


def test_two_packages_can_not_claim_one_name(site: Path) -> None:
    record = "Format(name='toy', title='', suffixes=())"
    body = f"from w2e_bridge.formats.spec import Format\nFORMAT = {record}\n"
    install(site, "w2e_test_other_toy", "another", body)
    with pytest.raises(UsageError, match="two installed packages claim the format 'toy'"):
        formats()


def test_an_entry_point_is_a_format(site: Path) -> None:
    install(site, "w2e_test_number", "number", "FORMAT = 7\n")
    with pytest.raises(UsageError, match=r"entry point 'number' of .* is no Format"):
        formats()


def test_a_missing_dependency_says_how_to_install_it() -> None:
    spec = Format(
        name="x", title="X", suffixes=(), lift="w2e_test_absent.read:lift",
        requires=(("w2e_test_absent", "pip install 'w2e-bridge[x]'"),),
    )  # fmt: skip
    assert spec.lift is not None
    with pytest.raises(MissingDependencyError) as caught:
        load(spec, spec.lift)
    assert str(caught.value) == snapshot(
        "x needs the module 'w2e_test_absent', which is not installed: pip install 'w2e-bridge[x]'"
    )
    assert caught.value.exit_code == 3
