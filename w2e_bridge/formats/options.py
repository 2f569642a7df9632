"""The options that formats have of their own: which format knows one, and what values it takes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Literal

from w2e_bridge.errors import UsageError
from w2e_bridge.formats.registry import formats
from w2e_bridge.formats.spec import Format, Option, OptionValue

Side = Literal["lift", "lower"]
Values = Mapping[str, OptionValue]


def of_side(spec: Format, side: Side) -> dict[str, Option]:
    """A format's options for lifting or for lowering."""
    return {option.name: option for option in spec.options if option.side == side}


def owners(name: str) -> list[str]:
    """What has an option of that name: "--to onnx", "gguf input"."""
    return [
        f"--to {spec.name}" if option.side == "lower" else f"{spec.name} input"
        for spec in formats().values()
        for option in spec.options
        if option.name == name
    ]


def assign(given: Values, source: Format, target: Format) -> tuple[Values, Values]:
    """Options of a conversion, dealt out to its reader and its writer.

    Raises:
        UsageError: neither has one of them; says what has.
    """
    lift, lower = of_side(source, "lift"), of_side(target, "lower")
    for name in given:
        if name not in lift and name not in lower:
            raise UsageError(_unknown(name, f"{source.name} to {target.name}", (*lift, *lower)))
    return (
        {name: value for name, value in given.items() if name in lift},
        {name: value for name, value in given.items() if name in lower},
    )


def resolve(spec: Format, side: Side, given: Values, defaults: Values | None = None) -> Values:
    """The values of a format's options: given, else the profile's, else the option's default.

    Raises:
        UsageError: an option that the format does not have, or a value that the option does not
            take.
    """
    known = of_side(spec, side)
    for name in given:
        if name not in known:
            raise UsageError(_unknown(name, spec.name, known))
    values = {name: option.default for name, option in known.items()}
    values |= {name: value for name, value in (defaults or {}).items() if name in known}
    return values | {name: _value(known[name], value) for name, value in given.items()}


def _value(option: Option, value: OptionValue) -> OptionValue:
    if option.choices and value not in option.choices:
        raise UsageError(
            f"--{option.name} is one of {', '.join(option.choices)}, "
            f"not '{value}'{guess(str(value), option.choices)}"
        )
    if option.flag:
        return bool(value)
    if isinstance(option.default, int) and isinstance(value, str):
        try:
            return int(value)
        except ValueError as error:
            raise UsageError(f"--{option.name} is a whole number, not '{value}'") from error
    return value


def _unknown(name: str, what: str, known: Iterable[str]) -> str:
    has = owners(name)
    if has:
        return f"--{name} is an option of {' and '.join(has)}, not of {what}"
    return f"no option '--{name}'{guess(f'--{name}', [f'--{k}' for k in known])}"


def guess(word: str, known: Iterable[str]) -> str:
    """A "did you mean", or nothing."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean '{close[0]}'?" if close else ""
