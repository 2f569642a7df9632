"""Versions of operators: the table says known things, and LiteRT has what is written."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tests.w2e_tflite.maker import Op, Spec, build
from w2e_bridge.kernels.operation import Attribute
from w2e_tflite.quant import type_number
from w2e_tflite.record import Record, make
from w2e_tflite.schema import enums, options_of, tables
from w2e_tflite.versions import CONDITIONS, RULES, WIDE, Written, version_of

ROWS = [row.split(" ", 1) for row in (RULES + WIDE).replace("\n  ", " ").splitlines() if row]


def tensor(dtype: str, shape: tuple[int, ...] = (1, 2, 2, 3), scales: int = 0) -> Record:
    number = type_number(dtype)
    assert number is not None
    values = {"shape": np.asarray(shape, np.int32), "type": number}
    if scales:
        scale = np.full(scales, 0.5, np.float32)
        values["quantization"] = make("QuantizationParameters", {"scale": scale})
    return make("Tensor", values)


def version(kind: str, *inputs: Record | None, **attributes: Attribute) -> int:
    made = next(record for record in inputs if record is not None)
    return version_of(Written(kind=kind, attributes=attributes, inputs=inputs, outputs=[made]))


@pytest.mark.parametrize(("kind", "rules"), ROWS, ids=[kind for kind, _ in ROWS])
def test_rows_speak_of_what_there_is(kind: str, rules: str) -> None:
    assert kind.upper() in enums()["BuiltinOperator"].numbers
    options = options_of(kind.upper())
    fields = tables()[options].by_name if options else {}
    for rule in rules.split(" | "):
        number, *conditions = rule.split()
        assert 0 < int(number) < 20
        for condition in conditions:
            place, colon, types = condition.partition(":")
            if colon:
                assert place == "o" or place.isdigit()
                assert all(type_number(name) is not None for name in types.split(","))
            else:
                name = condition.partition("=")[0]
                assert condition in CONDITIONS or name == "inputs" or name in fields


I8, W8, W8C = tensor("int8", scales=1), tensor("int8", scales=1), tensor("int8", scales=3)
F, I16 = tensor("float32"), tensor("int16", scales=1)
CASES = [
    ("conv_2d", (I8, W8C, None), {}, 3),
    ("conv_2d", (F, W8C, None), {}, 5),
    ("conv_2d", (F, W8, None), {}, 2),
    ("conv_2d", (F, F, None), {}, 1),
    ("conv_2d", (I8, tensor("int8", (4, 1, 1, 1), 1)), {}, 6),
    ("conv_2d", (I16, W8C), {"quantized_bias_type": "INT32"}, 8),
    ("depthwise_conv_2d", (F, F), {"dilation_w_factor": 2}, 2),
    ("fully_connected", (I8, W8C, F), {}, 4),
    ("fully_connected", (I8, W8C, F), {"keep_num_dims": True}, 5),
    ("fully_connected", (I8, W8C), {}, 6),
    ("fully_connected", (F, W8, F), {"asymmetric_quantize_inputs": True}, 9),
    ("fully_connected", (F, tensor("int2"), F), {}, 14),
    ("add", (I16, I16), {}, 3),
    ("add", (tensor("int16"), tensor("int16")), {}, 5),
    ("mul", (I8, I8), {}, 2),
    ("mul", (tensor("float32", scales=1), F), {}, 1),
    ("broadcast_to", (F, F), {}, 2),
    ("strided_slice", (F,), {"new_axis_mask": 1}, 4),
    ("transpose", (tensor("float32", (1,) * 5),), {}, 4),
    ("dequantize", (W8C,), {}, 5),
    ("lstm", (F, F, F), {"kernel_type": "BASIC"}, 2),
    ("abs", (F,), {}, 1),
    ("tile", (I8, tensor("int32")), {}, 2),
    ("depth_to_space", (I8,), {}, 1),
    ("custom:Other", (F,), {}, 1),
]


@pytest.mark.parametrize(("kind", "inputs", "attributes", "expected"), CASES)
def test_versions(
    kind: str,
    inputs: tuple[Record | None, ...],
    attributes: dict[str, Attribute],
    expected: int,
) -> None:
    assert version(kind, *inputs, **attributes) == expected


def test_sparse_products_have_their_own_version() -> None:
    sparse = make("Tensor", {**W8C.values, "sparsity": make("SparsityParameters", {})})
    assert version("fully_connected", F, sparse, F) == 8
    assert version("fully_connected", F, W8C, F) == 12


@pytest.mark.parametrize(("kind", "rules"), ROWS, ids=[kind for kind, _ in ROWS])
def test_no_version_is_beyond_the_reference_resolvers(kind: str, rules: str) -> None:
    latest = max(int(r.split()[0]) for r in rules.split(" | ") if not r.endswith(" offset"))
    data, beyond = (
        build([Op(kind.upper(), [Spec("x", (2,))], [Spec("y", (2,))], version=number)])
        for number in (latest, 40)
    )
    Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    with pytest.raises(ValueError, match="Didn't find op"):
        Interpreter(model_content=beyond, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
