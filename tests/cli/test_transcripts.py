"""The documents in this folder are run: what they show is what happens.

A block of `console` holds commands after `$ `, each followed by its standard output, its standard
error (`2> `) and its exit code (`=> `) where that is not 0. All blocks of a document share a
folder. Set W2E_UPDATE to write what happens into the documents; then read the difference.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.runner import Done, Run

FOLDER = Path(__file__).parent
BLOCK = re.compile(r"(?<=^```console\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[str]:
    for line in block.splitlines():
        if line.startswith("$ "):
            yield line[2:]


def execute(command: str, w2e: Run, at: Path) -> str:
    words = shlex.split(command)
    if words[0] == "w2e-bridge":
        done = w2e(*words[1:])
    else:
        process = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, check=False
        )
        done = Done(process.returncode, process.stdout, process.stderr)
    lines = [
        *done.stdout.splitlines(),
        *(f"2> {line}" for line in done.stderr.splitlines()),
        *([f"=> {done.code}"] if done.code else []),
    ]
    text = "".join(f"{line}\n" for line in (f"$ {command}", *lines))
    text = re.sub(r"in \d+\.\d s", "in 0.0 s", text)
    return text.replace(str(at), "/at")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_transcript(path: Path, w2e: Run, tmp_path: Path) -> None:
    document = path.read_text()

    def replay(block: re.Match[str]) -> str:
        return "".join(execute(command, w2e, tmp_path) for command in commands(block.group()))

    happened = BLOCK.sub(replay, document)
    if os.environ.get("W2E_UPDATE"):
        path.write_text(happened)
    assert happened == document
