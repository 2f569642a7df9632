"""An ONNX file to the canonical model: quantization folded into tensors and values, weights not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from w2e_bridge.formats.spec import OptionValue
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, integer, is_op, is_weight, name_of
from w2e_bridge.graph.serialize import in_order, open_model, settle
from w2e_bridge.graph.weights import DTYPE_NAMES
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import MetadataValue, Model, Origin, Remark
from w2e_onnx import recognise_operators, siblings
from w2e_onnx.folder import model_file
from w2e_onnx.lowering.functions import DOMAIN, MICROSOFT
from w2e_onnx.lowering.litert.call import DOMAIN as LITERT
from w2e_onnx.recognise import KINDS, Recogniser
from w2e_onnx.recognise_calls import recognise
from w2e_onnx.recognise_names import KEY, Manifest, manifest, sliced

OPAQUE = (
    "MatMulBnb4", "MatMulFpQ4", "QMoE", "QAttention", "QGemm", "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat", "DynamicQuantizeLSTM", "MatMulBlockQuantizedFp4Weight",
    "MatMulBlockQuantizedFp8Weight", "MatMulNBits", "GatherBlockQuantized",
)  # fmt: skip
"""Operators of ONNX Runtime that read quantized weights and may stay as they are."""


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """Read an ONNX model.

    Args:
        path: the file, or a folder with `model.onnx` or one other `.onnx`.
        options: none.

    Raises:
        FormatError: damaged, hostile, or no ONNX model.
        UnsupportedError: sparse tensors and the like.
    """
    del options
    file = model_file(path)
    model = _network(file, path)
    named = siblings.names_of(model.metadata.get(siblings.KEY))
    places = {name: file.parent / other for name, other in named.items()}
    found = {name: _network(at, at) for name, at in places.items() if at.is_file()}
    lost = [Remark(name=n, reason=f"'{named[n]}' is not there") for n in named if n not in found]
    metadata = {key: value for key, value in model.metadata.items() if key != siblings.KEY}
    return replace(model, components=found, metadata=metadata, remarks=(*model.remarks, *lost))


def _network(file: Path, path: Path) -> Model:
    """The network of one file."""
    opened = open_model(file)
    notes = manifest(opened.model.metadata_props.get(KEY))
    editor = Editor(model=opened.model, tensors=opened.tensors)
    called = any(node.domain == LITERT for node in editor.nodes())
    values, stayed = recognise(editor)
    values, left = recognise_operators.run(editor, values)
    Recogniser(editor=editor, manifest=notes, path=str(file)).run()
    _fold_casts(editor)
    _rename(editor, notes)
    _drop_functions(editor.model)
    settle(editor.model, editor.tensors, keep=notes.tensors)
    return Model(
        tensors=in_order(editor.model, editor.tensors),
        graph=editor.model,
        activations=values,
        numerics=_numerics(values, called=called),
        metadata=_metadata(editor.model),
        origin=Origin(format="onnx", path=str(path), nbytes=opened.nbytes),
        remarks=(*opened.remarks, *notes.remarks, *stayed, *left, *_opaque(editor)),
    )


def _numerics(values: Mapping[str, ActivationQuantization], *, called: bool) -> str:
    """Whose rounding the file promises."""
    if called:
        return "litert"
    return "ort" if values else "float"


def _fold_casts(editor: Editor) -> None:
    """A weight that is stored narrower than it is computed with.

    before: Cast(w: float16, to=float32), the only reader of w.
    after:  w, computed with as float32 and stored as float16.
    why exact: every narrower float is a wider one.
    """
    for node in editor.nodes():
        value = given(node, 0)
        if (
            not is_op(node, "Cast")
            or value is None
            or not is_weight(value)
            or len(value.uses()) != 1
        ):
            continue
        tensor = editor.constant(value)
        try:
            wanted = _DTYPES.get(integer(node, "to"), "")
        except Unrecognised:
            continue
        if wanted in _WIDER.get(str(tensor.encoding), ()):
            editor.put(node, replace(tensor, dtype=wanted))


_DTYPES = {int(value): name for value, name in DTYPE_NAMES.items()}
_WIDER = {
    "float16": ("float32", "float64"),
    "bfloat16": ("float32", "float64"),
    "float32": ("float64",),
}
"""Encodings of plain floats to the types that hold all their numbers."""


def _rename(editor: Editor, notes: Manifest) -> None:
    """Plain arrays that hold other tensors than their name says, to those tensors."""
    for graph in editor.model.graphs():
        for base in notes.renamed():
            value, tensor = graph.initializers.get(base), editor.tensors.get(base)
            if value is None or tensor is None or not is_weight(value):
                continue
            rows = notes.rows_of(base, tensor.rows)
            if not rows:
                continue
            readers = list(value.uses())
            stubs = [editor.register(graph, sliced(tensor, *row)) for row in rows]
            whole = stubs[0]
            if len(stubs) > 1:
                joined = ir.node("Concat", stubs, {"axis": 0})
                whole = joined.outputs[0]
                whole.name = editor.free(f"{base}.concat")
                graph.insert_before(graph.node(0), joined)
            for user, index in readers:
                user.replace_input_with(index, whole)
            del graph.initializers[name_of(value)], editor.tensors[base]


def _drop_functions(model: ir.Model) -> None:
    """Functions that nothing calls any more."""
    called = {node.op_identifier() for graph in model.graphs() for node in graph}
    for identifier in [i for i in model.functions if i[0] == DOMAIN and i not in called]:
        del model.functions[identifier]


def _metadata(model: ir.Model) -> dict[str, MetadataValue]:
    """What the file says of itself, where each tensor lies aside."""
    said: dict[str, MetadataValue] = {
        key: value for key, value in sorted(model.metadata_props.items()) if key != KEY
    }
    known = {"producer_name": model.producer_name, "producer_version": model.producer_version}
    return {**{key: value for key, value in known.items() if value}, **said}


def _opaque(editor: Editor) -> list[Remark]:
    left = Counter(
        node.op_type
        for node in editor.nodes()
        if (node.domain == MICROSOFT and node.op_type in OPAQUE)
        or (node.domain, node.op_type) in KINDS
    )
    reason = "{} nodes read weights in a way that is not carried"
    return [Remark(name=op, reason=reason.format(left[op])) for op in sorted(left)]
