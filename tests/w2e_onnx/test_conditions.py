"""What a report says that the equality of integers depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import w2e_bridge
from tests.w2e_tflite.maker import Op, Spec, build, const, one_op
from w2e_onnx.conditions import MEASURED
from w2e_onnx.lowering.litert.rules import rules

FIXTURE = Path(__file__).parents[2] / "fixtures" / "tflite" / "convnet_int8.tflite"
DEFAULT = (
    "LiteRT 2.3 on x86: XNNPACK's kernels for ARM round sums of weights with one scale otherwise"
)
REFERENCE = "LiteRT 2.3; its reference kernels are the same on every processor"
ANY = "any x86 processor: int8 weights are multiplied as uint8, exact without VNNI too"
VNNI = "a processor with VNNI: on others sums of two products of int8 weights saturate"


def said(path: Path, **options: str) -> list[str]:
    report = w2e_bridge.convert(path, to="onnx", options=dict(options), dry_run=True)
    return list(report.conditions)


def test_default_kernels() -> None:
    kernels = "ONNX Runtime 1.32's own kernels on its CPU provider: QLinearConv, QGemm"
    assert said(FIXTURE) == [DEFAULT, kernels, ANY]
    assert said(FIXTURE, processor="vnni") == [DEFAULT, kernels, VNNI]


def test_reference_kernels() -> None:
    assert said(FIXTURE, match="litert-reference") == [REFERENCE, ANY]


def test_nothing_is_promised_of_plain_qdq() -> None:
    assert said(FIXTURE, match="none") == []


def test_floats_depend_on_nothing(tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(one_op("ABS", [Spec("x", (2,))], [], [Spec("y", (2,))]))
    assert said(path) == []


def test_tables(tmp_path: Path) -> None:
    x, y, z = (Spec(name, (2, 3), "int8", scale=0.07, zero=3) for name in "xyz")
    path = tmp_path / "tables.tflite"
    path.write_bytes(build([Op("GELU", [x], [y]), Op("EXP", [y], [z])]))
    library = (
        "LiteRT with the C library glibc 2.27 to 2.40, whose functions fill the tables of GELU, EXP"
    )
    assert said(path) == [DEFAULT, library]


def test_what_is_computed_in_floats(tmp_path: Path) -> None:
    x = Spec("x", (2, 3), "int8", scale=0.07, zero=3)
    y = Spec("y", (2, 3), "int8", scale=0.09, zero=1)
    table = const("p", np.ones((2, 3), np.int8), "int8", scale=[0.5, 0.7], zero=[0, 0], axis=0)
    path = tmp_path / "floats.tflite"
    path.write_bytes(one_op("MUL", [x, table], [], [y]))
    (reason,) = said(path)[1:]
    assert reason.startswith("within a step of the codes only: MUL (")
    assert reason.endswith(") is computed in float32")


@pytest.mark.parametrize("kind", ["tanh", "elu", "gelu", "exp", "log"])
def test_kinds_with_tables_have_rules(kind: str) -> None:
    assert kind in rules()


def test_operators_relied_on_are_those_of_the_rules() -> None:
    folder = Path(__file__).parents[2] / "adapters" / "w2e_onnx" / "lowering" / "litert"
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    assert all(f'"{kind}"' in text for kind in MEASURED)
