"""A model without its arrays as a record of the manifest, and back."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.ir.records import Calibration, Contract, Hints, Lineage
from w2e_bridge.protocol.architecture import architecture_json, architecture_of
from w2e_bridge.protocol.encodings import (
    Find,
    Tables,
    activation_of,
    activation_record,
    cache_of,
    cache_record,
)
from w2e_bridge.protocol.manifest import ComponentRecord, Json, OriginRecord, RemarkRecord
from w2e_bridge.protocol.values import metadata_json, metadata_of, number_json
from w2e_bridge.protocol.vocabulary import tokenizer_json, tokenizer_of

CANONICAL = "w2e"
"""Name of the format of the canonical file."""


def component_record(model: Model, tables: Tables) -> ComponentRecord:
    """All of a model but its tensors and graph.

    Args:
        model: the model; its own components are not looked at.
        tables: gets the look-up tables that are used.
    """
    return ComponentRecord(
        activations={k: activation_record(v, tables) for k, v in model.activations.items()},
        kv=tuple(cache_record(cache, tables) for cache in model.kv),
        numerics=model.numerics,
        kind=model.kind,
        architecture=None if model.architecture is None else architecture_json(model.architecture),
        tokenizer=tokenizer_json(model.tokenizer),
        metadata=metadata_json(model.metadata),
        hints=_json(model.hints.values),
        calibration_mode=model.calibration.mode,
        calibration=_json(model.calibration.values),
        contract=tuple(_json(item) for item in model.contract.items),
        lineage=tuple(_json(event) for event in model.lineage.events),
        remarks=tuple(RemarkRecord(name=r.name, reason=r.reason) for r in model.remarks),
        origin=_origin_record(model.origin),
    )


def _origin_record(origin: Origin | None) -> OriginRecord | None:
    """What a model was made from; a canonical file is only where it was kept."""
    first = origin.before if origin is not None and origin.format == CANONICAL else origin
    return None if first is None else OriginRecord(format=first.format, nbytes=first.nbytes)


def component_of(record: ComponentRecord, find: Find) -> Model:
    """A model without tensors and graph out of a record.

    Args:
        record: its texts must be JSON, not names of tensors.
        find: the numbers of a look-up table.

    Raises:
        ValueError: a field has a value that it can't have.
    """
    assert not isinstance(record.metadata, str)
    return Model(
        tensors={},
        activations={key: activation_of(value, find) for key, value in record.activations.items()},
        kv=tuple(cache_of(cache, find) for cache in record.kv),
        numerics=record.numerics,
        kind=record.kind,
        architecture=None if record.architecture is None else architecture_of(record.architecture),
        tokenizer=None if record.tokenizer is None else tokenizer_of(record.tokenizer),
        metadata=metadata_of(record.metadata),
        hints=Hints(values=record.hints),
        calibration=Calibration(mode=record.calibration_mode, values=record.calibration),
        contract=Contract(items=record.contract),
        lineage=Lineage(events=record.lineage),
        remarks=tuple(Remark(name=r.name, reason=r.reason) for r in record.remarks),
        origin=None
        if record.origin is None
        else Origin(format=record.origin.format, path="", nbytes=record.origin.nbytes),
    )


def _json(values: Mapping[str, object]) -> Json:
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return _json(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    known = value is None or isinstance(value, bool | int | float | str)
    return number_json(value) if known else str(value)
