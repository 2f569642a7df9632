"""Optimization profiles: for each input with a free dimension its least, usual and largest shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from w2e_tensorrt.hints.specs import ENDS, LARGEST_EXTENT, Shapes, matching

PROFILES, BATCH, INPUTS = "shape_profiles", "max_batch_size", "input_shapes"
"""Hints: profiles as they are, the largest batch, and shapes without it by input ("*": of any)."""

LARGEST = {"batch": 8, "sequence": 512}
"""Default upper ends of free dimensions; 2 × `OTHER` of those that are called otherwise."""
OTHER = 256
DEFAULT_BATCH, DEFAULT_SEQUENCE = 1, 128
APPLIED, IGNORED, UNSUPPORTED = "applied", "ignored", "unsupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """The profiles of a model.

    Attributes:
        profiles: to be written.
        used: hints that had a part in them.
        left: inputs of given profiles that the graph does not have, or not in such a shape.
    """

    profiles: list[Shapes]
    used: frozenset[str]
    left: tuple[str, ...]

    def effects(self, key: str) -> Iterator[tuple[str, str]]:
        """What became of one of the hints."""
        spare = UNSUPPORTED if key == PROFILES else IGNORED
        yield key, APPLIED if key in self.used else spare
        if key == PROFILES and key in self.used:
            yield from ((f"{key}[{name}]", UNSUPPORTED) for name in self.left)


def profiles_of(hints: Mapping[str, object], graph: ir.Graph) -> Profiles:
    """Profiles of the hints, completed by defaults.

    Args:
        hints: of the model.
        graph: as it is written.
    """
    used: set[str] = set()
    profiles, left = [], []
    for given in _given(hints.get(PROFILES)):
        shapes, missing = _fitting(given, graph)
        left += missing
        if shapes:
            profiles.append({**shapes, **_default(graph, hints, used, shapes)})
            used.add(PROFILES)
    default = {} if profiles else _default(graph, hints, used, {})
    return Profiles(
        profiles=profiles or ([default] if default else []),
        used=frozenset(used),
        left=tuple(dict.fromkeys(left)),
    )


def _given(found: object) -> list[dict[str, dict[str, list[int]]]]:
    """Profiles of a hint, which comes from wherever: what is not of the form is left out."""
    rows = found if isinstance(found, list | tuple) else [found]
    profiles = []
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        shapes = {str(name): ends for name, said in row.items() if (ends := _ends_of(said))}
        if shapes:
            profiles.append(shapes)
    return profiles


def _ends_of(said: object) -> dict[str, list[int]] | None:
    if not isinstance(said, Mapping):
        return None
    ends = {end: _whole(said.get(end)) for end in ENDS}
    found = {end: extents for end, extents in ends.items() if extents is not None}
    return found if len(found) == len(ENDS) else None


def _whole(said: object) -> list[int] | None:
    if not isinstance(said, list | tuple):
        return None
    plain = all(isinstance(n, int) and not isinstance(n, bool) for n in said)
    return [int(n) for n in said] if plain and all(0 <= n <= LARGEST_EXTENT for n in said) else None


def _fitting(given: Shapes, graph: ir.Graph) -> tuple[Shapes, list[str]]:
    """The shapes of a profile that fit inputs of the graph, and the names of the others."""
    inputs = {value.name or "": value for value in graph.inputs}
    shapes: Shapes = {}
    left: list[str] = []
    for pattern, ends in given.items():
        names = [n for n in matching(pattern, inputs) if _fits(ends, inputs[n])]
        shapes |= dict.fromkeys(names, ends)
        left += [] if names else [pattern]
    return shapes, left


def _fits(ends: Mapping[str, list[int]], value: ir.Value) -> bool:
    """Whether every shape is one that the input can have, and they grow."""
    if any(not a <= b <= c for a, b, c in zip(*(ends[end] for end in ENDS), strict=False)):
        return False
    if value.shape is None:
        return True
    fixed = [(axis, n) for axis, n in enumerate(value.shape) if isinstance(n, int)]
    return all(
        len(shape) == len(value.shape) and all(shape[axis] == n for axis, n in fixed)
        for shape in ends.values()
    )


def _default(graph: ir.Graph, hints: Mapping[str, object], used: set[str], given: Shapes) -> Shapes:
    """A profile for every further input with a free dimension; none where all are fixed.

    Args:
        graph: its inputs.
        hints: the largest batch and shapes are looked at.
        used: the hints that were of use are added.
        given: inputs that have shapes already: a dimension of the same name is the same for all.
    """
    shapes: Shapes = {}
    named = dict(_named(given, graph))
    batch = hints.get(BATCH)
    largest = batch if isinstance(batch, int) and not isinstance(batch, bool) and batch > 0 else 0
    for value in graph.inputs:
        if value.name in given or value.shape is None or all(map(_fixed, value.shape)):
            continue
        known = _known(value, hints.get(INPUTS))
        extents = []
        for axis, extent in enumerate(value.shape):
            ends = named.get(_symbol(extent)) or _ends(extent, axis)
            if _fixed(extent) or _symbol(extent) in named:
                pass
            elif axis == 0 and largest:
                ends = (1, largest, largest)
                used.add(BATCH)
            elif axis and known and known[axis - 1] > 0:
                ends = (known[axis - 1],) * 3
                used.add(INPUTS)
            extents.append(ends)
        low, usual, high = (list(column) for column in zip(*extents, strict=True))
        shapes[value.name or ""] = {"min": low, "opt": usual, "max": high}
    return shapes


def _fixed(extent: object) -> bool:
    return isinstance(extent, int)


def _symbol(extent: object) -> str:
    """The name of a free dimension, or nothing."""
    return "" if _fixed(extent) else str(getattr(extent, "value", extent) or "")


def _named(given: Shapes, graph: ir.Graph) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """What given shapes say of dimensions that have names."""
    for value in graph.inputs:
        ends = given.get(value.name or "")
        if ends is not None and value.shape is not None:
            columns = zip(*(ends[end] for end in ENDS), strict=True)
            for extent, (low, usual, high) in zip(value.shape, columns, strict=True):
                if _symbol(extent):
                    yield _symbol(extent), (low, usual, high)


def _known(value: ir.Value, hint: object) -> list[int]:
    """An input's shape without its batch, where a hint knows one that fits; -1 of a free extent."""
    if not isinstance(hint, Mapping) or value.shape is None:
        return []
    said = hint.get(value.name or "", hint.get("*"))
    rank = len(value.shape) - 1
    plain = isinstance(said, list | tuple) and len(said) == rank
    if not plain or not all(isinstance(n, int) and not isinstance(n, bool) for n in said):
        return []
    fits = zip(said, list(value.shape)[1:], strict=True)
    return list(said) if all(not isinstance(d, int) or n in (d, -1) for n, d in fits) else []


def _ends(extent: object, axis: int) -> tuple[int, int, int]:
    if isinstance(extent, int):
        return extent, extent, extent
    said = str(getattr(extent, "value", extent) or "").lower()
    if "past" in said:
        return 0, DEFAULT_SEQUENCE, LARGEST["sequence"]
    if "total" in said:
        return 1, 2 * DEFAULT_SEQUENCE, 2 * LARGEST["sequence"]
    if "seq" in said or "length" in said:
        return 1, DEFAULT_SEQUENCE, LARGEST["sequence"]
    if axis == 0 or "batch" in said:
        return 1, DEFAULT_BATCH, LARGEST["batch"]
    return 1, OTHER, 2 * OTHER
