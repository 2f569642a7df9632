"""Arguments of trtexec: a file with one option a line, a command of a shell, or the bare value of `--layerPrecisions`.

Grammar: NVIDIA/TensorRT samples/common/sampleOptions.cpp (`argsToArgumentsMap`: `--name` or `--name=value`). An
option given twice makes trtexec stop; here it is an error as well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.ir.model import Remark
from w2e_tensorrt.hints import specs
from w2e_tensorrt.hints.flags import BY_NAME, PRECISION_SWITCHES, PRECISIONS, Flag, Form
from w2e_tensorrt.hints.specs import SpecError
from w2e_tensorrt.hints.text import Said
from w2e_tensorrt.ranges import Line

FORM = "trtexec"
PROGRAMS = ("trtexec", "trtexec.exe", "tensorrt_rtx", "tensorrt_rtx.exe")
"""Names of the program; the last two are that of TensorRT-RTX, with the same options for what both have."""

ENDS_COMMAND = re.compile(r"[|;&]+|\d?>.*")
"""What ends the arguments in a shell."""

SEVERAL = re.compile(r"\s--[A-Za-z]")
"""Where a further option begins on a line."""

SHAPES = {"--minShapes": "min", "--optShapes": "opt", "--maxShapes": "max"}
LONGEST = 1 << 21
"""Characters of a command: more than Linux hands to a program."""

REMOTE = "--remoteAutoTuningConfig"
TYPED = frozenset({"layer_precisions", "layer_output_types"})
Token = tuple[int, str]


def read(path: Path, text: str) -> Said:
    """The hints of a file of arguments.

    Raises:
        FormatError: a line that trtexec would not take; says its number.
    """
    if len(text) > LONGEST:
        raise FormatError(Where(path=path), "longer than a command can be")
    words = [(n, w) for n, line in enumerate(text.splitlines(), 1) for w in _words(path, n, line)]
    if words and not any(w.startswith("-") or _program(w) for _, w in words):
        return _bare(path, text)
    tokens = list(_options(path, words))
    found = _Arguments(path=path)
    for number, word in tokens:
        try:
            found.take(word)
        except SpecError as error:
            raise Line(path=path, number=number).error(
                f"{word.partition('=')[0]}: {error}"
            ) from error
    try:
        return found.said()
    except SpecError as error:
        raise Line(path=path, number=found.shapes_line(tokens)).error(str(error)) from error


def _options(path: Path, words: list[Token]) -> Iterator[Token]:
    """The options of a command, each with its line."""
    start = next((i + 1 for i, (_, word) in enumerate(words) if _program(word)), 0)
    for number, word in words[start:]:
        if ENDS_COMMAND.fullmatch(word):
            return
        place = Line(path=path, number=number)
        if _program(word):
            raise place.error("a second command in one file")
        if not word.startswith("-"):
            hint = "options are said --name=value"
            raise place.error(f"expected an option, found '{word[:60]}'", hint)
        yield number, word


def _program(word: str) -> bool:
    return not word.startswith("-") and PurePosixPath(word).name in PROGRAMS


def _words(path: Path, number: int, line: str) -> list[str]:
    """The words of a line; of one that holds a single option, the line as it is."""
    stripped = re.sub(r"(^|\s)[\\^`]$", "", line.strip()).strip()
    if not stripped or stripped.startswith("#"):
        return []
    if stripped.startswith("--") and not SEVERAL.search(stripped):
        return [stripped]
    if not stripped.startswith("-") and "--" not in stripped and ":" in stripped:
        return [stripped]
    try:
        return shlex.split(stripped, comments=True)
    except ValueError as error:
        raise Line(path=path, number=number).error(f"not readable as a command: {error}") from error


def _bare(path: Path, text: str) -> Said:
    """The value of `--layerPrecisions` alone, as qdq-translator's `*_layer_arg.txt` has it."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.strip().startswith("#"):
            try:
                found |= specs.typed(line.strip())
            except SpecError as error:
                raise Line(path=path, number=number).error(
                    f"no argument of trtexec: {error}"
                ) from error
    return Said(form=FORM, hints={"layer_precisions": found} if found else {})


@dataclass(slots=True, kw_only=True)
class _Arguments:
    """What the options of a command say.

    Attributes:
        path: of the file.
        hints: by the keys of their table, others by their own names.
        profiles: by number; without `--profile` there is one, number 0.
        current: number of the profile that the next shapes belong to.
    """

    path: Path
    hints: dict[str, object] = field(default_factory=dict)
    profiles: dict[int, dict[str, dict[str, list[int]]]] = field(default_factory=dict)
    current: int = 0
    remarks: list[Remark] = field(default_factory=list)
    inference: dict[str, list[int]] = field(default_factory=dict)

    def take(self, word: str) -> None:
        """One option."""
        name, equals, value = word.partition("=")
        special = _SPECIAL.get(name)
        if special is not None:
            special(self, name, value)
        elif name in BY_NAME:
            self._known(BY_NAME[name], value)
        else:
            self._other(name, value if equals else True)

    def _known(self, flag: Flag, value: str) -> None:
        if flag.form is not Form.SWITCH and not value:
            raise SpecError(f"expected {flag.form.value}")
        if flag.form is Form.REPEATED:
            before = self.hints.setdefault(flag.key, [])
            assert isinstance(before, list)
            before.append(value)
            return
        if flag.key in self.hints:
            raise SpecError("given twice")
        typed = flag.key in TYPED
        self.hints[flag.key] = specs.typed(value) if typed else _FORMS[flag.form](value)

    def _other(self, name: str, value: object) -> None:
        before = self.hints.get(name)
        if before is None:
            self.hints[name] = value
        elif isinstance(before, list):
            before.append(value)
        else:
            self.hints[name] = [before, value]

    def precision(self, name: str, value: str) -> None:
        """A type that the builder may choose."""
        del value
        kinds = self.hints.setdefault(PRECISIONS, [])
        assert isinstance(kinds, list)
        if name[2:] in kinds:
            raise SpecError("given twice")
        kinds.append(name[2:])

    def shapes(self, name: str, value: str) -> None:
        """One end of the current profile."""
        ends = self.profiles.setdefault(self.current, {})
        if SHAPES[name] in ends:
            raise SpecError("a second one without --profile before it")
        ends[SHAPES[name]] = specs.sides(value)

    def profile(self, name: str, value: str) -> None:
        """The profile that the next shapes belong to."""
        del name
        self.current = specs.whole(value)
        if not 0 <= self.current < 1024:
            raise SpecError(f"no number of a profile: {self.current}")
        if self.current in self.profiles:
            raise SpecError(f"profile {self.current} a second time")

    def run_shapes(self, name: str, value: str) -> None:
        """Shapes of a run: the first profile gets them where nothing else says its inputs' shapes."""
        del name
        self.inference = specs.sides(value)

    def workspace(self, name: str, value: str) -> None:
        """The size of the workspace in MiB, as releases up to 8 said it."""
        del name
        pools = self.hints.setdefault("memory_pools", {})
        assert isinstance(pools, dict)
        pools.setdefault("workspace", f"{specs.whole(value)}M")

    def pools(self, name: str, value: str) -> None:
        """Sizes of pools."""
        before = self.hints.pop("memory_pools", {})
        self._known(BY_NAME[name], value)
        now = self.hints["memory_pools"]
        assert isinstance(before, Mapping)
        assert isinstance(now, Mapping)
        self.hints["memory_pools"] = {**before, **now}

    def secret(self, name: str, value: str) -> None:
        """An address with a password in it stays where it is."""
        del value
        self.remarks.append(Remark(name=name, reason="left out: it may hold a password"))

    def said(self) -> Said:
        """All of it."""
        profiles = [specs.profile(self.profiles[number]) for number in sorted(self.profiles)]
        if self.inference:
            first = profiles[0] if profiles else {}
            missing = {n: s for n, s in self.inference.items() if n not in first}
            more = specs.profile({"opt": missing})
            profiles[:1] = [{**first, **more}]
        known = specs.checked(profiles)
        hints = {"shape_profiles": known, **self.hints} if known else self.hints
        return Said(form=FORM, hints=hints, remarks=tuple(self.remarks))

    @staticmethod
    def shapes_line(tokens: list[Token]) -> int:
        """The line where the shapes of the first profile begin."""
        return next(number for number, word in tokens if "hapes=" in word)


_Special = Callable[[_Arguments, str, str], None]
_SPECIAL: Mapping[str, _Special] = {
    **dict.fromkeys(PRECISION_SWITCHES, _Arguments.precision),
    **dict.fromkeys(SHAPES, _Arguments.shapes),
    "--profile": _Arguments.profile,
    "--shapes": _Arguments.run_shapes,
    "--workspace": _Arguments.workspace,
    "--memPoolSize": _Arguments.pools,
    REMOTE: _Arguments.secret,
}

_FORMS: Mapping[Form, Callable[[str], object]] = {
    Form.TEXT: str,
    Form.NUMBER: specs.whole,
    Form.SWITCH: lambda _: True,
    Form.ITEMS: specs.items,
    Form.PAIRS: specs.pairs,
}
