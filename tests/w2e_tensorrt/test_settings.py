"""Hints become build settings, and build settings the same hints again."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from tests.w2e_tensorrt.runtime import Parsed
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.records import Hints
from w2e_tensorrt.hints import build, trtexec
from w2e_tensorrt.hints.flags import FLAGS, Flag, Form
from w2e_tensorrt.hints.specs import Shapes
from w2e_tensorrt.hints.text import Document
from w2e_tensorrt.settings import Settings, settings

PATH = Path("build.json")
WORDS = st.text("abcXYZ0189_./:*()[] -\u00e4", min_size=1, max_size=8).filter(
    lambda word: word.strip() == word and " -" not in word
)
LATER, EARLIER = ">=11", ">=10,<11"


def graph(*inputs: tuple[str, list[int | str], ir.DataType]) -> ir.Graph:
    values = [
        ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(kind))
        for name, shape, kind in inputs
    ]
    return ir.Graph(values, [], nodes=[], opset_imports={"": 19})


IMAGES = ("images", ["n", 3, "h", 8], ir.DataType.FLOAT)
IDS = ("ids", ["n", 4], ir.DataType.INT64)


def built(hints: dict[str, object], *inputs: object, version: str = LATER) -> Settings:
    model = Model(tensors={}, hints=Hints(values=hints))
    return settings(model, graph(*(inputs or (IMAGES, IDS))), {}, version)  # type: ignore[arg-type]


def profiles(made: Settings) -> list[Shapes]:
    found = made.document["profiles"]
    assert isinstance(found, list)
    return found


def values_of(flag: Flag) -> st.SearchStrategy[object]:
    words = st.sampled_from(sorted(flag.known)) if flag.known else WORDS
    forms: dict[Form, st.SearchStrategy[object]] = {
        Form.SWITCH: st.just(value=True),
        Form.NUMBER: st.integers(0, 99),
        Form.TEXT: words,
        Form.ITEMS: st.lists(words, min_size=1, max_size=3),
        Form.PAIRS: st.dictionaries(
            words, st.sampled_from(["GPU", "DLA", "1G"]), min_size=1, max_size=3
        ),
        Form.REPEATED: st.lists(WORDS, min_size=1, max_size=3),
    }
    return forms[flag.form]


SPOKEN = {flag.key: values_of(flag) for flag in FLAGS if flag.last > 11}
SPOKEN |= {
    "input_formats": st.sampled_from([["chw"], ["hwc8+chw", "chw"]]),
    "shape_profiles": st.lists(
        st.just({"images": {"min": [1, 3, 8, 8], "opt": [2, 3, 8, 8], "max": [9, 3, 9, 8]},
                 "ids": {"min": [1, 4], "opt": [2, 4], "max": [9, 4]}}),
        min_size=1, max_size=3,
    ),
}  # fmt: skip
del SPOKEN["output_formats"], SPOKEN["strongly_typed"]


@limits(deadline=None, max_examples=60)
@given(st.fixed_dictionaries({}, optional=SPOKEN))
def test_what_is_written_is_read_again(hints: dict[str, object]) -> None:
    made = built(hints)
    assert dict(made.effects) == dict.fromkeys(hints, "applied")
    document = json.loads(json.dumps(made.document))
    again = dict(build.read(Document(path=PATH, values=document)).hints)
    default = built({}).document["profiles"]
    assert again == {"shape_profiles": default, **hints}
    lines = "".join(f"{line}\n" for line in made.arguments)
    assert trtexec.read(PATH, lines).hints == {"--onnx": "model.onnx", **again}


def test_what_release_11_can_not_say() -> None:
    made = built(
        {
            "layer_precisions": {"a": "int8"}, "precisions": ["fp16"], "calibration_file": "c",
            "precision_constraints": "obey", "--useSpinWait": True, "nvinfer.gpu-id": "0",
            "quantization": {}, "strongly_typed": True,
            "tactic_sources": ["-CUDNN", "+JIT_CONVOLUTIONS"],
            "memory_pools": {"workspace": "1G", "attic": "1"},
        }
    )  # fmt: skip
    assert dict(made.effects) == {
        "layer_precisions": "unsupported", "precisions": "unsupported",
        "calibration_file": "unsupported", "precision_constraints": "unsupported",
        "--useSpinWait": "ignored", "nvinfer.gpu-id": "ignored", "quantization": "ignored",
        "strongly_typed": "applied",
        "tactic_sources": "applied", "tactic_sources[-CUDNN]": "unsupported",
        "memory_pools": "applied", "memory_pools[attic]": "unsupported",
    }  # fmt: skip
    said = [line for line in made.arguments if "Shapes" not in line]
    assert said == [
        "--onnx=model.onnx", "--tacticSources=+JIT_CONVOLUTIONS", "--memPoolSize=workspace:1G"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimization_level", "high"), ("optimization_level", True), ("refit", "yes"),
        ("sparsity", "much"), ("sparsity", "a\nb"), ("memory_pools", ["workspace"]),
        ("memory_pools", {"workspace": [1]}), ("layer_device_types", {"a,b": "GPU"}),
        ("layer_device_types", {"it's": "GPU"}), ("tactic_sources", ["-CUDNN"]),
        ("static_plugins", 3), ("static_plugins", []), ("timing_cache", ""),
        ("input_formats", ["fp16:chw"]), ("input_formats", ["chw", "chw", "chw"]),
        ("input_formats", ["round"]), ("shape_profiles", "x:1"),
        ("shape_profiles", [{"ids": {"min": [1], "opt": [1], "max": [1]}}]),
        ("shape_profiles", [{"ids": {"min": [1, 9], "opt": [1, 9], "max": [1, 9]}}]),
        ("shape_profiles", [{"ids": {"min": [5, 4], "opt": [1, 4], "max": [9, 4]}}]),
        ("shape_profiles", [{"other": {"min": [1], "opt": [1], "max": [1]}}]),
    ],
)  # fmt: skip
def test_a_hint_that_is_none_is_told(key: str, value: object) -> None:
    made = built({key: value})
    assert dict(made.effects) == {key: "unsupported"}
    assert made.document == built({}).document


def test_layouts_have_a_type_in_release_10_and_none_in_11() -> None:
    hints: dict[str, object] = {"input_formats": ["fp32:chw", "int64:chw"]}
    assert "--inputIOFormats=chw,chw" in built(hints).arguments
    old = built({"input_formats": ["chw"]}, version=EARLIER).arguments
    assert "--inputIOFormats=fp32:chw,int64:chw" in old


def test_one_layout_stands_for_all() -> None:
    assert "--inputIOFormats=chw" in built({"input_formats": ["fp32:chw"]}, IMAGES).arguments
    assert built({"input_formats": ["chw"]}).document["input_formats"] == ["chw"]


def test_a_profile_is_completed_and_its_strangers_told() -> None:
    given_profile = {
        "im*": {"min": [1, 3, 8, 8], "opt": [1, 3, 8, 8], "max": [1, 3, 8, 8]},
        "other": {"min": [1], "opt": [1], "max": [1]},
    }
    made = built({"shape_profiles": given_profile})
    (shapes,) = profiles(made)
    assert shapes["images"]["max"] == [1, 3, 8, 8]
    assert shapes["ids"] == {"min": [1, 4], "opt": [1, 4], "max": [1, 4]}  # "n" of both is one
    assert dict(made.effects) == {
        "shape_profiles": "applied",
        "shape_profiles[other]": "unsupported",
    }


def test_further_inputs_take_the_extents_of_dimensions_with_their_names() -> None:
    given_profile = {"images": {"min": [2, 3, 8, 8], "opt": [3, 3, 8, 8], "max": [5, 3, 9, 8]}}
    further = ("map", ["n", "h", "other"], ir.DataType.FLOAT)
    hints: dict[str, object] = {"shape_profiles": given_profile, "max_batch_size": 64}
    made = built(hints, IMAGES, further)
    (shapes,) = profiles(made)
    assert shapes["map"] == {"min": [2, 8, 1], "opt": [3, 8, 256], "max": [5, 9, 512]}
    assert dict(made.effects) == {"shape_profiles": "applied", "max_batch_size": "ignored"}


def test_the_largest_batch_and_shapes_of_a_server() -> None:
    hints: dict[str, object] = {"max_batch_size": 16, "input_shapes": {"*": [3, 24, 8]}}
    made = built(hints)
    (shapes,) = profiles(made)
    assert shapes["images"] == {"min": [1, 3, 24, 8], "opt": [16, 3, 24, 8], "max": [16, 3, 24, 8]}
    assert shapes["ids"]["max"] == [16, 4]
    assert dict(made.effects) == dict.fromkeys(hints, "applied")
    fixed = built(hints, ("images", [1, 3, 8, 8], ir.DataType.FLOAT))
    assert dict(fixed.effects) == dict.fromkeys(hints, "ignored")


def test_a_shape_of_a_server_that_does_not_fit_is_not_used() -> None:
    for shape in ([24, 8], [4, 24, 8], "3x24x8", [3, True, 8]):
        made = built({"input_shapes": {"images": shape}})
        assert made.document["profiles"] == built({}).document["profiles"]
        assert dict(made.effects) == {"input_shapes": "ignored"}


def test_the_parser_builds_with_the_profiles(tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    network = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["y"])], "net",
        [value("images", TensorProto.FLOAT, ["n", 3, "h", 8])],
        [value("y", TensorProto.FLOAT, ["n", 3, "h", 8])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 19)]
    onnx.save(helper.make_model(network, opset_imports=imports, ir_version=9), tmp_path / "m.onnx")
    made = built({"max_batch_size": 4, "input_shapes": {"images": [3, 16, 8]}}, IMAGES)
    parsed = Parsed(b"", tmp_path / "m.onnx")
    config = parsed.builder.create_builder_config()
    for shapes in profiles(made):
        profile = parsed.builder.create_optimization_profile()
        for name, ends in shapes.items():
            profile.set_shape(name, ends["min"], ends["opt"], ends["max"])
        assert config.add_optimization_profile(profile) == 0
    assert parsed.builder.build_serialized_network(parsed.network, config) is not None
