"""JSON on every path, one line for every failure, and nothing hostile on the terminal."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import Done, Run
from tests.formats.toymaker import toy
from w2e_bridge import api
from w2e_bridge.cli import render
from w2e_bridge.cli.app import VERBS
from w2e_bridge.cli.failures import KINDS, one_line
from w2e_bridge.errors import BridgeError


def parsed(done: Done) -> dict[str, object]:
    """The JSON of a command: one document, whose numbers are numbers of JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    document = json.loads(done.stdout, parse_constant=refuse)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(
    ("line", "code", "kind"),
    [
        ("formats --json", 0, None),
        ("formats --matrix --json", 0, None),
        ("inspect bear.toy --json", 0, None),
        ("inspect bear.toy --json --tensors -v", 0, None),
        ("inspect missing --json", 2, "format"),
        ("inspect --json", 2, "usage"),
        ("compare bear.toy bear.toy --json", 0, None),
        ("compare bear.toy other.toy --json", 1, None),
        ("compare bear.toy missing --json", 2, "format"),
        ("convert bear.toy --to toy --json", 0, None),
        ("convert bear.toy --to toy --json -q", 0, None),
        ("convert bear.toy --to toy --json --dry-run", 0, None),
        ("convert bear.toy --to toy --profile bare --json", 1, "loss"),
        ("convert bear.toy --to toy --profile bare --dry-run --json", 1, None),
        ("convert bear.toy --to toi --json", 2, "usage"),
        ("convert bear.toy --to toy --jsn --json", 2, "usage"),
        ("convert bear.toy --to toy -o /proc/x --json", 2, "output"),
        ("convert odd.toy --to toy --json", 2, "internal"),
        ("convrt --json", 2, "usage"),
    ],
)
def test_json_on_every_path(w2e: Run, line: str, code: int, kind: str | None) -> None:
    toy(Path("other.toy"), seed=1)
    Path("odd.toy").write_bytes(b"TOY1\2\0\0\0{}")
    done = w2e(*line.split())
    document = parsed(done)
    error = document.get("error")
    assert done.code == code
    assert (error["kind"] if isinstance(error, dict) else None) == kind
    assert len(done.stderr.splitlines()) == (code != 0 and "compare bear.toy other" not in line)


def test_numbers_that_are_not_finite_are_words(w2e: Run) -> None:
    path = toy(Path("odd.toy"))
    data = path.read_bytes()
    path.write_bytes(data[:-4] + np.float32(np.inf).tobytes())
    pairs = parsed(w2e("compare", "bear.toy", "odd.toy", "--json"))["pairs"]
    assert isinstance(pairs, list)
    assert (pairs[0]["snr_db"], pairs[1]["max_abs"]) == ("inf", "inf")
    pairs = parsed(w2e("compare", "odd.toy", "bear.toy", "--json"))["pairs"]
    assert isinstance(pairs, list)
    assert (pairs[1]["snr_db"], pairs[1]["rms"]) == ("nan", "inf")


def test_quiet_prints_nothing_but_errors(w2e: Run) -> None:
    for line in (
        "formats",
        "inspect bear.toy",
        "compare bear.toy bear.toy",
        "convert bear.toy --to toy",
    ):
        assert w2e(*line.split(), "--quiet") == Done(0, "", "")
    done = w2e("inspect", "missing", "--quiet")
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)


def test_verbose_names_every_tensor_and_shows_a_traceback(w2e: Run) -> None:
    assert "w: Q8 → q8" in w2e("convert", "bear.toy", "--to", "toy", "-v").stdout
    Path("odd.toy").write_bytes(b"TOY1\2\0\0\0{}")
    done = w2e("inspect", "odd.toy", "-v")
    assert "KeyError" in done.stderr
    assert done.stderr.startswith("Traceback")
    assert "Traceback" not in w2e("inspect", "odd.toy").stderr


def test_names_of_a_hostile_file_do_not_reach_the_terminal(w2e: Run) -> None:
    name = "a\x1b[2Jb\nc\u202ed\x85e"
    toy(
        Path("bear.toy"),
        tensors=[[name, "f32", [4]], ["big", "f32", [2**40]]],
        metadata={name: name},
    )
    done = w2e("inspect", "bear.toy")
    assert done.code == 2
    toy(Path("bear.toy"), tensors=[[name, "f32", [4]]], metadata={name: name})
    for verb in ("inspect", "compare"):
        text = w2e(verb, *["bear.toy"] * (2 if verb == "compare" else 1), "-v").stdout
        assert text.replace("\n", "").isprintable()
        assert "a\\x1b[2Jb c\\u202ed e" in text
    assert parsed(w2e("inspect", "bear.toy", "--json"))["metadata"] == {name: name}


def test_a_line_is_one_line() -> None:
    assert one_line("a\nb\x1b[0m \u2028c\x85d\udc80") == "a b\\x1b[0m c d\\udc80"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "bear.toy: not enough memory"),
        (RecursionError("deep"), "bear.toy: internal error RecursionError: deep"),
        (BridgeError("odd operator"), "bear.toy: odd operator"),
    ],
)
def test_whatever_happens_names_the_file(
    w2e: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, text: str
) -> None:
    def fail(path: str) -> None:
        warnings.warn("noise", stacklevel=1)
        raise error

    monkeypatch.setattr(api, "inspect", fail)
    done = w2e("inspect", "bear.toy")
    assert done.code == 2
    assert done.stderr.startswith(f"w2e-bridge: {text}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", VERBS)
def test_help_begins_with_what_it_does_and_examples(w2e: Run, verb: str) -> None:
    done = w2e(verb, "--help")
    assert (done.code, done.stderr) == (0, "")
    assert (
        done.stdout.index("Examples:") < done.stdout.index("Usage:") < done.stdout.index("Options:")
    )
    assert f"w2e-bridge {verb}" in done.stdout


def test_help_shows_the_options_of_the_formats(w2e: Run) -> None:
    convert, inspect = w2e("convert", "--help").stdout, w2e("inspect", "--help").stdout
    assert "--color red|green  toy: Colour of the toy. (default: red)" in convert
    assert "--lenient" in convert
    assert "--lenient" in inspect
    assert "--color" not in inspect


def test_every_error_has_a_word() -> None:
    assert set(BridgeError.__subclasses__()) == set(KINDS)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (200 * 2**20, "200 MiB"),
        (3 * 2**40, "3.0 TiB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert render.size(number) == text


def test_counts_and_lists() -> None:
    assert [render.count(n) for n in (12, 1500, 7_240_000_000)] == ["12", "1.5 K", "7.24 B"]
    assert render.listed("t", ["a", "b", "c"], 2) == ["t", "  a", "  b", "  … and 1 more"]
    assert render.listed("t", [], 2) == []
    assert render.short("abcdef", 4) == "abc…"
