"""Models in several files: `NAME-00001-of-00003.gguf` and its fellows.

Names and keys: ggml-org/llama.cpp `tools/gguf-split` and `src/llama-model-loader.cpp`: all keys are
in the first part, each part has its own directory of tensors and its own data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.formats.source import Source
from w2e_gguf.container import Header, read_header

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"

_NAME = re.compile(r"(?P<stem>.*)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a model.

    Attributes:
        source: its bytes.
        header: what it says.
    """

    source: Source
    header: Header

    def number(self, key: str) -> int:
        """A key of the split, 0 where it is missing."""
        value = self.header.keys.get(key)
        if value is None:
            return 0
        if value.array or value.type.kind != "integer" or not isinstance(value.data, int):
            problem = f"expected a whole number, found {value.label}"
            raise self.source.error(value.offset, problem, tensor=key)
        return value.data


def read_parts(path: Path) -> tuple[Part, ...]:
    """The headers of all files of a model, the one with the keys first.

    Args:
        path: any of the files.

    Raises:
        FormatError: one of them can't be read, is missing, or does not belong to the others.
    """
    part = _read(path)
    count = part.number(COUNT)
    if count <= 1:
        return (part,)
    parts = tuple(
        part if other == path else _fellow(part, other, index, count)
        for index, other in enumerate(_names(part, path, count))
    )
    _check(parts)
    return parts


def _read(path: Path) -> Part:
    source = Source(path)
    return Part(source=source, header=read_header(source))


def _names(part: Part, path: Path, count: int) -> list[Path]:
    name = _NAME.fullmatch(path.name)
    number = part.number(NUMBER) + 1
    if name is None or (int(name["number"]), int(name["count"])) != (number, count):
        like = f"NAME-{number:05d}-of-{count:05d}.gguf"
        raise part.source.error(
            None,
            f"this is part {number} of {count}, but the file is not named {like}",
            "give all parts the names that they were made with, so that they can be found",
        )
    return [path.with_name(f"{name['stem']}-{i + 1:05d}-of-{count:05d}.gguf") for i in range(count)]


def _fellow(part: Part, path: Path, index: int, count: int) -> Part:
    if not path.is_file():
        problem = f"part {index + 1} of {count} is missing, which {part.source.path.name} needs"
        raise FormatError(Where(path=path), problem, "put all parts into one folder")
    fellow = _read(path)
    found = (fellow.number(NUMBER), fellow.number(COUNT))
    if found != (index, count):
        problem = f"expected part {index + 1} of {count}, found {found[0] + 1} of {found[1]}"
        raise fellow.source.error(None, problem, "the parts are of different models, or renamed")
    return fellow


def _check(parts: tuple[Part, ...]) -> None:
    """All tensors are there, each in one part."""
    homes: dict[str, Part] = {}
    for part in parts:
        for info in part.header.tensors:
            if info.name in homes:
                problem = f"the tensor is in {homes[info.name].source.path.name} as well"
                raise part.source.error(info.offset, problem, tensor=info.name)
            homes[info.name] = part
    expected = parts[0].number(TENSORS)
    if expected not in (0, len(homes)):
        problem = f"expected {expected} tensors in all parts, found {len(homes)}"
        raise parts[0].source.error(None, problem, "the parts are of different models")
