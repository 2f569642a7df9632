"""Whose rows an array holds: the names of arrays, and the manifest that tells what they were made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from w2e_bridge.ir.model import Remark
from w2e_bridge.ir.tensor import ComputedStorage, Tensor

KEY = "w2e.manifest"
"""Of the model's metadata; `write` puts it there."""

SUFFIXES = (
    ".high.codes", ".low.codes", ".high.rows", ".low.rows", ".codes", ".rows",  # ours
    "_Q2", "_Q4", "_Q8", "_quantized",  # onnxruntime's quantizer and the model builder of genai
)  # fmt: skip
"""What writers put behind a weight's name for its codes."""


def base_name(codes: str) -> str:
    """The weight's name from that of its codes."""
    suffix = next((s for s in SUFFIXES if codes.endswith(s) and codes != s), "")
    return codes.removesuffix(suffix)


def sliced(tensor: Tensor, name: str, start: int, stop: int) -> Tensor:
    """Rows [start, stop) of a tensor under a name of their own."""
    if (start, stop) == (0, tensor.rows):
        return replace(tensor, name=name)
    whole = tensor.storage
    storage = ComputedStorage(compute=lambda a, b: whole.parts(start + a, start + b))
    return replace(tensor, name=name, shape=(stop - start, *tensor.shape[1:]), storage=storage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Which rows of which array are which tensor of the source.

    Attributes:
        tensors: name of a tensor to (base name of the array, first row, row after the last).
        remarks: why it was not understood.
    """

    tensors: Mapping[str, tuple[str, int, int]] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    def rows_of(self, base: str, rows: int) -> list[tuple[str, int, int]]:
        """(tensor, start, stop) that cover the rows of an array one after another; [] if they don't."""
        own = sorted(
            (start, stop, name) for name, (at, start, stop) in self.tensors.items() if at == base
        )
        covered = 0
        for start, stop, _ in own:
            if start != covered:
                return []
            covered = stop
        return [(name, start, stop) for start, stop, name in own] if covered == rows else []

    def renamed(self) -> Iterator[str]:
        """Base names of arrays that are not called as the one tensor that they hold."""
        yield from dict.fromkeys(
            base for name, (base, _, _) in self.tensors.items() if base != name
        )


def manifest(text: str | None) -> Manifest:
    """The manifest in a model's metadata; what can't be understood is left alone, with a remark."""
    if text is None:
        return Manifest()
    try:
        document = json.loads(text)
        entries = dict(_entries(document["tensors"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        reason = "not understood: tensors keep the names of their arrays"
        return Manifest(remarks=(Remark(name=KEY, reason=reason),))
    return Manifest(tensors=entries)


def _entries(tensors: object) -> Iterator[tuple[str, tuple[str, int, int]]]:
    if not isinstance(tensors, dict):
        raise TypeError
    for name, entry in tensors.items():
        base, (start, stop) = entry["initializer"], entry["rows"]
        if not isinstance(base, str) or type(start) is not int or type(stop) is not int:
            raise TypeError
        if not 0 <= start < stop:
            raise ValueError
        yield name, (base, start, stop)
