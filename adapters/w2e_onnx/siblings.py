"""Further networks of a model: each an ONNX file of its own beside the main one, whose metadata names them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath

from w2e_bridge.formats.output import Output, OutputFile
from w2e_bridge.ir.model import MetadataValue
from w2e_bridge.passes.components import Decided

KEY = "w2e.components"
"""Of the metadata: JSON, the networks' names to their files' names."""

SUFFIX = ".onnx"
_MOST = 64
"""Networks that are looked for, and characters of a file's name."""


def file_names(networks: Iterable[str], stem: str) -> dict[str, str]:
    """A file name for each network, unlike the main file's and one another."""
    taken = {stem.lower()}
    found = {}
    for network in networks:
        plain = re.sub(r"[^A-Za-z0-9_-]", "_", network)[:_MOST] or "network"
        own, count = plain, 1
        while own.lower() in taken:
            count += 1
            own = f"{plain}-{count}"
        taken.add(own.lower())
        found[network] = own + SUFFIX
    return found


def text_of(names: Mapping[str, str]) -> str:
    """What the main file says of the others."""
    return json.dumps(names, sort_keys=True, separators=(",", ":"))


def names_of(said: MetadataValue | None) -> dict[str, str]:
    """The networks that a main file names, and their files; a name that leads elsewhere is none."""
    try:
        names = json.loads(str(said)) if said else {}
    except (ValueError, RecursionError):
        return {}
    if not isinstance(names, dict):
        return {}
    return {
        network: file
        for network, file in list(names.items())[:_MOST]
        if isinstance(file, str) and file == PurePath(file).name and file.endswith(SUFFIX)
    }


def joined(
    main: Output, others: Mapping[str, Output], names: Mapping[str, str], parts: Iterable[Decided]
) -> Output:
    """One output of several networks.

    Args:
        main: of the model itself.
        others: of the further networks, by name.
        names: file names of these.
        parts: their decisions.
    """
    files = [
        _renamed(file, names[network].removesuffix(SUFFIX))
        for network, output in others.items()
        for file in output.files
    ]
    every = (main, *others.values())
    return replace(
        main,
        files=(*main.files, *files),
        parts=tuple(part.part for part in parts),
        constants=tuple(dict.fromkeys(row for output in every for row in output.constants)),
        values=tuple(dict.fromkeys(row for output in every for row in output.values)),
        ignored=tuple(dict.fromkeys(row for output in every for row in output.ignored)),
        conditions=tuple(dict.fromkeys(c for output in every for c in output.conditions)),
        hints=tuple(dict.fromkeys(row for output in every for row in output.hints)),
    )


def _renamed(file: OutputFile, stem: str) -> OutputFile:
    return replace(file, name=file.name.replace("{stem}", stem))
