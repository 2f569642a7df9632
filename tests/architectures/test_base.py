"""The table of families."""

from __future__ import annotations

import subprocess
import sys

import pytest

from w2e_bridge.architectures.base import FAMILIES, family
from w2e_bridge.errors import UnsupportedError


def test_the_table_is_sorted() -> None:
    assert list(FAMILIES) == sorted(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_row_is_a_family_of_its_name(name: str) -> None:
    assert name in family(name, "f").names


def test_every_name_has_a_row() -> None:
    names = {other for name in FAMILIES for other in family(name, "f").names}
    assert names == set(FAMILIES)


def test_unknown() -> None:
    with pytest.raises(UnsupportedError) as raised:
        family("qwen4", "dir/f.gguf")
    assert str(raised.value) == (
        "dir/f.gguf: no graph is known of architecture 'qwen4'; did you mean qwen3? "
        "(known: gemma2, llama, mistral, qwen2, qwen3)"
    )
    with pytest.raises(UnsupportedError, match=r"of architecture 'bert' \(known: "):
        family("bert", "f")


def test_the_table_costs_no_import_of_graphs() -> None:
    code = (
        "import sys, w2e_bridge.passes.pipelines, w2e_bridge.architectures.base as b; "
        "b.family('llama', 'f'); "
        "assert not {'onnx', 'onnx_ir', 'onnxruntime'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
