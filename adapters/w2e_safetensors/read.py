"""The canonical file to the canonical model: header and manifest are read, arrays when asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import msgspec
import numpy as np
import onnx_ir
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError, Where
from w2e_bridge.formats.source import Source
from w2e_bridge.formats.spec import OptionValue
from w2e_bridge.graph.serialize import graph_of
from w2e_bridge.graph.weights import DTYPES, weights_of
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.model import Model, Origin
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.protocol import jcs
from w2e_bridge.protocol.components import CANONICAL, component_of
from w2e_bridge.protocol.encodings import encoding_of
from w2e_bridge.protocol.manifest import VERSION, ComponentRecord, Manifest, from_json
from w2e_safetensors.folder import model_file
from w2e_safetensors.header import Entry, Header, read_header
from w2e_safetensors.names import GRAPH, KEY, MAIN, TABLE
from w2e_safetensors.storage import Arrays

_T = TypeVar("_T")
_TABLE_BYTES = 1 << 22


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """Read a canonical file.

    Args:
        path: the file, or a folder with one.
        options: none.

    Raises:
        FormatError: it is damaged, cut, hostile or no safetensors.
        UnsupportedError: safetensors of another kind, or of a later version.
    """
    del options
    source = Source(model_file(path))
    header = read_header(source)
    if KEY not in header.metadata:
        problem = f"checkpoints are not supported yet: no '{KEY}' in the header"
        raise UnsupportedError(f"{path}: {problem}")
    reader = _Reader(source=source, header=header)
    manifest = reader.manifest(header.metadata[KEY])
    models = {name: reader.model(name, record) for name, record in manifest.components.items()}
    main = models.pop(MAIN, None)
    if main is None:
        reader.refuse(f"no component '{MAIN}'")
    origin = Origin(format=CANONICAL, path=str(path), nbytes=source.size, before=main.origin)
    return replace(main, components=models, origin=origin)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads the components of one file."""

    source: Source
    header: Header
    tables: dict[str, NDArray[np.generic]] = field(default_factory=dict)

    def manifest(self, text: str) -> Manifest:
        """The manifest in a text, if it is of a version that is known here."""
        document = self.checked(lambda: jcs.loads(text))
        version = document.get("w2e") if isinstance(document, dict) else None
        if isinstance(version, int) and version > VERSION:
            what = f"version {version} of the canonical file; version {VERSION} is known here"
            raise UnsupportedError(f"{self.source.path}: {what}")
        manifest = self.checked(lambda: from_json(document, Manifest))
        if manifest.must_understand:
            what = ", ".join(manifest.must_understand)
            raise UnsupportedError(f"{self.source.path}: needs features not known here: {what}")
        return manifest

    def model(self, name: str, record: ComponentRecord) -> Model:
        """A component with its tensors and graph."""
        record = self.with_texts(record)
        model = self.checked(lambda: component_of(record, self.table))
        encodings = self.checked(lambda: [encoding_of(e, self.table) for e in record.encodings])
        tensors = self.tensors(name, record, encodings)
        model = replace(model, tensors=tensors)
        if not record.graph:
            return model
        return replace(model, graph=self.graph(GRAPH + name, tensors))

    def tensors(
        self, name: str, record: ComponentRecord, encodings: list[Encoding]
    ) -> dict[str, Tensor]:
        """The tensors of a component."""
        arrays = Arrays(source=self.source, header=self.header, component=name)
        found: dict[str, Tensor] = {}
        for order, row in enumerate(record.tensors):
            if not 0 <= row.encoding < len(encodings) or row.name in found:
                self.refuse("no such encoding, or a name twice", row.name)
            found[row.name] = arrays.tensor(row, encodings[row.encoding], order)
        return found

    def graph(self, name: str, tensors: Mapping[str, Tensor]) -> onnx_ir.Model:
        """The graph of a component; its stubs must be the tensors."""
        model = graph_of(self.bytes_of(name), Where(path=self.source.path, tensor=name))
        for graph in model.graphs():
            for stub, value in weights_of(graph):
                known = tensors.get(stub)
                shape = value.shape and value.shape.numpy()
                if known is None or DTYPES.get(known.dtype) != value.dtype or shape != known.shape:
                    self.refuse("the graph has another weight of that name", stub)
        return model

    def with_texts(self, record: ComponentRecord) -> ComponentRecord:
        """A record with the JSON that is elsewhere in the file."""
        found = {}
        for name in ("metadata", "tokenizer"):
            value = getattr(record, name)
            if isinstance(value, str):
                data = self.bytes_of(value)
                document = self.checked(partial(jcs.loads, data))
                if not isinstance(document, dict):
                    self.refuse(f"{name} is no JSON object")
                found[name] = document
        return msgspec.structs.replace(record, **found)

    def table(self, key: str) -> NDArray[np.generic]:
        """The numbers of a look-up table."""
        if key not in self.tables:
            entry = self.entry(TABLE + key)
            kind = {"F32": "<f4", "I8": "i1"}.get(entry.dtype)
            if kind is None or entry.nbytes > _TABLE_BYTES:
                self.refuse(f"a look-up table of {entry.dtype}", TABLE + key)
            data = self.source.take(entry.offset, entry.nbytes, TABLE + key)
            self.tables[key] = np.frombuffer(data, kind).reshape(entry.shape)
        return self.tables[key]

    def bytes_of(self, name: str) -> bytes:
        """The bytes of an array of bytes."""
        entry = self.entry(name)
        if entry.dtype != "U8":
            self.refuse(f"expected bytes, found {entry.dtype}", name)
        return self.source.take(entry.offset, entry.nbytes, name)

    def entry(self, name: str) -> Entry:
        """An array that must be there."""
        if name not in self.header.entries:
            self.refuse("the array is not in the file", name)
        return self.header.entries[name]

    def checked(self, build: Callable[[], _T]) -> _T:
        """What a builder returns; its `ValueError` becomes an error of the file."""
        try:
            return build()
        except ValueError as error:
            self.refuse(str(error).split("\n", maxsplit=1)[0])

    def refuse(self, problem: str, tensor: str = "") -> NoReturn:
        """Raise a `FormatError`."""
        raise self.source.error(None, f"manifest: {problem}", tensor=tensor)
