"""What only a process of its own shows: start-up, signals, pipes, terminals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.formats.toymaker import install, toy

RUN = "import sys; from w2e_bridge.cli.main import main; sys.exit(main())"
HEAVY = ("numpy", "onnx", "onnx_ir", "rich", "ml_dtypes", "msgspec")
SLOW = """
import sys, time
from w2e_bridge.stream import pipeline
run = pipeline._Task.run
def slow(task):
    run(task)
    sys.stderr.write("writing\\n")
    time.sleep(0.4)
pipeline._Task.run = slow
"""


def imported(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a command line loads."""
    code = f"{code}\nprint('MODULES', *sys.modules, file=sys.stderr)"
    code = code.replace("sys.exit(main())", "main()")
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stderr.partition("MODULES ")[2].split()}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["convrt"], []])
def test_start_up_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(RUN, *arguments).isdisjoint(HEAVY)


def test_help_of_a_verb_loads_no_reader() -> None:
    found = imported(RUN, "inspect", "--help")
    assert found.isdisjoint(("onnx", "onnx_ir", "rich", "onnxruntime", "tokenizers"))


def test_the_package_itself_is_light() -> None:
    assert imported("import sys, w2e_bridge").isdisjoint(HEAVY)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return install(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("out", ["a/b", "a/x.toy"])
def test_an_interrupt_leaves_nothing(
    site: Path, tmp_path: Path, number: signal.Signals, out: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    toy(work / "bear.toy", rows=8, columns=1 << 20)
    command = [
        sys.executable,
        "-c",
        SLOW + RUN,
        "convert",
        "bear.toy",
        "--to",
        "toy",
        "-o",
        out,
        "--json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    with subprocess.Popen(
        command,
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "writing\n"
        assert list(work.rglob("*.tmp"))
        process.send_signal(number)
        process.send_signal(number)  # an impatient user does not cut the clean-up short
        assert set(process.stderr.read().splitlines()) <= {"writing", "w2e-bridge: interrupted"}
        document = json.loads(process.stdout.read())
    assert process.returncode == 130
    assert document["error"]["kind"] == "interrupted"
    assert [path.name for path in work.iterdir()] == ["bear.toy"]


def test_a_reader_that_leaves_is_no_error(site: Path, tmp_path: Path) -> None:
    toy(tmp_path / "bear.toy", metadata={f"k{i}": i for i in range(100_000)})
    command = (
        f'{sys.executable} -c "{RUN}" inspect bear.toy -v | head -n 1; exit ${{PIPESTATUS[0]}}'
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)


def on_terminal(site: Path, folder: Path, **extra: str) -> str:
    """What a conversion prints to a terminal, standard error included."""
    leader, follower = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "convert", "bear.toy", "--to", "toy", "--force"],
        cwd=folder, stdout=follower, stderr=follower,
        env={**environment, "PYTHONPATH": str(site), "TERM": "xterm", **extra},
    )  # fmt: skip
    os.close(follower)
    text = b""
    with contextlib.suppress(OSError):  # Linux says EIO where the last writer is gone
        while data := os.read(leader, 1 << 16):
            text += data
    os.close(leader)
    assert process.wait() == 0
    return text.decode()


def test_colours_and_progress_are_for_terminals_that_want_them(site: Path, tmp_path: Path) -> None:
    toy(tmp_path / "bear.toy")
    text = on_terminal(site, tmp_path)
    assert "\x1b[32mexact\x1b[0m" in text
    assert "━" in text
    assert "\x1b[32mexact\x1b[0m" not in on_terminal(site, tmp_path, NO_COLOR="1")
    assert "\x1b" not in on_terminal(site, tmp_path, TERM="dumb")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("w2e-bridge con", "plain,convert"),
        ("w2e-bridge convert x --to ", "plain,toy"),
        ("w2e-bridge convert x --color gr", "plain,green"),
    ],
)
def test_completion(site: Path, words: str, expected: str) -> None:
    environment = {
        **os.environ, "PYTHONPATH": str(site), "_W2E_BRIDGE_COMPLETE": "bash_complete",
        "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=False
    )
    assert expected in done.stdout.splitlines()
    assert done.stderr == ""
