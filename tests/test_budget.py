"""Files and functions stay small enough to be read at once, and fixtures to be cloned."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = [p for folder in ("w2e_bridge", "adapters") for p in (ROOT / folder).rglob("*.py")]
FILE_LINES, FUNCTION_LINES, FIXTURE_BYTES = 400, 60, 1 << 20
LARGE_FIXTURES = {"llama-Q4_0.gguf", "llama-Q4_K_M.gguf"}
"""Real models, as small as language models come. This list may only shrink."""


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_files_have_one_subject() -> None:
    assert CODE
    assert {p.name: n for p in CODE if (n := len(p.read_text().splitlines())) > FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {f"{p.name}:{n}": s for p in CODE for n, s in functions(p) if s > FUNCTION_LINES}
    assert long == {}


def test_fixtures_are_small() -> None:
    files = [p for p in (ROOT / "fixtures").rglob("*") if p.is_file()]
    large = {p.name for p in files if p.stat().st_size > FIXTURE_BYTES}
    assert large <= LARGE_FIXTURES
