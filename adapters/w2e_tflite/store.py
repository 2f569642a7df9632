"""The parts that all subgraphs of a file in the making share: buffers, operator codes, what the model says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from w2e_bridge.formats.output import Job
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.scope import Scope
from w2e_tflite.builder import Later
from w2e_tflite.container import CUSTOM
from w2e_tflite.names import Names
from w2e_tflite.packing import SMALL, nbytes_of, place_of, weight_job, whole
from w2e_tflite.record import Record, make
from w2e_tflite.schema import operator_number
from w2e_tflite.sparsity import Pattern

_NARROW = 127
"""Operators beyond do not fit the field of old readers, which then has this number (schema_utils.cc)."""


@dataclass(slots=True, kw_only=True, eq=False)
class Store:
    """A file in the making.

    Attributes:
        buffers: of the file; the first is the empty one.
        small: data that is in memory.
        large: weights that are written later.
        codes: operator codes by (kind, version).
        subgraphs: of the file.
    """

    buffers: list[Record] = field(default_factory=lambda: [make("Buffer", {})])
    small: list[tuple[Later, bytes]] = field(default_factory=list)
    large: list[tuple[Later, Tensor]] = field(default_factory=list)
    codes: dict[tuple[str, int], int] = field(default_factory=dict)
    subgraphs: list[Record] = field(default_factory=list)
    _known: dict[object, int] = field(default_factory=dict)

    def data(self, data: bytes) -> int:
        """The buffer of some bytes, the same for equal ones."""
        key = (len(data), hashlib.blake2b(data, digest_size=16).digest())
        return self._add(key, len(data), data)

    def weights(self, tensor: Tensor) -> int:
        """The buffer of a constant."""
        if nbytes_of(tensor) <= SMALL:
            return self.data(whole(tensor))
        return self._add(place_of(tensor) or tensor.name, nbytes_of(tensor), tensor)

    def _add(self, key: object, nbytes: int, content: bytes | Tensor) -> int:
        if key not in self._known:
            later = Later(nbytes=nbytes)
            self._known[key] = len(self.buffers)
            self.buffers.append(make("Buffer", {"data": later}))
            if isinstance(content, bytes):
                self.small.append((later, content))
            else:
                self.large.append((later, content))
        return self._known[key]

    def code(self, kind: str, version: int) -> int:
        """The number of an operator's code."""
        return self.codes.setdefault((kind, version), len(self.codes))

    def code_records(self) -> list[Record]:
        """The table of operator codes."""
        return [_code(kind, version) for kind, version in self.codes]

    def jobs(self, places: Mapping[int, int]) -> list[Job]:
        """What writes the weights, given where each goes."""
        return [weight_job(tensor, places[id(later)]) for later, tensor in self.large]


def _code(kind: str, version: int) -> Record:
    custom = kind.startswith(CUSTOM)
    number = operator_number("CUSTOM" if custom else kind.upper())
    return make(
        "OperatorCode",
        {
            "deprecated_builtin_code": min(number, _NARROW),
            "custom_code": kind.removeprefix(CUSTOM) if custom else None,
            "version": version,
            "builtin_code": number,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """The model that is written.

    Attributes:
        tensors: constants by name, as they will be stored.
        values: quantization of graph values by name.
        patterns: of sparse constants by name.
        names: that are taken.
    """

    tensors: Mapping[str, Tensor]
    values: Mapping[str, ActivationQuantization]
    patterns: Mapping[str, Pattern]
    names: Names

    @property
    def scope(self) -> Scope:
        """For the kernels."""
        return Scope(tensors=self.tensors, values=self.values)


def vector(numbers: object) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Numbers as a vector of a file."""
    return np.asarray(numbers, np.int32).reshape(-1)
