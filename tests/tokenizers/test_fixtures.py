from __future__ import annotations

import hashlib
import tomllib

import pytest

from tests.tokenizers.cases import FOLDER

CASE = tomllib.loads((FOLDER / "case.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASE["sha256"])
def test_a_fixture_is_the_one_that_was_checked(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == CASE["sha256"][name]


def test_every_fixture_is_listed() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(CASE["sha256"])
