"""Triton's `config.pbtxt`: what it says of TensorRT and of the shapes of a model.

Fields: triton-inference-server/common protobuf/model_config.proto; parameters of the accelerator "tensorrt":
triton-inference-server/onnxruntime_backend src/onnxruntime.cc, which hands them to ONNX Runtime's provider.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from w2e_bridge.ir.model import MetadataValue
from w2e_tensorrt.hints import pbtxt, specs
from w2e_tensorrt.hints.specs import SpecError
from w2e_tensorrt.hints.text import Said
from w2e_tensorrt.ranges import Line

FORM = "triton"
FREE = -1
"""An extent that is not fixed."""

PRECISION_MODES: Mapping[str, list[str]] = {"FP32": [], "FP16": ["fp16"], "INT8": ["int8"]}
PROFILE = "trt_profile_"
FACTS = ("name", "platform", "backend", "default_model_filename")
Hints = dict[str, object]
Parameter = tuple[int, str]
"""The line of a parameter, and its value."""

_MARK = re.compile(
    r"^\s*(platform|backend|max_batch_size|instance_group|optimization)\s*[:{\[]", re.MULTILINE
)


def is_one(text: str) -> bool:
    """Whether a text is of this kind."""
    return bool(_MARK.search(text))


def read(path: Path, text: str) -> Said:
    """The hints of a configuration.

    Raises:
        FormatError: no text of a message, or a value out of its range.
    """
    message = pbtxt.parsed(path, text)
    hints: Hints = {}
    try:
        _shapes(message, hints)
        for accelerator in _accelerators(message):
            _tensorrt(_parameters(accelerator), hints)
    except SpecError as error:
        raise Line(path=path, number=error.line).error(str(error)) from error
    metadata: dict[str, MetadataValue] = {
        key: str(message[key][-1]) for key in FACTS if message.get(key)
    }
    used = {*FACTS, "max_batch_size", "input", "output", "optimization"}
    hints |= {f"triton.{key}": _plain(v) for key, v in message.items() if key not in used}
    return Said(form=FORM, hints=hints, metadata=metadata)


@contextmanager
def _at(line: int) -> Iterator[None]:
    """Errors of values are of this line."""
    try:
        yield
    except SpecError as error:
        error.line = error.line or line
        raise


def _last(message: pbtxt.Message, key: str, default: object) -> object:
    """A field that is there once; of several values the last counts, and an empty list is none."""
    values = message.get(key)
    return values[-1] if values else default


def _plain(values: list[object]) -> object:
    """Values in terms of JSON: one as itself, several as a list."""
    found = [
        {key: _plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value
        for value in values
    ]
    return found[0] if len(found) == 1 else found


def _messages(message: pbtxt.Message, *path: str) -> Iterator[pbtxt.Message]:
    """The messages at a path of fields."""
    for value in message.get(path[0], []):
        if isinstance(value, pbtxt.Message):
            if len(path) == 1:
                yield value
            else:
                yield from _messages(value, *path[1:])


def _shapes(message: pbtxt.Message, hints: Hints) -> None:
    """The largest batch, and shapes of inputs without it."""
    # DeepStream's nvinferserver has the same field one level below.
    places = [*_messages(message, "infer_config"), message]
    place = next((p for p in places if p.get("max_batch_size")), message)
    batch = _last(place, "max_batch_size", 0)
    with _at(place.lines.get("max_batch_size", 0)):
        if not isinstance(batch, int) or not 0 <= batch <= specs.LARGEST_EXTENT:
            raise SpecError(f"max_batch_size: expected a whole number, found {str(batch)[:40]!r}")
    if batch:
        hints["max_batch_size"] = batch
    shapes: dict[str, list[int]] = {}
    for value in _messages(message, "input"):
        name, extents = str(_last(value, "name", "")), value.get("dims", [])
        with _at(value.lines.get("dims", 0)):
            if not all(isinstance(n, int) and FREE <= n <= specs.LARGEST_EXTENT for n in extents):
                raise SpecError(f"input '{name[:60]}': dims are no extents")
        if name and any(n != FREE for n in extents):
            # Without a largest batch the first extent is the model's own, and any batch.
            shapes[name] = [n for n in extents if isinstance(n, int)][0 if batch else 1 :]
    if shapes:
        hints["input_shapes"] = shapes


def _accelerators(message: pbtxt.Message) -> Iterator[pbtxt.Message]:
    """What TensorRT is to do for ONNX Runtime."""
    path = ("optimization", "execution_accelerators", "gpu_execution_accelerator")
    for accelerator in _messages(message, *path):
        if str(_last(accelerator, "name", "")) == "tensorrt":
            yield accelerator


def _parameters(accelerator: pbtxt.Message) -> dict[str, Parameter]:
    """Parameters of an accelerator: entries of a map."""
    found: dict[str, Parameter] = {}
    for entry in _messages(accelerator, "parameters"):
        key, value = _last(entry, "key", ""), _last(entry, "value", "")
        if isinstance(key, str) and key:
            found[key] = entry.lines.get("value", 0), str(value)
    return found


def _tensorrt(parameters: Mapping[str, Parameter], hints: Hints) -> None:
    named = {end: f"{PROFILE}{end}_shapes" for end in specs.ENDS}
    rows = {}
    for end, key in named.items():
        line, value = parameters.get(key, (0, ""))
        with _at(line):
            rows[end] = list(_turns(value))
    with _at(max((parameters[key][0] for key in named.values() if key in parameters), default=0)):
        profiles = specs.checked(_profiles({end: turns for end, turns in rows.items() if turns}))
    if profiles:
        hints["shape_profiles"] = profiles
    for key, (line, value) in parameters.items():
        if key in _KEYS:
            with _at(line):
                _KEYS[key](hints, value)
        elif not key.startswith(PROFILE):
            hints[f"triton.{key}"] = value
    if hints.pop("dla", False):
        hints.setdefault("dla_core", 0)
    else:
        hints.pop("dla_core", None)


def _profiles(rows: Mapping[str, list[dict[str, list[int]]]]) -> Iterator[specs.Shapes]:
    """Profiles: a name that comes again begins a further one."""
    for number in range(max(map(len, rows.values()), default=0)):
        yield specs.profile({end: row[number] for end, row in rows.items() if number < len(row)})


def _turns(text: str) -> Iterator[dict[str, list[int]]]:
    turn: dict[str, list[int]] = {}
    for item in specs.items(text):
        one = specs.sides(item)
        if not turn.keys().isdisjoint(one):
            yield turn
            turn = {}
        turn |= one
    if turn:
        yield turn


def _mode(hints: Hints, value: str) -> None:
    hints.update(specs.precisions(PRECISION_MODES, value))


def _workspace(hints: Hints, value: str) -> None:
    hints["memory_pools"] = {"workspace": f"{specs.whole(value)}B"}


def _sparsity(hints: Hints, value: str) -> None:
    if _true(value):
        hints["sparsity"] = "enable"


def _plugins(hints: Hints, value: str) -> None:
    hints["dynamic_plugins"] = [path for path in value.split(";") if path]


def _tactics(hints: Hints, value: str) -> None:
    hints["tactic_sources"] = specs.items(value)


def _dla(hints: Hints, value: str) -> None:
    hints["dla"] = _true(value)


def _true(value: str) -> bool:
    return value.strip().lower() in ("1", "true")


def _text(key: str) -> Callable[[Hints, str], None]:
    def put(hints: Hints, value: str) -> None:
        hints[key] = value

    return put


def _whole(key: str) -> Callable[[Hints, str], None]:
    def put(hints: Hints, value: str) -> None:
        hints[key] = specs.whole(value)

    return put


_KEYS: Mapping[str, Callable[[Hints, str], None]] = {
    "precision_mode": _mode,
    "max_workspace_size_bytes": _workspace,
    "int8_calibration_table_name": _text("calibration_file"),
    "trt_builder_optimization_level": _whole("optimization_level"),
    "trt_auxiliary_streams": _whole("max_aux_streams"),
    "trt_sparsity_enable": _sparsity,
    "trt_tactic_sources": _tactics,
    "trt_extra_plugin_lib_paths": _plugins,
    "trt_dla_enable": _dla,
    "trt_dla_core": _whole("dla_core"),
}
