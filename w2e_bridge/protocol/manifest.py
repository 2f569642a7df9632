"""The manifest of a canonical file: a closed schema of plain records.

Every record refuses fields that it doesn't know, so that a file of a later version is refused and not
half understood. What a field means is said where its canonical counterpart is defined (`ir`); here is
only how JSON spells it. Defaults are left out.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from w2e_bridge.protocol import jcs

VERSION = 1
"""Of the schema."""

Json = dict[str, object]
_T = TypeVar("_T")


class Record(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Base of all records."""


class ArrayRecord(Record, frozen=True):
    """Numbers of any type and shape.

    Attributes:
        dtype: numpy or ml_dtypes name.
        shape: extents.
        data: the bytes, little-endian, in base64.
    """

    dtype: str
    shape: tuple[int, ...]
    data: str


class TableRecord(Record, frozen=True):
    """A look-up table that is stored as a tensor of its own.

    Attributes:
        table: the tensor is `w2e.table/` + this.
        name: of the table, where that is not the same.
        vectors: whether an entry is several weights.
        signs: whether each of them has a sign beside the code.
    """

    table: str
    name: str | None = None
    vectors: bool = False
    signs: bool = False


class OffsetRecord(Record, frozen=True):
    """`ir.encoding.Offset`."""

    kind: str
    encoding: EncodingRecord | None = None
    block: tuple[int, ...] | None = None
    constant: int | None = None


class PermutationRecord(Record, frozen=True):
    """`ir.encoding.Permutation`."""

    axis: int
    tensor: str


class CompanionRecord(Record, frozen=True):
    """`ir.encoding.Companion`."""

    kind: str
    tensor: str


class EncodingRecord(Record, frozen=True):
    """`ir.encoding.Encoding`; `codes` is a type's name ("uint4", "float16") or a table."""

    codes: str | TableRecord
    block: tuple[int, ...] | None = None
    scale: EncodingRecord | None = None
    scale_divides: bool = False
    offset: OffsetRecord | None = None
    flat: bool = False
    permutation: PermutationRecord | None = None
    companions: tuple[CompanionRecord, ...] = ()
    symmetric: bool | None = None
    narrow_range: bool | None = None


class LayoutRecord(Record, frozen=True):
    """How the source packed a tensor, so that it can be written so again.

    Attributes:
        name: of the layout, "ggml.q4_k". label: what people call it.
        elements: weights in a block. bytes: of a block.
        native: whether the source's bytes are kept, as `w2e.native/` + the tensor's name, because packing
            the codes again would not give them.
    """

    name: str
    label: str
    elements: int
    bytes: int
    native: bool = False


class TensorRecord(Record, frozen=True):
    """A tensor; where it lies follows from its name.

    Attributes:
        name, shape, dtype: of the tensor.
        encoding: index into the component's encodings.
        order: position in execution order, where it is not the position in the list.
        layout: how the source packed it, where that has a name.
        stored: names of stored arrays that are not the usual ones, by their suffix ("" = the codes).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    encoding: int
    order: int | None = None
    layout: LayoutRecord | None = None
    stored: dict[str, str] = {}


class ActivationRecord(Record, frozen=True):
    """`ir.activation.ActivationQuantization`."""

    codes: str | TableRecord
    mode: str = "static"
    granularity: str = "tensor"
    scale: ArrayRecord | None = None
    zero_point: ArrayRecord | None = None
    axis: int | None = None
    group: int | None = None
    second_level: float | None = None
    narrow_range: bool | None = None


class CacheRecord(Record, frozen=True):
    """`ir.activation.KVQuantization`."""

    layer: int
    key: ActivationRecord
    value: ActivationRecord


class RemarkRecord(Record, frozen=True):
    """`ir.model.Remark`."""

    name: str
    reason: str


class OriginRecord(Record, frozen=True):
    """What the model was converted from; of where it was, nothing is kept."""

    format: str
    nbytes: int = 0


class ComponentRecord(Record, frozen=True):
    """`ir.model.Model`, as far as it is not tensors.

    Attributes:
        graph: whether there is one, as `w2e.graph/` + the component's name.
        metadata: see `values`. tokenizer: see `vocabulary`. What is too large for the header is in the file
            as a tensor of text, and here is that tensor's name.
    """

    tensors: tuple[TensorRecord, ...] = ()
    encodings: tuple[EncodingRecord, ...] = ()
    graph: bool = False
    activations: dict[str, ActivationRecord] = {}
    kv: tuple[CacheRecord, ...] = ()
    numerics: str = "float"
    kind: str = "model"
    architecture: Json | None = None
    tokenizer: str | Json | None = None
    metadata: str | Json = {}
    hints: Json = {}
    calibration_mode: str = ""
    calibration: Json = {}
    contract: tuple[Json, ...] = ()
    lineage: tuple[Json, ...] = ()
    remarks: tuple[RemarkRecord, ...] = ()
    origin: OriginRecord | None = None


class Manifest(Record, frozen=True):
    """All of a file that is not arrays.

    Attributes:
        w2e: version of the schema.
        components: the networks by name; "model" is the one that is meant where none is named.
        must_understand: features without which the file is misunderstood; there are none yet.
    """

    w2e: int
    components: dict[str, ComponentRecord]
    must_understand: tuple[str, ...] = ()


def to_text(record: Record) -> str:
    """A record as canonical JSON."""
    return jcs.dumps(msgspec.to_builtins(record))


def from_text(text: str | bytes, kind: type[_T]) -> _T:
    """A record out of JSON that nobody vouches for.

    Raises:
        ValueError: no JSON, or not of the schema; one sentence.
    """
    return from_json(jcs.loads(text), kind)


def from_json(value: object, kind: type[_T]) -> _T:
    """A record out of plain data; `ValueError` where it is not of the schema."""
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from error
