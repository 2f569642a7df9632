"""The canonical model to plain `QuantizeLinear` and `DequantizeLinear` nodes of the standard.

before: standard operators on real numbers; quantization is a property of values and tensors.
after:  the same operators, each between DequantizeLinear of what it reads and QuantizeLinear of what it makes;
    constants are their codes; public values that are codes in the model are codes in the file.
why exact: codes, scales and zero points are the model's own. How sums are rounded is the runtime's affair.
`w2e_bridge.graph.qdq` reads it back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from onnx import helper

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.output import Output
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.data import network_files
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.qdq import unfold
from w2e_bridge.graph.qdq_emit import OPSETS, PER_AXIS_OPSET, SCALE_OPSETS, opset_of
from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.graph.store import store
from w2e_bridge.graph.weights import weights_of
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_bridge.kernels.state import constants
from w2e_bridge.loss import Grade, Ignored, TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_bridge.passes.legalize.opsets import modernize
from w2e_bridge.passes.legalize.place import Work
from w2e_onnx.lowering.quantized_dynamic import emit_dynamic
from w2e_onnx.lowering.quantized_moving import settle

IR_VERSION = 8
"""The lowest that is written; the first with model-local functions."""

DEFAULT = 21
"""The operator set of a graph that says none: the first with 4 and 16 bits and with blocks."""

WIDENED = ("float16", "bfloat16")
"""Types of scales that float32 holds exactly, and the operator has not for float32 results."""

NARROW = {2: 4}
"""Codes of how many bits are stored wider where the operator set has no type for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Emitted:
    """A graph of Q/DQ nodes.

    Attributes:
        editor: the graph and its tensors, all of them plain.
        opset: that it needs.
        ignored: what these nodes can't say, and what became of it.
    """

    editor: Editor
    opset: int
    ignored: tuple[Ignored, ...]


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan `{stem}.onnx`, and a data file beside it where the weights are large.

    Args:
        model: with a graph.
        decisions: how each tensor is held.
        request: the stem of the files.
    """
    assert model.graph is not None
    emitted = emit(model.graph.clone(), model, decisions)
    work = emitted.editor.model
    data = store(work.graph, emitted.editor.tensors, f"{request.stem}.onnx.data")
    finish(work, emitted.opset)
    describe(work, model)
    return Output(
        files=network_files(work, data),
        constants=tuple(constants(model)),
        values=values(model),
        ignored=emitted.ignored,
        summary=summary(decisions, model),
    )


def emit(work: ir.Model, model: Model, decisions: Decisions) -> Emitted:
    """Rewrite a copy of a model's graph.

    Args:
        work: the copy.
        model: its tensors and quantization.
        decisions: how each tensor is held.

    Raises:
        UnsupportedError: an encoding or a quantization that the nodes can't say.
    """
    tensors = {
        name: decisions[name].tensor if name in decisions else tensor
        for name, tensor in model.tensors.items()
    }
    drop_unused(work.graph)
    used = {name for graph in work.graphs() for name, _ in weights_of(graph)}
    editor = Editor(model=work, tensors={n: sayable(t) for n, t in tensors.items() if n in used})
    static = {n: q for n, q in model.activations.items() if q.mode is ActivationMode.STATIC}
    dynamic = {n: q for n, q in model.activations.items() if q.mode is ActivationMode.DYNAMIC}
    opset = _opset(editor, model)
    ignored = emit_dynamic(editor, dynamic)
    unfold(editor, static)
    return Emitted(editor=editor, opset=settle(editor, opset), ignored=ignored)


def _opset(editor: Editor, model: Model) -> int:
    """The operator set of the graph; where it can't say a quantization, its nodes are put in newer words."""
    own = editor.model.graph.opset_imports.get("") or DEFAULT
    needed = [_needed(tensor) for tensor in editor.tensors.values() if tensor.encoding.quantized]
    for q in model.activations.values():
        needed.append(PER_AXIS_OPSET if q.axis is not None else 10)
        needed.append(OPSETS.get(str(q.codes), DEFAULT))
        needed.append(10 if q.scale is None else SCALE_OPSETS.get(str(q.scale.dtype), DEFAULT))
    if max([*needed, 10]) <= own:
        return own
    work = Work(editor=editor, activations=dict(model.activations), opset=own)
    modernize(work)
    return max(work.opset, *needed)


def sayable(tensor: Tensor) -> Tensor:
    """A tensor as these nodes can say it, its numbers unchanged.

    2-bit codes are held in 4 bits, 64-bit biases in 32 where they fit, narrow scales in float32.
    """
    codes, scale = tensor.encoding.codes, tensor.encoding.scale
    if not tensor.encoding.quantized or not isinstance(codes, Integer):
        return tensor
    if scale is not None and str(scale.codes) in WIDENED and tensor.dtype == "float32":
        return sayable(_scaled(tensor))
    if codes.bits in NARROW:
        return _typed(tensor, replace(codes, bits=NARROW[codes.bits]))
    if codes.bits == 64:
        return _narrowed(tensor)
    return tensor


def _scaled(tensor: Tensor) -> Tensor:
    """The same scales, which are float16 or bfloat16, as float32 ones."""

    def compute(start: int, stop: int) -> Parts:
        parts = tensor.storage.parts(start, stop)
        assert parts.scale is not None
        return replace(parts, scale=Parts(codes=parts.scale.codes.astype(np.float32)))

    encoding = replace(tensor.encoding, scale=PLAIN["float32"])
    return replace(tensor, encoding=encoding, storage=ComputedStorage(compute=compute))


def _narrowed(tensor: Tensor) -> Tensor:
    """64-bit codes as 32-bit ones, or the numbers that they stand for: the operator has none of 64."""
    held = Integer(bits=32, signed=True)
    fits = all(
        parts.codes.min(initial=0) >= held.low and parts.codes.max(initial=0) <= held.high
        for _, _, parts in tensor.chunks()
    )
    if fits:
        return _typed(tensor, held)

    def compute(start: int, stop: int) -> Parts:
        return Parts(codes=decode(tensor.encoding, tensor.storage.parts(start, stop)))

    return replace(tensor, encoding=PLAIN["float32"], storage=ComputedStorage(compute=compute))


def _typed(tensor: Tensor, codes: Integer) -> Tensor:
    """The same codes in another type that holds them."""
    encoding = tensor.encoding
    offset = encoding.offset
    if offset is not None and offset.kind.before_scale and offset.encoding is not None:
        offset = replace(offset, encoding=Encoding(codes=codes))
    kind = np.dtype(f"{'int' if codes.signed else 'uint'}{max(codes.bits, 8)}")

    def compute(start: int, stop: int) -> Parts:
        parts = tensor.storage.parts(start, stop)
        points = parts.offset
        if points is not None and offset is not None and offset.kind.before_scale:
            points = Parts(codes=points.codes.astype(kind))
        return replace(parts, codes=parts.codes.astype(kind), offset=points)

    return replace(
        tensor,
        encoding=replace(encoding, codes=codes, offset=offset),
        storage=ComputedStorage(compute=compute),
    )


def _needed(tensor: Tensor) -> int:
    try:
        return opset_of(tensor.encoding, tensor.shape, tensor.dtype)
    except UnsupportedError as error:
        raise UnsupportedError(f"'{tensor.name}': {error}") from error


def finish(work: ir.Model, opset: int) -> None:
    """Functions that are called, and the versions of the domains."""
    called = {node.op_identifier() for graph in work.graphs() for node in graph}
    for identifier in [i for i in work.functions if i not in called]:
        del work.functions[identifier]
    domains = {node.domain for graph in work.graphs() for node in graph}
    domains |= {node.domain for function in work.functions.values() for node in function}
    domains.discard("ai.onnx")
    imports = {domain: 1 for domain in sorted(domains) if domain}
    known = dict(work.graph.opset_imports)
    work.graph.opset_imports.clear()
    work.graph.opset_imports.update({"": opset, **{d: known.get(d, v) for d, v in imports.items()}})
    least = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    work.ir_version = max(IR_VERSION, least)


def describe(work: ir.Model, model: Model) -> None:
    """Metadata of the source, under its own keys."""
    work.producer_name = "w2e-bridge"
    for key, value in model.metadata.items():
        work.metadata_props[key] = value if isinstance(value, str) else json.dumps(value)


def values(model: Model) -> tuple[TensorLoss, ...]:
    """A row for every value whose scale is in the model: it stays as it is."""
    return tuple(
        TensorLoss(name=n, source_encoding=said, encoding=said, grade=Grade.EXACT)
        for n, said in ((n, label(q)) for n, q in model.activations.items() if q.scale is not None)
    )


def label(q: ActivationQuantization) -> str:
    """A quantization in few words."""
    grain = "" if q.axis is None else f"[axis {q.axis}]"
    return f"{q.codes}{grain}"


COMPUTED = (
    (ActivationMode.STATIC, "activations rounded between operators (Q/DQ)"),
    (ActivationMode.DYNAMIC, "activations of products rounded when the model runs"),
)


def summary(decisions: Decisions, model: Model) -> str:
    """Storage and computation in one sentence."""
    held = [d.tensor.encoding for d in decisions.values() if d.tensor.encoding.quantized]
    widths = sorted({encoding.codes.bits for encoding in held if encoding.codes.bits <= 8})
    stored = f"{'-, '.join(map(str, widths))}-bit codes kept; " if widths else ""
    modes = {q.mode for q in model.activations.values()}
    how = next((said for mode, said in COMPUTED if mode in modes), "float32 activations")
    return f"{stored}{how}"
