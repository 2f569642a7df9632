"""Values of trtexec's options: shapes, types of layers, sizes of pools.

Grammar: NVIDIA/TensorRT samples/common/sampleOptions.cpp (`splitNameAndValue`, `processShapes`): a list is split at
its commas, quoted or not; a name ends at the last colon, or is the text between two single quotes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from w2e_tensorrt.hints.flags import PRECISIONS, TYPES

Shapes = dict[str, dict[str, list[int]]]
"""An optimization profile: input to its least, usual and largest extents."""

ENDS = ("min", "opt", "max")
LARGEST_EXTENT = (1 << 31) - 1


class SpecError(ValueError):
    """A value that is not of the grammar; whoever reads the file adds the place.

    Attributes:
        line: of the file, where it is known; else 0.
    """

    line = 0


def items(text: str) -> list[str]:
    """The items of a list; empty ones are left out, as trtexec does."""
    return [item for item in text.split(",") if item]


def pairs(text: str) -> dict[str, str]:
    """Names and values of a list; later ones override earlier ones.

    Raises:
        SpecError: an item without a name or a value.
    """
    found: dict[str, str] = {}
    for item in items(text):
        name, value = _pair(item)
        found.pop(name, None)  # the order of wildcards is the order of what was said last
        found[name] = value
    return found


def _pair(item: str) -> tuple[str, str]:
    parts = item.split("'")
    if len(parts) == 3:
        name, value = parts[0] + parts[1], parts[2].removeprefix(":")
    elif len(parts) == 1:
        name, _, value = item.rpartition(":")
    else:
        raise SpecError(
            f"expected two single quotes or none, found {len(parts) - 1} in '{item[:60]}'"
        )
    if not name or not value:
        raise SpecError(f"expected 'name:value', found '{item[:60]}'")
    return name, value


def typed(text: str) -> dict[str, str]:
    """Layers and the types of their results, or the one that they compute with.

    Raises:
        SpecError: no such list, or a type that TensorRT does not have.
    """
    found = pairs(text)
    for name, value in found.items():
        for kind in value.split("+"):
            if kind not in TYPES:
                known = ", ".join(sorted(TYPES))
                raise SpecError(f"'{name[:60]}': no type '{kind[:40]}' (there are {known})")
    return found


def extents(text: str) -> list[int]:
    """A shape: "1x3x224x224", or "scalar".

    Raises:
        SpecError: not of that form, or out of range.
    """
    if text == "scalar":
        return []
    found = [whole(part) for part in text.split("x")]
    if any(not 0 <= extent <= LARGEST_EXTENT for extent in found):
        raise SpecError(f"no shape: '{text[:60]}'")
    return found


def whole(text: str) -> int:
    """A whole number.

    Raises:
        SpecError: it is none, or has more digits than any that is meant.
    """
    if len(text) > 20:
        raise SpecError(f"expected a whole number, found '{text[:30]}…'")
    try:
        return int(text)
    except ValueError as error:
        raise SpecError(f"expected a whole number, found '{text}'") from error


def sides(text: str) -> dict[str, list[int]]:
    """One end of a profile: inputs and their shapes."""
    return {name: extents(value) for name, value in pairs(text).items()}


def profile(given: Mapping[str, Mapping[str, list[int]]]) -> Shapes:
    """A profile of the ends that are given: what is missing is the usual, else the largest, else the least.

    Args:
        given: end to what `sides` reads.
    """
    order = [end for end in ("opt", "max", "min") if end in given]
    shapes: Shapes = {}
    for name in dict.fromkeys(n for end in ENDS if end in given for n in given[end]):
        here = {end: given[end][name] for end in order if name in given[end]}
        spare = next(iter(here.values()))
        shapes[name] = {end: here.get(end, spare) for end in ENDS}
    return shapes


def checked(profiles: Iterable[Shapes]) -> list[Shapes]:
    """Profiles, of which each shape has as many extents as the others of its input, none smaller than the least.

    Raises:
        SpecError: one that has not.
    """
    found = [shapes for shapes in profiles if shapes]
    for shapes in found:
        for name, ends in shapes.items():
            if len({len(ends[end]) for end in ENDS}) > 1:
                raise SpecError(f"'{name[:60]}': shapes of different ranks")
            low, usual, high = (ends[end] for end in ENDS)
            if any(not a <= b <= c for a, b, c in zip(low, usual, high, strict=True)):
                raise SpecError(f"'{name[:60]}': expected min <= opt <= max")
    return found


def matching(pattern: str, names: Iterable[str]) -> Iterator[str]:
    """The names that a name with one "*" stands for (`matchStringWithOneWildcard`)."""
    head, star, tail = pattern.partition("*")
    for name in names:
        whole_name = name == pattern
        fits = len(name) >= len(head) + len(tail) and name.startswith(head) and name.endswith(tail)
        if whole_name or (star and fits):
            yield name


def precisions(modes: Mapping[str, list[str]], value: str) -> dict[str, object]:
    """The hint of a mode: what may be computed with beside float32, nothing of a mode of floats.

    Raises:
        SpecError: no such mode.
    """
    if value not in modes:
        raise SpecError(f"expected one of {', '.join(modes)}, found '{value[:40]}'")
    return {PRECISIONS: list(modes[value])} if modes[value] else {}
