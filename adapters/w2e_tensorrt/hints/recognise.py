"""Which of these files one is: by what it holds, whatever its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.formats.spec import OptionValue
from w2e_bridge.ir.model import Model
from w2e_tensorrt.hints import (
    build,
    hf_quant,
    inspector,
    nvinfer,
    precision_config,
    triton,
    trtexec,
)
from w2e_tensorrt.hints.text import Document, Said, model_of, parsed, text_of

_Is = Callable[[Mapping[str, object]], bool]
DOCUMENTS: tuple[tuple[_Is, Callable[[Document], Said]], ...] = (
    (precision_config.is_one, precision_config.read),
    (inspector.is_one, inspector.read),
    (hf_quant.is_one, hf_quant.read),
    (build.is_one, build.read),
)
"""Kinds of JSON: how each is known, and its reader."""

KNOWN = (
    "build.json, a precision_config.json of qdq-translator, a listing of the engine inspector, or "
    "an hf_quant_config.json"
)


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """A file of hints as a model that holds nothing else.

    Args:
        path: the file.
        options: none.

    Raises:
        FormatError: none of the kinds that are known, or a damaged one.
    """
    del options
    return model_of(path, said(path))


def said(path: Path) -> Said:
    """What a file of hints says.

    Raises:
        FormatError: none of the kinds that are known, or a damaged one.
    """
    text = text_of(path)
    if not text.strip():
        raise FormatError(Where(path=path), "the file is empty", "probably a cut download")
    if nvinfer.is_one(text):
        return nvinfer.read(path, text)
    if text.lstrip().startswith(("{", "[")):
        return _document(path, text)
    if text.startswith("TRT-"):
        hint = "give it with --calibration-cache"
        raise FormatError(Where(path=path), "a calibration cache, which holds no hints", hint)
    if path.name.endswith(".pbtxt") or triton.is_one(text):
        return triton.read(path, text)
    return trtexec.read(path, text)


def _document(path: Path, text: str) -> Said:
    values = parsed(path, text)
    for is_one, read in DOCUMENTS:
        if is_one(values):
            return read(Document(path=path, values=values))
    keys = json.dumps(list(values)[:4])
    raise FormatError(Where(path=path), f"expected {KNOWN}; found an object with {keys}")


def inspect(path: Path) -> Mapping[str, object]:
    """What a quantized checkpoint's tensors mean, of a file that speaks of one."""
    found = said(path).hints.get("quantization")
    return hf_quant.meaning(found) if isinstance(found, dict) else {}
