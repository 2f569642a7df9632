"""The linter and TensorRT's own parser on every row of what it accepts and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import helper

from tests.w2e_tensorrt.runtime import Parsed, library
from tests.w2e_tensorrt.samples import F32, INT8, SAMPLES, array, made
from w2e_bridge.formats.lint import Severity
from w2e_tensorrt.lint import lint
from w2e_tensorrt.lint_rules import MISSING, RULES


def found(data: bytes, folder: Path) -> list[tuple[str, Severity]]:
    path = folder / "model.onnx"
    path.write_bytes(data)
    return [(f.rule.name, f.rule.severity) for f in lint(path)]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_linter_says_what_is_wrong(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    names = {
        rule for rule, severity in found(sample.model, tmp_path) if severity is not Severity.NOTE
    }
    assert names == sample.rules


@pytest.mark.parametrize("name", SAMPLES)
def test_the_parser_agrees(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    parsed = Parsed(sample.model)
    assert parsed.ok is sample.parses, parsed.errors
    errors = [
        rule for rule, severity in found(sample.model, tmp_path) if severity is Severity.ERROR
    ]
    if not parsed.ok:
        assert errors, "passed what the parser refuses"
    assert not errors or not parsed.ok or sample.why


def test_scalar_codes_are_parsed_but_not_built(tmp_path: Path) -> None:
    constants = [array("c", 3, INT8), array("cs", 0.5, F32)]
    nodes = [
        helper.make_node("DequantizeLinear", ["c", "cs"], ["cd"], name="scalar"),
        helper.make_node("Add", ["x", "cd"], ["y"], name="sum"),
    ]
    data = made(nodes, constants, (2, 3), (2, 3))
    assert ("scalar-codes", Severity.ERROR) in found(data, tmp_path)
    parsed = Parsed(data)
    assert parsed.ok
    assert not parsed.builds()


def test_the_list_of_missing_operators_is_the_parsers_own() -> None:
    import onnx

    trt, logger = library()
    builder = trt.Builder(logger)
    parser = trt.OnnxParser(builder.create_network(0), logger)
    names = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    assert {n for n in names if not parser.supports_operator(n)} == MISSING & names


def test_rules_say_why_and_what_to_do() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.reason.endswith(".")
        assert rule.mend.endswith(".")
