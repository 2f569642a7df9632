"""GGUF to the canonical model: names, hyper-parameters, tokenizer. Weights stay in the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from w2e_bridge.formats.source import FileRange, Source
from w2e_bridge.formats.spec import OptionValue
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT64, Encoding
from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.ir.records import Hints, TokenizerLike
from w2e_bridge.ir.tensor import PackedStorage, Tensor
from w2e_gguf.architecture import ARCHITECTURE, architecture_of
from w2e_gguf.container import TensorInfo
from w2e_gguf.metadata import Metadata, raw_keys
from w2e_gguf.names import execution_order
from w2e_gguf.splits import COUNT, NUMBER, TENSORS, Part, read_parts
from w2e_gguf.values import Value

TYPE = "general.type"

_KINDS = {"imatrix": "imatrix", "adapter": "adapter", "mmproj": "projector"}
"""`general.type` (gguf-py `GGUFType`) to kind of model."""
_BY_ARCHITECTURE = {"clip": "projector", "controlvector": "adapter"}
_NETWORKS = ("model", "vocabulary")
_SPLIT = (NUMBER, COUNT, TENSORS)
_TOKENIZER = "tokenizer."
_SAMPLING = "general.sampling."
_SAMPLING_NAMES = {"temp": "temperature", "penalty_repeat": "repetition_penalty"}
"""Keys after `general.sampling.` whose names in the field are others."""


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """Read a GGUF file, or all parts of a split one.

    Args:
        path: the file; of a split model any of its parts.
        options: none.

    Raises:
        FormatError: the file is damaged, cut, hostile or no GGUF.
    """
    parts = read_parts(path)
    source, keys = parts[0].source, _keys(parts)
    directory = tuple(info for part in parts for info in part.header.tensors)
    kind = _kind(keys, directory)
    architecture, remarks = None, tuple[Remark, ...]()
    if kind in _NETWORKS:
        architecture, remarks = architecture_of(source, keys, directory)
    context = architecture.context if architecture else None
    tokenizer, unused = _tokenizer(path, keys, context)
    return Model(
        tensors={tensor.name: tensor for tensor in _tensors(parts)},
        architecture=architecture,
        tokenizer=tokenizer,
        metadata=Metadata(keys),
        hints=_sampling(keys),
        kind=kind,
        origin=Origin(
            format="gguf", path=str(path), nbytes=sum(part.source.size for part in parts)
        ),
        remarks=(*remarks, *unused),
    )


def _keys(parts: tuple[Part, ...]) -> dict[str, Value]:
    """The keys of the model; those that say how it was split go with the split."""
    keys = dict(parts[0].header.keys)
    return keys if len(parts) == 1 else {k: v for k, v in keys.items() if k not in _SPLIT}


def _sampling(keys: Mapping[str, Value]) -> Hints:
    """How the makers advise to sample, as hints: `sampling.temperature`, `sampling.top_p` and so on."""
    names = {key: key.removeprefix(_SAMPLING) for key in keys if key.startswith(_SAMPLING)}
    return Hints(
        values={
            f"sampling.{_SAMPLING_NAMES.get(name, name)}": value
            for key, name in names.items()
            if isinstance(value := keys[key].data, int | float | str)
        }
    )


def _kind(keys: Mapping[str, Value], directory: tuple[TensorInfo, ...]) -> str:
    said, family = (keys[k].data if k in keys else None for k in (TYPE, ARCHITECTURE))
    kind = _KINDS.get(str(said)) or _BY_ARCHITECTURE.get(str(family))
    if kind is not None:
        return kind
    if "adapter.type" in keys:
        return "adapter"
    return "model" if directory else "vocabulary"


def _tensors(parts: tuple[Part, ...]) -> Iterator[Tensor]:
    homes = {info.name: (part.source, info) for part in parts for info in part.header.tensors}
    for order, name in enumerate(execution_order(homes)):
        source, info = homes[name]
        yield _tensor(source, info, order)


def _tensor(source: Source, info: TensorInfo, order: int) -> Tensor:
    layout = info.type.layout
    data = FileRange(source=source, offset=info.offset, nbytes=info.nbytes, what=info.name)
    return Tensor(
        name=info.name,
        shape=info.shape,
        dtype=_dtype(layout.encoding),
        encoding=layout.encoding,
        storage=PackedStorage(layout=layout, columns=info.columns, source=data),
        order=order,
    )


def _dtype(encoding: Encoding) -> str:
    """What ggml computes with: float32, whatever the weights are stored as."""
    if encoding.plain and isinstance(encoding.codes, Integer):
        return str(encoding.codes)
    return "float64" if encoding == FLOAT64 else "float32"


def _tokenizer(
    path: Path, keys: Mapping[str, Value], context: int | None
) -> tuple[TokenizerLike | None, tuple[Remark, ...]]:
    if "tokenizer.ggml.model" not in keys:
        return None, ()
    from w2e_bridge.tokenizers import Tokenizer, consumed_keys, vocabulary_from_gguf_keys

    raw = raw_keys(keys, (_TOKENIZER, "general.name", ARCHITECTURE))
    used = consumed_keys(raw)
    vocabulary = vocabulary_from_gguf_keys(raw, path)
    unused = tuple(
        Remark(name=key, reason="the tokenizer does not use it")
        for key in raw
        if key.startswith(_TOKENIZER) and key not in used
    )
    return Tokenizer(vocabulary=vocabulary, max_length=context), unused
