"""A kind on real numbers: built, found again, and run beside LiteRT's own kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from tests.w2e_onnx.litert.harness import Data, lowered, model_of, run
from tests.w2e_tflite.maker import Spec, const, litert, one_op
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.scope import Scope

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An operation to be built.

    Attributes:
        kind: of it.
        inputs: arrays that vary.
        constants: int32 operands behind them, as the file has them.
        attributes: of the operation.
        shape: of its output.
        dtype: of its output.
    """

    kind: str
    inputs: Sequence[Array]
    constants: Sequence[Any] = ()
    attributes: Mapping[str, Attribute]
    shape: tuple[int, ...]
    dtype: str = "float32"

    def model(self) -> Model:
        """The canonical model."""
        operands = [Data(type=str(array.dtype), array=array) for array in self.inputs]
        operands += [
            Data(type="int32", array=np.asarray(array, np.int32), constant=True)
            for array in self.constants
        ]
        outputs = [Data(type=self.dtype, shape=self.shape)]
        return model_of(self.kind, operands, outputs, self.attributes)

    def by_onnxruntime(self) -> Array:
        """What the canonical nodes compute."""
        feeds = {f"x{index}": array for index, array in enumerate(self.inputs)}
        return run(lowered(self.model())[0], feeds)[0]

    def by_litert(self) -> Array:
        """What LiteRT's default kernel computes."""
        inputs = [
            Spec(f"x{i}", array.shape, str(array.dtype)) for i, array in enumerate(self.inputs)
        ]
        constants = [const(f"c{i}", c, "int32") for i, c in enumerate(self.constants)]
        output = Spec("y", self.shape, self.dtype)
        data = one_op(self.kind.upper(), inputs, constants, [output], self.attributes)
        return litert(data, list(self.inputs))[0][0]

    def check(self) -> None:
        """The pair fits, and computes what LiteRT computes."""
        again, scope = found(self.model())
        assert again.kind == self.kind
        assert dict(again.attributes) == dict(self.attributes)
        assert len(again.inputs) == len(self.inputs) + len(self.constants)
        for operand, wanted in zip(again.inputs[len(self.inputs) :], self.constants, strict=True):
            array = scope.array(operand)
            assert array is not None
            assert array.dtype == np.int32
            assert array.reshape(-1).tolist() == np.asarray(wanted).reshape(-1).tolist()
        got, want = self.by_onnxruntime(), self.by_litert()
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def found(model: Model) -> tuple[Operation, Scope]:
    """The one operation that a model is read as."""
    assert model.graph is not None
    scope = Scope(tensors=model.tensors, values=model.activations)
    steps = cover(model.graph.graph, scope)
    assert len(steps) == 1
    assert isinstance(steps[0], Operation)
    return steps[0], scope


def read(
    nodes: str, shapes: Mapping[str, Sequence[int]], constants: Mapping[str, Any] | None = None
) -> Operation:
    """What the nodes of an exporter are read as: "h = HardSigmoid<alpha = 0.5>(x); y = Mul(x, h)"."""
    import onnx.parser

    inputs = ", ".join(f"float{list(shape)} {name}" for name, shape in shapes.items())
    body = "\n".join(line.strip() for line in nodes.split(";"))
    proto = onnx.parser.parse_graph(f"g ({inputs}) => (float y) {{ {body} }}")
    for name, number in (constants or {}).items():
        array = np.asarray(number, np.float32 if isinstance(number, float) else np.int64)
        proto.initializer.append(onnx.numpy_helper.from_array(array, name))
    model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 23)])
    graph = ir.serde.deserialize_model(model).graph
    steps = cover(graph, Scope(tensors={}, values={}))
    assert len(steps) == 1, steps
    assert isinstance(steps[0], Operation)
    return steps[0]
