"""Tensors of the canonical file: their arrays checked to be there, read when asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import FormatError, UnsupportedError
from w2e_bridge.formats.source import FileRange, Source
from w2e_bridge.graph.planes import Grid, GridStorage, Matrix, plain_storage, sane
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.ir.tensor import ByteRange, Storage, Tensor
from w2e_bridge.protocol.manifest import LayoutRecord, TensorRecord
from w2e_safetensors.header import Header
from w2e_safetensors.names import NATIVE, prefix_of
from w2e_safetensors.parts import OFFSET, SCALE, SIGNS, Part, parts_of

_SIGNS = Integer(bits=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """The arrays of a component.

    Attributes:
        source: the file.
        header: what is in it.
        component: its name.
    """

    source: Source
    header: Header
    component: str

    def tensor(self, row: TensorRecord, encoding: Encoding, order: int) -> Tensor:
        """A tensor of the manifest.

        Raises:
            FormatError: its arrays are not there, or not of the type and shape that they must have.
        """
        if not sane(row.shape) or row.dtype not in PLAIN:
            raise self.error(
                row, f"expected a shape and a type, found {row.shape[:8]} {row.dtype[:40]}"
            )
        return Tensor(
            name=row.name,
            shape=row.shape,
            dtype=row.dtype,
            encoding=encoding,
            storage=self.storage(row, encoding),
            order=order if row.order is None else row.order,
        )

    def storage(self, row: TensorRecord, encoding: Encoding) -> Storage:
        """The arrays of a tensor, as its encoding says that they are."""
        try:
            parts = {part.path: part for part in parts_of(row.shape, encoding)}
        except UnsupportedError as error:
            raise self.error(row, str(error)) from error
        if len(parts) == 1 and str(encoding.codes) in PLAIN and parts[""].bits >= 8:
            found: Storage = plain_storage(
                self.bytes(row, parts[""]), str(encoding.codes), row.shape
            )
        else:
            found = self.grids(row, parts)
        if row.layout is None:
            return found
        if not row.layout.native:
            return KeptStorage(inner=found, record=row.layout)
        return self.native(row, row.layout, encoding, found)

    def grids(self, row: TensorRecord, parts: Mapping[str, Part]) -> GridStorage:
        """The codes with their grids."""

        def matrix(path: str) -> Matrix:
            part = parts[path]
            return Matrix(
                source=self.bytes(row, part),
                codes=part.codes or _SIGNS,
                columns=part.columns,
                row_bits=8 * part.row_bytes,
                width=part.bits,
            )

        def grid(path: str) -> Grid | None:
            part = parts.get(path)
            if part is None:
                return None
            return Grid(
                matrix=matrix(path),
                leading=part.leading,
                extents=part.extents,
                scale=grid(path + SCALE),
                offset=grid(path + OFFSET),
            )

        if any(path.endswith(SIGNS) and path != SIGNS for path in parts):
            raise self.error(row, "scales from a codebook with signs")
        return GridStorage(
            codes=matrix(""),
            scale=grid(SCALE),
            offset=grid(OFFSET),
            signs=matrix(SIGNS) if SIGNS in parts else None,
        )

    def bytes(self, row: TensorRecord, part: Part) -> ByteRange:
        """Where a part lies."""
        name = row.stored.get(part.path, prefix_of(self.component) + row.name + part.path)
        entry = self.header.entries.get(name)
        if entry is None:
            raise self.error(row, f"its array '{name}' is not in the file")
        if (entry.dtype, entry.shape) != (part.dtype, part.shape):
            found, expected = (
                f"{d} {list(s)[:8]}"
                for d, s in ((entry.dtype, entry.shape), (part.dtype, part.shape))
            )
            raise self.error(row, f"array '{name}': expected {expected}, found {found}")
        return FileRange(source=self.source, offset=entry.offset, nbytes=entry.nbytes, what=name)

    def native(
        self, row: TensorRecord, layout: LayoutRecord, encoding: Encoding, inner: Storage
    ) -> Storage:
        """A tensor whose bytes in the source are kept as well."""
        columns, rows = (row.shape or (1,))[-1], math.prod(row.shape[:-1])
        if layout.elements < 1 or layout.bytes < 1 or columns % layout.elements:
            raise self.error(row, f"rows of {columns} weights in blocks of {layout.elements}")
        name = row.stored.get("native", NATIVE + prefix_of(self.component) + row.name)
        entry, size = self.header.entries.get(name), columns // layout.elements * layout.bytes
        if entry is None or entry.dtype != "U8" or entry.nbytes != rows * size:
            raise self.error(row, f"array '{name}': expected {rows * size} bytes")
        source = FileRange(source=self.source, offset=entry.offset, nbytes=entry.nbytes, what=name)
        # For copying only: what unpacks such bytes is in another package.
        own = Layout(
            name=layout.name,
            label=layout.label,
            encoding=encoding,
            elements=layout.elements,
            bytes=layout.bytes,
            unpack=_never,
        )
        return NativeStorage(inner=inner, layout=own, source=source, columns=columns)

    def error(self, row: TensorRecord, problem: str) -> FormatError:
        """A manifest that does not go with the file."""
        return self.source.error(None, problem, tensor=row.name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptStorage:
    """A tensor of which it is known how the source packed it, but whose bytes are not kept.

    Attributes:
        inner: the canonical arrays.
        record: how the source packed it.
    """

    inner: Storage
    record: LayoutRecord
    layout: Layout | None = field(default=None, init=False)

    def parts(self, start: int, stop: int) -> Parts:
        """The arrays of rows [start, stop)."""
        return self.inner.parts(start, stop)

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Never called: there is no layout."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NativeStorage:
    """A tensor as the canonical file has it, and its bytes as the source had them.

    Attributes:
        inner: the canonical arrays.
        layout: how the source packed it.
        source: its bytes.
        columns: weights in a row.
    """

    inner: Storage
    layout: Layout
    source: ByteRange
    columns: int

    def parts(self, start: int, stop: int) -> Parts:
        """The arrays of rows [start, stop)."""
        return self.inner.parts(start, stop)

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The source's bytes of rows [start, stop)."""
        size = self.layout.row_bytes(self.columns)
        return self.source.read(start * size, (stop - start) * size)


def _never(packed: NDArray[np.uint8]) -> Parts:
    raise NotImplementedError("the arrays are `parts`; the layout is only for copying")
