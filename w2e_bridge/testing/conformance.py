"""What every format must keep, whoever wrote its adapter.

Each check takes a `Format` and raises `AssertionError` with what is wrong; a third party's test calls
them for its own record, ours loop over all that is installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from w2e_bridge import api
from w2e_bridge.errors import BridgeError, UnsupportedError
from w2e_bridge.fidelity.report import Report
from w2e_bridge.formats.registry import load
from w2e_bridge.formats.spec import Format
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import Model
from w2e_bridge.loss import Grade
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.negotiation.rewrites_signs import ZEROS_WITHOUT_SIGN

PIECES = 64


def check_record(spec: Format) -> None:
    """The record is complete and what it names can be imported."""
    assert spec.name.isidentifier(), f"'{spec.name}' can't be typed as --to"
    assert spec.suffixes, f"{spec.name} has no suffix"
    assert spec.suffixes[0].startswith("."), f"'{spec.suffixes[0]}' is written behind a stem"
    assert spec.lift or spec.lower, f"{spec.name} neither lifts nor lowers"
    assert (spec.lower is None) == (spec.profiles is None), "what lowers has profiles"
    for target in (spec.lift, spec.lower, spec.profiles, spec.accepts, spec.inspect):
        if target is not None:
            assert callable(load(spec, target)), target
    names = [option.name for option in spec.options]
    assert len(set(names)) == len(names), "an option is listed twice"


def check_profiles(spec: Format) -> None:
    """Profiles say what they hold, under their own names."""
    if spec.profiles is None:
        return
    profiles: dict[str, Profile] = load(spec, spec.profiles)()
    assert profiles, f"{spec.name} lowers but has no profile"
    for name, profile in profiles.items():
        assert name == profile.name, f"profile '{name}' calls itself '{profile.name}'"
        assert profile.forms, f"profile '{name}' holds nothing"
        assert all(form.roles for form in profile.forms), f"a form of '{name}' has no role"


def lowered(model: Model, spec: Format, folder: Path) -> Path | None:
    """The model as a file of the format, or None where the format refuses it and says so."""
    return None if _lowered(model, spec, folder) is None else _file(spec, folder)


def _file(spec: Format, folder: Path) -> Path:
    return folder / f"model{spec.suffixes[0]}"


def _lowered(model: Model, spec: Format, folder: Path) -> Report | None:
    wishes = api.Wishes(to=spec.name, out=_file(spec, folder), audit="none")
    try:
        return api.lower(model, wishes)
    except UnsupportedError:
        return None
    except BridgeError as error:
        if error.exit_code == 1:  # it would lose something: refused as it should be
            return None
        raise


def check_round_trip(spec: Format, model: Model, folder: Path) -> bool:
    """What a format accepts comes back: same names, shapes and decoded bits. False: not accepted.

    Of values, what the report calls exact has its scale and zero point.
    """
    report = _lowered(model, spec, folder)
    if report is None:
        return False
    again = api.open(_file(spec, folder))
    unsigned = {row.name for row in report.tensors if ZEROS_WITHOUT_SIGN in row.reason}
    for name, tensor in model.tensors.items():
        assert name in again.tensors, f"'{name}' did not come back"
        other = again.tensors[name]
        assert other.shape == tensor.shape, f"'{name}': {other.shape}, was {tensor.shape}"
        want, got = tensor.dequantize(), other.dequantize()
        if name in unsigned:
            want, got = want + np.float32(0), got + np.float32(0)  # -0 + 0 is 0
        same = np.array_equal(want.view(np.uint32), got.view(np.uint32))
        assert same, f"'{name}' decodes to other numbers"
    for row in report.values:
        if row.grade is Grade.EXACT:
            assert row.name in again.activations, f"'{row.name}' did not come back"
            before, after = model.activations[row.name], again.activations[row.name]
            assert _parameters(before) == _parameters(after), f"'{row.name}' is quantized otherwise"
    return True


def _parameters(value: ActivationQuantization) -> tuple[str, object, object]:
    scale = None if value.scale is None else np.float32(value.scale).tobytes()
    zero = 0 if value.zero_point is None else value.zero_point.tolist()
    return str(value.codes), scale, zero


def check_deterministic(spec: Format, model: Model, folder: Path) -> bool:
    """The same model gives the same bytes. False: not accepted."""
    digests = []
    for number in range(2):
        place = folder / str(number)
        place.mkdir()
        if lowered(model, spec, place) is None:
            return False
        digests.append({p.name: _digest(p) for p in sorted(place.iterdir())})
    assert digests[0] == digests[1], "two runs differ"
    return True


def check_truncated(spec: Format, path: Path, folder: Path) -> None:
    """Cut anywhere, a file is refused with an error of ours, or read without harm."""
    before = _digest(path)
    for name, data in _cuts(path.read_bytes()):
        cut = folder / f"{name}{spec.suffixes[0]}"
        cut.write_bytes(data)
        try:
            model = api.open(cut)
            for tensor in model.tensors.values():
                tensor.decode_rows(tensor.rows - 1, tensor.rows)
        except BridgeError as error:
            assert "\n" not in str(error), f"more than one line: {error}"  # noqa: PT017
    assert _digest(path) == before, "the input changed"


def _cuts(data: bytes) -> Iterator[tuple[str, bytes]]:
    for piece in range(PIECES):
        yield f"cut{piece}", data[: len(data) * piece // PIECES]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
