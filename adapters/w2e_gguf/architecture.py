"""`ir.architecture.Architecture` out of a file's keys, by the table of `keys`.

A key that the table does not know, or whose value is not one that it lets pass, is named in
`extra["unrecognised"]` (joined with commas): whoever builds a graph must refuse a network that has
it. Likewise an entry of `extra` that its family does not know. `extra["norm"]` is "rms" or "layer".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from w2e_bridge.formats.source import Source
from w2e_bridge.ir.architecture import Architecture, Rope
from w2e_bridge.ir.model import Remark
from w2e_gguf.container import TensorInfo
from w2e_gguf.keys import DENSE_FIRST, KEYS, UNPREFIXED, Key, Use
from w2e_gguf.names import execution_order, roles
from w2e_gguf.values import Strings, Value

ARCHITECTURE = "general.architecture"
UNRECOGNISED = "unrecognised"

_REQUIRED = ("layers", "hidden", "context")
_MOST_LAYERS = 1 << 12
_LONGEST_FAMILY = 64
_LARGEST = (1 << 31) - 1
_SCALINGS = ("none", "linear", "yarn", "longrope")
_NAMES = {row.target: name for name, row in KEYS.items() if row.target}


@dataclass(slots=True, kw_only=True)
class _Found:
    """What the keys of a family say, sorted by where it goes."""

    source: Source
    family: str
    fields: dict[str, Any] = field(default_factory=dict)
    rope: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, float | int | str | bool] = field(default_factory=dict)
    unrecognised: dict[str, str] = field(default_factory=dict)

    def layered(self, name: str, fallback: int) -> tuple[int, ...]:
        """A value for each layer."""
        layers: int = self.fields["layers"]
        value = self.fields.get(name, fallback)
        if not isinstance(value, list):
            return (value,) * layers
        if len(value) != layers:
            key = f"{self.family}.{_NAMES[name]}"
            problem = f"expected {layers} values, one for each layer, found {len(value)}"
            raise self.source.error(None, problem, tensor=key)
        return tuple(value)


def architecture_of(
    source: Source, keys: Mapping[str, Value], tensors: tuple[TensorInfo, ...]
) -> tuple[Architecture | None, tuple[Remark, ...]]:
    """The network that a file describes, or None where it doesn't; what of it is not understood.

    Raises:
        FormatError: a key has a value that it can't have.
    """
    name = keys.get(ARCHITECTURE)
    if name is None or not isinstance(name.data, str):
        return None, ()
    if not name.data.isprintable() or len(name.data) > _LONGEST_FAMILY:
        problem = f"not the name of an architecture: {name.data[:_LONGEST_FAMILY]!a}"
        raise source.error(name.offset, problem, tensor=ARCHITECTURE)
    found = _sorted(source, name.data, keys)
    missing = [f"{found.family}.{_NAMES[n]}" for n in _REQUIRED if n not in found.fields]
    if missing:
        reason = "missing, so the network's shape is not known"
        return None, tuple(Remark(name=key, reason=reason) for key in missing)
    layers = found.fields["layers"]
    if layers > _MOST_LAYERS:
        key = f"{found.family}.{_NAMES['layers']}"
        raise source.error(None, f"expected at most {_MOST_LAYERS}, found {layers}", tensor=key)
    result = _built(found, keys, tensors)
    remarks = tuple(Remark(name=k, reason=reason) for k, reason in found.unrecognised.items())
    return result, remarks


def _sorted(source: Source, family: str, keys: Mapping[str, Value]) -> _Found:
    found = _Found(source=source, family=family)
    for key, value in keys.items():
        if key in UNPREFIXED:
            found.unrecognised[key] = "an activation that is not supported"
        if not key.startswith(f"{family}."):
            continue
        row = KEYS.get(key.removeprefix(f"{family}."))
        if row is None:
            found.unrecognised[key] = "not known; it may change what the network computes"
        else:
            _sort(found, row, key, value)
    return found


def _sort(found: _Found, row: Key, key: str, value: Value) -> None:
    if row.use is Use.INFORMATION:
        return
    data = _data(found.source, row, key, value)
    if isinstance(data, list) and not row.per_layer:
        found.unrecognised[key] = "a value for each layer is not supported"
    elif row.use is Use.NEUTRAL:
        if row.neutral is None or data != row.neutral:
            found.unrecognised[key] = f"not supported: {row.reason}"
    elif row.neutral is None or data != row.neutral:
        place = {Use.FIELD: found.fields, Use.ROPE: found.rope, Use.EXTRA: found.extra}[row.use]
        place[row.target] = data


def _data(source: Source, row: Key, key: str, value: Value) -> Any:
    """The value, checked; of an array of equal values that one, of others a list."""
    if row.use is Use.NEUTRAL and row.neutral is None:
        return None
    kinds = {row.kind} | ({"bool"} if row.per_layer else set())
    kinds |= {"integer"} if row.kind == "float" else set()
    if value.type.kind not in kinds or isinstance(value.data, Strings):
        problem = f"expected a value of kind {row.kind}, found {value.label}"
        raise source.error(value.offset, problem, tensor=key)
    items = value.data.tolist() if isinstance(value.data, np.ndarray) else [value.data]
    for item in items:
        if not _sensible(row, item):
            raise source.error(value.offset, f"impossible value {item}", tensor=key)
    same = items and all(item == items[0] for item in items)
    return items[0] if same and not (value.array and row.per_layer) else items


def _sensible(row: Key, item: float | str) -> bool:
    if isinstance(item, str):
        return True
    low = -_LARGEST if row.kind == "float" else 0
    return math.isfinite(item) and low <= item <= _LARGEST


def _built(
    found: _Found, keys: Mapping[str, Value], tensors: tuple[TensorInfo, ...]
) -> Architecture:
    fields = found.fields
    heads = found.layered("heads", 0)
    kv_heads = found.layered("kv_heads", 0) if "kv_heads" in fields else heads
    head_size = fields["hidden"] // next((n for n in heads if n), fields["hidden"] + 1)
    epsilon = _norm(found)
    rope = _rope(found)
    pattern = _pattern(found)
    if found.unrecognised:
        found.extra[UNRECOGNISED] = ",".join(found.unrecognised)
    optional = (
        "attention_scale", "attention_softcap", "logit_softcap", "window", "embedding_scale",
        "residual_scale", "logit_scale",
    )  # fmt: skip
    return Architecture(
        family=found.family,
        source="gguf",
        layers=fields["layers"],
        hidden=fields["hidden"],
        intermediate=found.layered("intermediate", 0),
        heads=heads,
        kv_heads=kv_heads,
        head_size=fields.get("head_size", head_size),
        value_head_size=fields.get("value_head_size", head_size),
        vocabulary=_vocabulary(found, keys, tensors),
        context=fields["context"],
        norm_epsilon=epsilon,
        rope=rope,
        window_pattern=pattern,
        experts=fields.get("experts", 0),
        experts_used=fields.get("experts_used", 0),
        extra=found.extra,
        roles=roles(execution_order(info.name for info in tensors)),
        **{name: fields.get(name) for name in optional},
    )


def _vocabulary(found: _Found, keys: Mapping[str, Value], tensors: tuple[TensorInfo, ...]) -> int:
    """Rows of the embedding; where there is none, what the keys say."""
    for info in tensors:
        if info.name == "token_embd.weight" and len(info.shape) == 2:
            return info.shape[0]
    tokens = keys.get("tokenizer.ggml.tokens")
    count = len(tokens.data) if tokens is not None and isinstance(tokens.data, Strings) else 0
    said: int = found.fields.get("vocabulary", count)
    return said


def _norm(found: _Found) -> float:
    rms: float | None = found.fields.get("rms_epsilon")
    layer: float | None = found.fields.get("layer_epsilon")
    if rms is None and layer is None:
        missing = f"{found.family}.{_NAMES['rms_epsilon']}"
        found.unrecognised[missing] = "missing, and no other normalization is said"
        return 0.0
    if rms is None:
        found.extra["norm"] = "layer"
        return layer or 0.0
    found.extra["norm"] = "rms"
    if layer is not None:
        found.extra["layer_norm_epsilon"] = layer
    return rms


def _rope(found: _Found) -> Rope:
    """As llama.cpp reads it (`llama_model::load_hparams`): linear if no type is said; 0 is 1."""
    said = dict(found.rope)
    old = said.pop("old_factor", 1.0)
    factor = float(said.pop("factor", old))
    scaling = str(said.pop("scaling", "linear"))
    if scaling not in _SCALINGS:
        found.unrecognised[f"{found.family}.{_NAMES['scaling']}"] = f"'{scaling}' is not known"
    if scaling == "none" or (scaling == "linear" and factor == 1.0):
        scaling, factor = "none", 1.0
    return Rope(scaling=scaling, factor=factor, **said)


def _pattern(found: _Found) -> tuple[bool, ...] | None:
    """Which layers have a sliding window: said for each, or every so many layers one has not."""
    if "window_pattern" not in found.fields:
        return None
    period = found.fields["window_pattern"]
    if isinstance(period, list):
        return tuple(map(bool, found.layered("window_pattern", 0)))
    full = 0 if found.family in DENSE_FIRST else period - 1
    return tuple(not period or n % period != full for n in range(found.fields["layers"]))
