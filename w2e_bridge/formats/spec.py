"""The record by which a format makes itself known, and what its functions are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from w2e_bridge.loss import Budget

LFS_POINTER = b"version https://git-lfs"
"""How the text file begins that stands in for a file which git-lfs has not fetched."""

OptionValue = str | bool | int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of one format that the command line renders, validates and passes on.

    Attributes:
        name: without dashes: "activations".
        help: one sentence.
        choices: permitted values; empty = any text.
        default: the value when it is not given.
        flag: true for a switch.
        side: whether it is for lifting or for lowering.
    """

    name: str
    help: str
    choices: tuple[str, ...] = ()
    default: OptionValue = None
    flag: bool = False
    side: Literal["lift", "lower"] = "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format, light enough to be listed without importing its reader or writer.

    Functions are named "module:function" and imported on first use. Their signatures:

    - `lift(path: Path, options: Mapping[str, OptionValue]) -> Model`
    - `profiles() -> Mapping[str, Profile]`, the first is the default
    - `prepare(model: Model, request: Request) -> Model`: what the target's options add to a model before
      any pass looks at it; remarks of the result are told
    - `lower(model: Model, decisions: Decisions, request: Request) -> Output`
    - `accepts(path: Path) -> bool`: whether a folder is a model of this format
    - `encodings() -> Mapping[str, Encoding]`: how its files store weights, by the format's own names
    - `inspect(path: Path) -> Mapping[str, object]`: what `inspect` shows of a file beyond the canonical
      model, in terms of JSON: each entry is a section, a list of mappings is shown as a table
    - `check(path: Path) -> None`: looks at a file that was written, before anybody can use it; raises a
      `BridgeError` where its runtime would refuse it
    - of `lints`: `(path: Path) -> Sequence[Finding]`, see `formats.lint`

    Attributes:
        name: as on the command line: "gguf".
        title: for people: "GGUF (llama.cpp)".
        suffixes: file names end so; the first is the one written.
        magic: (offset, bytes) of which one must match; empty = decided by suffix.
        lift, prepare, lower, profiles, accepts, encodings, inspect, check: see above; None where the format has none.
        options: of lift and lower.
        lints: (name of what a model is checked for, "module:function").
        opaque: whether nothing can be read from its files: `lift` says why, `inspect` alone looks into them.
        requires: importable modules that it needs beyond the core's, with what installs them.
        docs: where the format is specified.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    magic: tuple[tuple[int, bytes], ...] = ()
    lift: str | None = None
    lower: str | None = None
    prepare: str | None = None
    profiles: str | None = None
    accepts: str | None = None
    encodings: str | None = None
    inspect: str | None = None
    check: str | None = None
    options: tuple[Option, ...] = ()
    lints: tuple[tuple[str, str], ...] = ()
    opaque: bool = False
    requires: tuple[tuple[str, str], ...] = ()
    docs: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked of a lowering.

    Attributes:
        profile: name of the target's profile.
        options: values of the target's own options, defaults filled in.
        stem: stem of the output's file names.
        budget: the worst that is accepted: decides between new codes and floats where neither is exact.
    """

    profile: str
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    stem: str = "model"
    budget: Budget = field(default_factory=Budget)
