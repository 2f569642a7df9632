"""`hf_quant_config.json` of Model-Optimizer, or its copy in a `config.json`: how a checkpoint is quantized.

The tensors are in the checkpoint's own files; what they mean to TensorRT is the table of `modelopt`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict

from w2e_bridge.ir.model import MetadataValue, Remark
from w2e_tensorrt.hints import modelopt
from w2e_tensorrt.hints.text import Document, Said

FORM = "hf_quant_config"
INSIDE, MIRROR = "quantization", "quantization_config"
CACHES: Mapping[tuple[object, object], str] = {("float", 8): "FP8", ("float", 4): "NVFP4"}
"""`kv_cache_scheme` of the copy: type and bits to the algorithm's name."""


def is_one(values: Mapping[str, object]) -> bool:
    """Whether a JSON object is of this kind."""
    inside, mirror = values.get(INSIDE), values.get(MIRROR)
    whole = isinstance(inside, dict) and "quant_algo" in inside
    copy = isinstance(mirror, dict) and str(mirror.get("quant_method")).startswith("modelopt")
    return whole or copy


def read(document: Document) -> Said:
    """The quantization that a checkpoint says it has.

    Raises:
        FormatError: a field of another type than the exporter writes.
    """
    found = document.mapping(INSIDE if INSIDE in document.values else MIRROR)
    producer = (found if "producer" in found.values else document).mapping("producer")
    algorithm = found.text("quant_algo", "") if found.values.get("quant_algo") else ""
    said: dict[str, object] = {"quant_algo": algorithm}
    if cache := _cache(found):
        said["kv_cache_quant_algo"] = cache
    if group := _group(found, algorithm):
        said["group_size"] = group
    for key in ("has_zero_point", "pre_quant_scale"):
        if isinstance(found.values.get(key), bool):
            said[key] = found.values[key]
    excluded = found.names("exclude_modules") or found.names("ignore")
    if excluded:
        said["exclude_modules"] = excluded
    layers = dict(_layers(found.mapping("quantized_layers")))
    if layers:
        said["quantized_layers"] = layers
    hints: dict[str, object] = {"quantization": said}
    metadata: dict[str, MetadataValue] = {
        f"producer.{k}": str(v) for k, v in producer.values.items()
    }
    return Said(form=FORM, hints=hints, metadata=metadata, remarks=tuple(_unknown(said)))


def _cache(found: Document) -> str:
    if isinstance(found.values.get("kv_cache_quant_algo"), str):
        return found.text("kv_cache_quant_algo")
    scheme = found.mapping("kv_cache_scheme").values
    return CACHES.get((str(scheme.get("type")), _whole(scheme.get("num_bits"))), "")


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _group(found: Document, algorithm: str) -> int:
    """The size of a group; where nothing is said, the algorithm's own."""
    said = found.values.get("group_size")
    if said is not None and (not _whole(said) or _whole(said) < 0):
        if said == 0 and not isinstance(said, bool):
            return 0
        raise found.error("group_size", f"expected a positive number, found {str(said)[:40]!r}")
    known = modelopt.ALGORITHMS.get(algorithm)
    return _whole(said) or (known.group if known else 0)


def _layers(rows: Document) -> Iterator[tuple[str, dict[str, object]]]:
    for name in rows.values:
        row = rows.mapping(name)
        algorithm = row.text("quant_algo")
        group = _group(row, algorithm)
        yield name, {"quant_algo": algorithm, **({"group_size": group} if group else {})}


def _algorithms(said: Mapping[str, object]) -> list[str]:
    layers = said.get("quantized_layers")
    rows = layers.values() if isinstance(layers, dict) else []
    named = [str(said["quant_algo"]), *(str(row["quant_algo"]) for row in rows)]
    return [name for name in dict.fromkeys(named) if name and name != modelopt.MIXED]


def _unknown(said: Mapping[str, object]) -> Iterator[Remark]:
    for name in _algorithms(said):
        if name not in modelopt.ALGORITHMS:
            yield Remark(name=name, reason="an algorithm that is not known here")
    yield Remark(name="tensors", reason="in the checkpoint's own files, which are not read here")


def meaning(said: Mapping[str, object]) -> Mapping[str, object]:
    """What the tensors of the checkpoint hold, for each algorithm that the file names.

    Args:
        said: the hint "quantization".
    """
    rows: dict[str, object] = {}
    for name in _algorithms(said):
        known = modelopt.ALGORITHMS.get(name)
        if known is not None:
            rows[name] = f"weights {known.weights}; activations {known.activations}"
            rows[f"{name} tensors"] = [asdict(part) for part in known.parts]
    cache = str(said.get("kv_cache_quant_algo", ""))
    caches = [asdict(part) for part in modelopt.parts("", cache)]
    return rows | ({f"{cache} cache": caches} if caches else {})
