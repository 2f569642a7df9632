"""Output appears whole or not at all, and takes nothing away that it should not."""

from __future__ import annotations

from pathlib import Path

import pytest
from inline_snapshot import snapshot

from w2e_bridge.errors import UsageError
from w2e_bridge.formats import sink
from w2e_bridge.formats.sink import Destination, destination, staging


def tree(folder: Path) -> dict[str, str]:
    """All files below a folder, hidden ones included."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write(to: Destination, **files: str) -> None:
    with staging(to) as folder:
        for name, text in files.items():
            (folder / name.replace("_", ".")).write_text(text)


def place(
    out: Path | str | None, source: Path | None = None, *, force: bool = False
) -> Destination:
    out = None if out is None else Path(out)
    return destination(out, source or Path("in.toy"), "onnx", (".onnx",), force=force)


@pytest.mark.parametrize(
    ("out", "folder", "stem", "whole", "report"),
    [
        (None, "model-Q4-onnx", "model", True, "w2e-report.json"),
        ("there", "there", "model", True, "w2e-report.json"),
        ("there.d/v1.2", "there.d/v1.2", "model", True, "w2e-report.json"),
        ("there/x.onnx", "there", "x", False, "x.w2e-report.json"),
        ("x.y.onnx", ".", "x.y", False, "x.y.w2e-report.json"),
        (".onnx", ".onnx", "model", True, "w2e-report.json"),
        ("empty", "empty", "model", False, "w2e-report.json"),
        ("full.onnx", "full.onnx", "model", True, "w2e-report.json"),
    ],
)
def test_where_output_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    out: str | None, folder: str, stem: str, whole: bool, report: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    source = Path("models/model-Q4.gguf")
    for path in (source, Path("full.onnx/something")):
        path.parent.mkdir()
        path.touch()
    Path("empty").mkdir()
    to = place(out, source)
    assert (str(to.folder), to.stem, to.whole, to.report) == (folder, stem, whole, report)


def test_of_a_folder_the_name_is_the_stem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(place(None, Path()).folder) == f"{tmp_path.name}-onnx"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    write(place(tmp_path / "a/b"), model_onnx="m", x_json="x")
    assert tree(tmp_path) == {"a/b/model.onnx": "m", "a/b/x.json": "x"}


def test_a_file_appears_last_beside_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").write_text("o")
    order: list[str] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        order.append(self.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    write(place(tmp_path / "x.onnx"), x_onnx="m", x_onnx_data="d", tokenizer_json="t")
    assert order == ["tokenizer.json", "x.onnx.data", "x.onnx"]
    assert sorted(tree(tmp_path)) == ["other", "tokenizer.json", "x.onnx", "x.onnx.data"]


def test_an_empty_folder_is_filled_in_place(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    before = out.stat().st_ino
    write(place(out), model_onnx="m")
    assert tree(tmp_path) == {"out/model.onnx": "m"}
    assert out.stat().st_ino == before


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("out", ["a/b/c", "a/b/x.onnx"])
def test_nothing_is_left_after_a_failure(
    tmp_path: Path, out: str, stop: type[BaseException]
) -> None:
    with pytest.raises(stop), staging(place(tmp_path / out)) as folder:  # noqa: PT012
        (folder / "model.onnx").write_text("half")
        (folder / "sub").mkdir()
        raise stop
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["out", "out/model.onnx"])
def test_earlier_output_survives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    write(place(tmp_path / "out"), model_onnx="old", report="r")
    before = tree(tmp_path)

    def fail(folder: Path) -> None:
        raise OSError("fsync")

    monkeypatch.setattr(sink, "_sync", fail)
    with pytest.raises(OSError, match="fsync"):
        write(place(tmp_path / out, force=True), model_onnx="new")
    assert tree(tmp_path) == before


def test_earlier_output_comes_back_where_the_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place(tmp_path / "out"), model_onnx="old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        write(place(tmp_path / "out", force=True), model_onnx="new")
    assert tree(tmp_path) == {"out/model.onnx": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_companions_go_again_where_the_last_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("mine")
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if self.name == "x.onnx":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        write(place(tmp_path / "x.onnx"), x_onnx="m", x_onnx_data="d")
    assert tree(tmp_path) == {"mine": "mine"}


def test_force_replaces_a_folder_as_a_whole(tmp_path: Path) -> None:
    write(place(tmp_path / "out"), model_onnx="old", gone="g")
    write(place(tmp_path / "out", force=True), model_onnx="new")
    assert tree(tmp_path) == {"out/model.onnx": "new"}


def refusal(to: Destination, names: list[str], source: Path | None, at: Path) -> str:
    with pytest.raises(UsageError) as caught:
        to.check(names, source)
    return str(caught.value).replace(str(at), "/at")


def test_what_is_not_replaced(tmp_path: Path) -> None:
    source = tmp_path / "models/x.onnx"
    source.parent.mkdir()
    source.write_text("m")
    (tmp_path / "link").symlink_to(tmp_path / "models")
    (tmp_path / "hard.onnx").hardlink_to(source)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/me.jpg").write_text("me")
    cases = {
        "earlier output": (place(tmp_path / "photos"), []),
        "no output of ours, forced": (place(tmp_path / "photos", force=True), []),
        "a file, forced": (place(tmp_path / "photos/me.jpg", force=True), []),
        "the input": (place(source, force=True), ["x.onnx"]),
        "the input by another name": (place(tmp_path / "hard.onnx", force=True), ["hard.onnx"]),
        "the input's folder": (place(source.parent, force=True), []),
        "a link to the input's folder": (place(tmp_path / "link", force=True), []),
        "a folder above the input": (place(tmp_path, force=True), []),
        "a companion": (place(tmp_path / "y.onnx"), ["y.onnx", "x.onnx", "hard.onnx"]),
    }
    found = {name: refusal(to, names, source, tmp_path) for name, (to, names) in cases.items()}
    assert found == snapshot(
        {
            "earlier output": "/at/photos exists already; --force replaces it",
            "no output of ours, forced": "/at/photos is no output of a conversion; --force does not remove it",
            "a file, forced": "/at/photos/me.jpg is no output of a conversion; --force does not remove it",
            "the input": "/at/models/x.onnx is the input /at/models/x.onnx; choose another place with -o",
            "the input by another name": "/at/hard.onnx is the input /at/models/x.onnx; choose another place with -o",
            "the input's folder": "/at/models holds the input /at/models/x.onnx; choose another place with -o",
            "a link to the input's folder": "/at/link holds the input /at/models/x.onnx; choose another place with -o",
            "a folder above the input": "/at holds the input /at/models/x.onnx; choose another place with -o",
            "a companion": "/at/hard.onnx is the input /at/models/x.onnx; choose another place with -o",
        }
    )


def test_what_is_replaced_with_force(tmp_path: Path) -> None:
    write(place(tmp_path / "out"), model_onnx="old", **{"w2e-report_json": "{}"})
    place(tmp_path / "out", force=True).check([], tmp_path / "x.gguf")
    place(tmp_path / "out/model.onnx", force=True).check(["model.onnx"], tmp_path / "x.gguf")
