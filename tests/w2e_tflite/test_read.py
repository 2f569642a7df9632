"""Files to the canonical model: names, shapes, quantization, signatures, what can't be carried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as generated
from flatbuffers import flexbuffers

from tests.w2e_tflite.maker import Graph, Op, Signature, Spec, build, build_graphs, const, one_op
from tests.w2e_tflite.through import lifted, same_in_litert, written
from w2e_bridge.errors import FormatError, UnsupportedError
from w2e_bridge.ir.activation import ActivationMode, Granularity
from w2e_bridge.ir.model import Model


def changed(data: bytes, change: Any) -> bytes:
    """A file after an edit of its objects."""
    model = generated.ModelT.InitFromPackedBuf(data, 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def graph_of(model: Model) -> ir.Graph:
    assert model.graph is not None
    return model.graph.graph


def ends(model: Model) -> tuple[list[str | None], list[str | None]]:
    graph = graph_of(model)
    return [v.name for v in graph.inputs], [v.name for v in graph.outputs]


def addition(**y: Any) -> bytes:
    x = Spec("x", (1, 4), "int8", 0.5, -3)
    c = const("c", [[1, 2, 3, 4]], "int8", scale=0.25)
    return one_op("ADD", [x], [c], [Spec("y", (1, 4), "int8", 1.0, 2, **y)])


def test_quantized_values_are_floats_with_a_property(tmp_path: Path) -> None:
    model = lifted(addition(), tmp_path)
    assert ends(model) == (["x"], ["y"])
    (x,) = graph_of(model).inputs
    assert (x.dtype, list(x.shape or [])) == (ir.DataType.FLOAT, [1, 4])
    quantized = model.activations["x"]
    assert (str(quantized.codes), quantized.mode) == ("int8", ActivationMode.STATIC)
    assert quantized.granularity is Granularity.TENSOR
    assert quantized.scale is not None
    assert quantized.scale.shape == ()
    assert quantized.scale.dtype == np.float32
    assert quantized.scale == np.float32(0.5)
    assert quantized.zero_point is not None
    assert quantized.zero_point.dtype == np.int8
    assert int(quantized.zero_point) == -3
    assert set(model.activations) == {"x", "y"}
    assert model.numerics == "litert"
    assert model.origin is not None
    assert model.origin.format == "tflite"


def test_a_zero_point_of_zero_is_none(tmp_path: Path) -> None:
    data = one_op("RELU", [Spec("x", (2,), "int8", 0.5)], [], [Spec("y", (2,), "int8", 0.5)])
    assert lifted(data, tmp_path).activations["x"].zero_point is None


def test_integers_without_scale_are_plain(tmp_path: Path) -> None:
    data = one_op("CAST", [Spec("x", (2,), "int32")], [], [Spec("y", (2,), "int64")])
    model = lifted(data, tmp_path)
    assert graph_of(model).inputs[0].dtype == ir.DataType.INT32
    assert model.activations == {}


def test_a_scale_that_nothing_divides_by(tmp_path: Path) -> None:
    data = one_op("RELU", [Spec("x", (2,), "int8", 0.0)], [], [Spec("y", (2,), "int8", 0.5)])
    model = lifted(data, tmp_path)
    assert graph_of(model).inputs[0].dtype == ir.DataType.INT8
    assert [r.name for r in model.remarks] == ["x"]


def test_free_dimensions(tmp_path: Path) -> None:
    x = Spec("x", (1, 4), signature=(-1, 4))
    model = lifted(one_op("RELU", [x], [], [Spec("y", (1, 4), signature=(-1, 4))]), tmp_path)
    shape = graph_of(model).inputs[0].shape
    assert shape is not None
    assert not isinstance(shape[0], int)
    assert shape[1] == 4


def test_names_that_repeat_or_are_missing(tmp_path: Path) -> None:
    x, a, b, y = (Spec(name, (2,)) for name in ("x", "same", "same", ""))
    ops = [Op("ABS", [x], [a]), Op("NEG", [a], [b]), Op("EXP", [b], [y])]
    model = lifted(build(ops), tmp_path)
    graph = graph_of(model)
    made = [v for node in graph for v in node.outputs]
    names = [v.name for v in made]
    assert len(set(names)) == len(names)
    assert {"same", "same#1"} <= set(names)
    kept = {v.name: v.metadata_props["source_name"] for v in made if v.metadata_props}
    assert kept == {"same#1": "same", "tensor_3": ""}


def test_floats_that_a_hybrid_kernel_rounds(tmp_path: Path) -> None:
    w = const("w", np.ones((3, 4)), "int8", scale=[0.1, 0.2, 0.3])
    x, y = Spec("x", (1, 4)), Spec("y", (1, 3))
    for asymmetric in (False, True):
        options = {"asymmetric_quantize_inputs": asymmetric}
        model = lifted(one_op("FULLY_CONNECTED", [x], [w, None], [y], options), tmp_path)
        (name,) = model.activations
        quantized = model.activations[name]
        assert quantized.mode is ActivationMode.DYNAMIC
        assert quantized.granularity is Granularity.TOKEN
        assert quantized.narrow_range is not asymmetric
        identity = graph_of(model).inputs[0].consumers()[0]
        assert (identity.op_type, identity.outputs[0].name) == ("Identity", name)


def test_the_same_weights_through_a_dequantize_are_not_rounded_for(tmp_path: Path) -> None:
    w = const("w", np.ones((3, 4)), "int8", scale=[0.1, 0.2, 0.3])
    x, held, y = Spec("x", (1, 4)), Spec("held", (3, 4)), Spec("y", (1, 3))
    ops = [Op("DEQUANTIZE", [w], [held]), Op("FULLY_CONNECTED", [x, held, None], [y])]
    model = lifted(build(ops), tmp_path)
    assert model.activations == {}
    assert model.tensors["w"].encoding.quantized
    assert "DequantizeLinear" not in [node.op_type for node in graph_of(model)]


def test_half_precision_is_stored_not_computed(tmp_path: Path) -> None:
    w = const("w", np.ones((3, 4), np.float16))
    x, held, y = Spec("x", (1, 4)), Spec("held", (3, 4)), Spec("y", (1, 3))
    ops = [Op("DEQUANTIZE", [w], [held]), Op("FULLY_CONNECTED", [x, held, None], [y])]
    tensor = lifted(build(ops), tmp_path).tensors["w"]
    assert (tensor.dtype, str(tensor.encoding)) == ("float32", "float16")


def test_an_output_that_is_an_input_or_there_twice(tmp_path: Path) -> None:
    x, y = Spec("x", (2,), "int8", 0.5, 1), Spec("y", (2,), "int8", 0.5, 1)
    model = lifted(build([Op("RELU", [x], [y])], outputs=[x, y, y]), tmp_path)
    inputs, outputs = ends(model)
    assert inputs == ["x"]
    assert len({*inputs, *outputs}) == 4
    assert outputs[1] == "y"
    assert all(name in model.activations for name in outputs if name is not None)


def two_graphs() -> bytes:
    x, y = Spec("x", (2,)), Spec("y", (2,))
    u, v = Spec("u", (3,)), Spec("v", (3,))
    graphs = [Graph([Op("ABS", [x], [y])], [y]), Graph([Op("NEG", [u], [v])], [v], name="other")]
    signatures = [
        Signature("first", {"in": x}, {"out": y}),
        Signature("second", {"left": u}, {"right": v}, graph=1),
    ]
    return build_graphs(graphs, signatures=signatures)


def test_a_signature_of_its_own_graph_is_a_component(tmp_path: Path) -> None:
    model = lifted(two_graphs(), tmp_path)
    assert ends(model) == (["x"], ["y"])
    assert list(model.components) == ["second"]
    assert ends(model.components["second"]) == (["u"], ["v"])
    assert model.metadata["tflite.signatures"] == (
        '[{"key":"first","inputs":{"in":"x"},"outputs":{"out":"y"}}]'
    )
    assert "right" in str(model.components["second"].metadata["tflite.signatures"])
    assert model.remarks == ()


def test_a_graph_that_nothing_calls_is_told(tmp_path: Path) -> None:
    def drop(model: Any) -> None:
        model.signatureDefs = model.signatureDefs[:1]

    model = lifted(changed(two_graphs(), drop), tmp_path)
    assert [(r.name, r.reason) for r in model.remarks] == [("other", "nothing calls this subgraph")]


def test_metadata(tmp_path: Path) -> None:
    x, y = Spec("x", (2,)), Spec("y", (2,))
    data = build_graphs(
        [Graph([Op("ABS", [x], [y])], [y])],
        metadata={"min_runtime_version": b"1.5.0", "blob": b"\x00\xff", "none": b""},
        description="a model",
    )
    model = lifted(data + b"\0\0\0behind", tmp_path)
    assert model.metadata["tflite.description"] == "a model"
    assert model.metadata["tflite.metadata.min_runtime_version"] == "1.5.0"
    assert model.metadata["tflite.metadata.blob"] == "base64:AP8="
    assert model.metadata["tflite.metadata.none"] == "base64:"
    assert str(model.metadata["tflite.tail"]).startswith("base64:")


def refused(data: bytes, folder: Path) -> str:
    with pytest.raises(UnsupportedError) as caught:
        lifted(data, folder)
    return str(caught.value).replace(str(folder / "source.tflite"), "F")


def test_operators_that_nobody_knows(tmp_path: Path) -> None:
    x, y = Spec("x", (2,)), Spec("y", (2,))
    z = [Spec(f"z{i}", (2,)) for i in range(3)]
    ops = [
        Op("custom:FlexErf", [x], [z[0]]),
        Op("custom:FlexErf", [z[0]], [z[1]]),
        Op("LSH_PROJECTION", [z[1]], [z[2]]),
        Op("ABS", [z[2]], [y]),
    ]
    assert refused(build(ops), tmp_path) == (
        "F: can't be converted: custom operator FlexErf ×2 (makes 'z0'); "
        "LSH_PROJECTION (makes 'z2')"
    )


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    data = one_op("RESHAPE", [Spec("x", (2,), "resource")], [], [Spec("y", (2,), "resource")])
    assert "input 'x': values of type RESOURCE" in refused(data, tmp_path)


def spoilt(data: bytes, folder: Path, change: Any) -> str:
    with pytest.raises(FormatError) as caught:
        lifted(changed(data, change), folder)
    return str(caught.value)


def test_a_tensor_that_nothing_makes(tmp_path: Path) -> None:
    x, a, y = (Spec(name, (2,)) for name in ("x", "a", "y"))
    data = build([Op("ABS", [x], [a]), Op("NEG", [a], [y])])

    def reverse(model: Any) -> None:
        model.subgraphs[0].operators.reverse()

    assert "'a': nothing makes this tensor before it is read" in spoilt(data, tmp_path, reverse)


def test_a_tensor_that_is_made_twice(tmp_path: Path) -> None:
    x, a, y = (Spec(name, (2,)) for name in ("x", "a", "y"))
    data = build([Op("ABS", [x], [a]), Op("NEG", [a], [y])])

    def again(model: Any) -> None:
        model.subgraphs[0].operators[1].outputs = [1]

    assert "two operators make this tensor" in spoilt(data, tmp_path, again)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("inputs", [99, 1], "tensor 99 of"),
        ("inputs", [], "ADD without operands"),
        ("opcodeIndex", 7, "operator code 7 of 1"),
        ("builtinOptionsType", 1, "expected AddOptions, found Conv2DOptions"),
    ],
)
def test_numbers_out_of_range(field: str, value: Any, message: str, tmp_path: Path) -> None:
    def change(model: Any) -> None:
        operator = model.subgraphs[0].operators[0]
        setattr(operator, field, value)
        if field == "builtinOptionsType":
            operator.builtinOptions = generated.Conv2DOptionsT()

    assert message in spoilt(addition(), tmp_path, change)


def test_numbers_that_no_enumeration_has(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = 77

    message = spoilt(addition(), tmp_path, change)
    assert "AddOptions.fused_activation_function: ActivationFunctionType has no 77" in message


def test_another_version_of_the_schema(tmp_path: Path) -> None:
    def change(model: Any) -> None:
        model.version = 4

    assert "expected version 3 of the schema, found 4" in spoilt(addition(), tmp_path, change)


def test_a_body_inside_of_itself(tmp_path: Path) -> None:
    condition, x, y = Spec("c", (1,), "bool"), Spec("x", (2,)), Spec("y", (2,))
    own = [Spec("c", (1,), "bool"), Spec("x", (2,)), Spec("y", (2,))]
    options = {"then_subgraph_index": 1, "else_subgraph_index": 1}
    graphs = [
        Graph([Op("IF", [condition, x], [y], options)], [y], inputs=[condition, x]),
        Graph([Op("IF", own[:2], own[2:], options)], own[2:], inputs=own[1:2]),
    ]
    with pytest.raises(FormatError, match="a subgraph that is inside of itself"):
        lifted(build_graphs(graphs), tmp_path)


def test_old_files_say_their_operators_in_a_byte(tmp_path: Path) -> None:
    def narrow(model: Any) -> None:
        model.operatorCodes[0].builtinCode = 0  # ADD is 0 as well

    def abs_only(model: Any) -> None:
        model.operatorCodes[0].deprecatedBuiltinCode = 101
        model.operatorCodes[0].builtinCode = 0

    assert ends(lifted(changed(addition(), narrow), tmp_path)) == (["x"], ["y"])
    data = one_op("ABS", [Spec("x", (2,))], [], [Spec("y", (2,))])
    model = lifted(changed(data, abs_only), tmp_path)
    assert [node.op_type for node in graph_of(model)] == ["Abs"]


def test_weights_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    model = lifted(addition(), tmp_path)
    (tmp_path / "source.tflite").write_bytes(b"")
    with pytest.raises(FormatError, match="the file became shorter"):
        model.tensors["c"].dequantize()


def test_a_composite_is_what_it_stands_for(tmp_path: Path) -> None:
    x, a, y = (
        Spec("x", (2,), "int8", 0.5),
        Spec("a", (2,), "int8", 0.5),
        Spec("y", (2,), "int8", 1.0),
    )
    u, v = Spec("u", (2,), "int8", 0.5), Spec("v", (2,), "int8", 0.5)
    said = tuple(flexbuffers.Dumps({"a": 1}))
    options = {
        "name": "some.thing",
        "decomposition_subgraph_index": 1,
        "composite_attributes": said,
    }
    ops = [Op("STABLEHLO_COMPOSITE", [x], [a], options), Op("ADD", [a, a], [y], version=2)]
    inner = Graph([Op("RELU", [u], [v], version=2)], [v], name="inner")
    data = build_graphs([Graph(ops, [y]), inner])
    model = lifted(data, tmp_path)
    assert [node.op_type for node in graph_of(model)] == ["Relu", "Identity", "Add"]
    assert [r.name for r in model.remarks] == ["some.thing"]
    same_in_litert(data, written(model, tmp_path / "out"))
