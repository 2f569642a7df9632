"""Conversions from end to end, on the toy format: whole or not at all, the same bytes always."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inline_snapshot import snapshot

import w2e_bridge
from tests.formats.toymaker import toy, toy_format
from w2e_bridge import api
from w2e_bridge.errors import (
    BridgeError,
    DefectError,
    LossError,
    OutputError,
    UnsupportedError,
    UsageError,
)
from w2e_bridge.fidelity.report import to_json
from w2e_bridge.formats.output import Output
from w2e_bridge.formats.registry import named
from w2e_bridge.loss import Grade

__all__ = ["toy_format"]
pytestmark = pytest.mark.usefixtures("toy_format")


@pytest.fixture
def bear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy in the working directory."""
    monkeypatch.chdir(tmp_path)
    return toy(Path("bear.toy"))


def names(folder: Path) -> list[str]:
    """Everything below a folder, hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_open(bear: Path) -> None:
    model = w2e_bridge.open(bear)
    assert list(model.tensors) == ["w", "norm"]
    assert model.tensors["w"].dequantize().shape == (6, 8)


def test_convert_keeps_codes_and_says_so(bear: Path) -> None:
    before = bear.read_bytes()
    seen: list[tuple[int, int]] = []
    report = w2e_bridge.convert(bear, to="toy", progress=lambda a, b: seen.append((a, b)))
    assert bear.read_bytes() == before
    assert names(Path("bear-toy")) == ["label.txt", "model.toy", "w2e-report.json"]
    assert report.grade is Grade.EXACT
    assert [file.name for file in report.files] == ["model.toy", "label.txt", "w2e-report.json"]
    assert all((Path(report.out) / f.name).stat().st_size == f.nbytes for f in report.files)
    written = json.loads(Path("bear-toy/w2e-report.json").read_text())
    assert written == json.loads(to_json(report.document()))
    assert [row["name"] for row in written["tensors"]] == ["w", "norm"]
    assert seen[-1][0] == seen[-1][1] > 0
    found = w2e_bridge.compare(bear, "bear-toy/model.toy")
    assert found.same
    assert found.same_encodings


def test_the_same_input_gives_the_same_bytes_wherever_it_is(bear: Path, tmp_path: Path) -> None:
    api.convert(bear, to="toy", out="one")
    api.convert(tmp_path / "bear.toy", to="toy", out=tmp_path / "deep/two")
    for name in names(Path("one")):
        assert Path("one", name).read_bytes() == Path("deep/two", name).read_bytes()


def test_a_file_has_its_companions_beside_it(bear: Path) -> None:
    api.convert(bear, to="toy", out="copy/teddy.toy")
    assert names(Path("copy")) == ["label.txt", "teddy.toy", "teddy.w2e-report.json"]
    assert api.compare(bear, "copy/teddy.toy").same


def test_the_output_of_a_conversion_converts_again_to_the_same_bytes(bear: Path) -> None:
    api.convert(bear, to="toy", out="one")
    api.convert("one/model.toy", to="toy", out="two")
    assert Path("one/model.toy").read_bytes() == Path("two/model.toy").read_bytes()


def test_more_loss_than_accepted_writes_nothing(bear: Path, tmp_path: Path) -> None:
    with pytest.raises(LossError) as caught:
        api.convert(bear, to="toy", profile="bare")
    assert str(caught.value) == snapshot(
        "bear.toy: 1 of 2 tensors would be worse than --fidelity exact: w (float: stored as float32: no form for quantized weights in this place); --allow-float would let them through"
    )
    assert names(tmp_path) == ["bear.toy"]
    report = api.convert(bear, to="toy", profile="bare", allow_float=True)
    assert report.grade is Grade.FLOAT
    assert api.compare(bear, "bear-toy/model.toy").same


def test_a_dry_run_plans_and_writes_nothing(bear: Path, tmp_path: Path) -> None:
    report = api.convert(bear, to="toy", profile="bare", dry_run=True)
    assert names(tmp_path) == ["bear.toy"]
    assert "--allow-float would let them through" in report.refusal
    assert [(t.encoding, t.before, t.after) for t in report.totals] == [
        ("f32", 72, 192),
        ("f32", 32, 32),
    ]
    written = api.convert(bear, to="toy", profile="bare", allow_float=True)
    assert report.files[0] == written.files[0]
    assert report.document() == written.document()


def test_existing_output_is_kept_without_force(bear: Path, tmp_path: Path) -> None:
    api.convert(bear, to="toy")
    before = Path("bear-toy/model.toy").read_bytes()
    toy(tmp_path / "bear.toy", seed=1)
    with pytest.raises(UsageError, match="bear-toy exists already; --force replaces it"):
        api.convert(bear, to="toy")
    assert Path("bear-toy/model.toy").read_bytes() == before
    api.convert(bear, to="toy", force=True)
    assert Path("bear-toy/model.toy").read_bytes() != before
    assert names(tmp_path) == [
        "bear-toy",
        *(f"bear-toy/{n}" for n in names(Path("bear-toy"))),
        "bear.toy",
    ]


def test_a_companion_of_somebody_else_is_kept(bear: Path) -> None:
    Path("label.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"label\.txt exists already"):
        api.convert(bear, to="toy", out="x.toy")
    assert Path("label.txt").read_text() == "mine"
    assert not Path("x.toy").exists()


def test_options_reach_their_side(bear: Path) -> None:
    report = api.convert(bear, to="toy", options={"color": "green", "loud": True, "lenient": True})
    assert Path("bear-toy/label.txt").read_text() == "green\n"
    assert [row.name for row in report.ignored] == ["squeak"]


def test_what_the_reader_left_behind_is_in_the_report(bear: Path) -> None:
    toy(bear, extra=["squeaker"])
    assert ("squeaker", "toys have no use for it") in [
        (row.name, row.reason) for row in api.convert(bear, to="toy").ignored
    ]


Lower = Callable[..., Output]


def patched_lower(monkeypatch: pytest.MonkeyPatch, change: Callable[[Output], Output]) -> None:
    """Let the toy's writer plan something else."""
    import w2e_toy.codec  # type: ignore[import-not-found]

    lower = w2e_toy.codec.lower
    monkeypatch.setattr(w2e_toy.codec, "lower", lambda *given: change(lower(*given)))


def with_produce(output: Output, wrap: Callable[..., Any]) -> Output:
    (file,) = output.files
    jobs = tuple(replace(job, produce=wrap(job.produce)) for job in file.jobs)
    return replace(output, files=(replace(file, jobs=jobs),))


def test_a_writer_that_is_wrong_is_found_out(
    bear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(produce: Any) -> Any:
        def spoilt(start: int, stop: int) -> Iterator[tuple[int, np.ndarray[Any, Any]]]:
            for offset, data in produce(start, stop):
                yield offset, data ^ np.uint8(1)

        return spoilt

    patched_lower(monkeypatch, lambda output: with_produce(output, wrong))
    with pytest.raises(DefectError) as caught:
        api.convert(bear, to="toy")
    assert str(caught.value).startswith("internal defect, please report: 'w' (Q8 to q8")
    assert names(tmp_path) == ["bear.toy"]
    api.convert(bear, to="toy", audit="none")


def test_output_that_can_not_be_read_back_is_a_defect(
    bear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(output: Output) -> Output:
        (file,) = output.files
        return replace(output, files=(replace(file, head=((0, b"TOY1\xff\xff\xff"),)),))

    patched_lower(monkeypatch, cut)
    with pytest.raises(DefectError, match=r"can't be read back: model\.toy @0x8"):
        api.convert(bear, to="toy")
    assert names(tmp_path) == ["bear.toy"]


@pytest.mark.parametrize("stop", [ValueError, MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("out", [None, "a/b", "a/x.toy"])
def test_nothing_is_left_after_a_crash_in_the_middle(
    bear: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException],
    out: str | None,
) -> None:  # fmt: skip
    def crash(produce: Any) -> Any:
        def run(start: int, stop_row: int) -> Iterator[Any]:
            yield from produce(start, stop_row)
            raise stop

        return run

    patched_lower(monkeypatch, lambda output: with_produce(output, crash))
    with pytest.raises(stop):
        api.convert(bear, to="toy", out=out)
    assert names(tmp_path) == ["bear.toy"]


def test_a_full_disk_leaves_nothing(bear: Path, tmp_path: Path) -> None:
    toy(bear, rows=100, columns=1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(OutputError, match=r"model\.toy can't be written: File too large"):
            api.convert(bear, to="toy")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(tmp_path) == ["bear.toy"]


def test_a_place_that_can_not_be_written(bear: Path) -> None:
    with pytest.raises(OutputError, match="/proc/x can't be written"):
        api.convert(bear, to="toy", out="/proc/x")


def test_what_holds_no_network_does_not_become_one(
    bear: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy(bear, kind="vocabulary")
    api.convert(bear, to="toy")
    import w2e_toy.codec

    (box, *_) = w2e_toy.codec.profiles().values()
    monkeypatch.setattr(w2e_toy.codec, "profiles", lambda: {"box": replace(box, needs_graph=True)})
    with pytest.raises(UnsupportedError, match=r"bear\.toy: this is of kind 'vocabulary'"):
        api.convert(bear, to="toy", out="x")


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"to": "tay"}, "no format 'tay'; did you mean 'toy'"),
        ({"fidelity": "exat"}, "did you mean 'exact'"),
        ({"fidelity": "float"}, "one of exact, rounding, requantized"),
        ({"audit": "all"}, "--audit is one of sample, full, none"),
        ({"profile": "bax"}, "--profile of toy is one of box, bare, not 'bax'; did you mean 'box'"),
        ({"options": {"size": 1}}, "no option '--size'"),
    ],
)
def test_usage(bear: Path, tmp_path: Path, wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        api.convert(bear, **{"to": "toy", **wishes})
    assert names(tmp_path) == ["bear.toy"]


def test_a_format_without_writer_or_reader(bear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf, mute = replace(named("toy"), lift=None), replace(named("toy"), lower=None)
    monkeypatch.setattr(api, "named", lambda name: mute)
    with pytest.raises(UsageError, match=r"Toy \(tests\) can be read, not written"):
        api.convert(bear, to="toy")
    monkeypatch.setattr(api, "named", lambda name: deaf)
    assert api.convert(bear, to="toy").audit == "none"
    monkeypatch.setattr(api, "sniff", lambda path: deaf)
    with pytest.raises(UsageError, match="can be written, not read"):
        api.open(bear)


def test_every_prefix_of_a_file_is_refused_or_read(bear: Path) -> None:
    data = bear.read_bytes()
    for length in range(0, len(data), 7):
        bear.write_bytes(data[:length])
        with pytest.raises(BridgeError):
            api.convert(bear, to="toy")
