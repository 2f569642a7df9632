"""A hint as the option of trtexec that says it, or why none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from w2e_tensorrt.hints.flags import Flag, Form

RESERVED = frozenset(",'")
"""What no item of a list can hold: trtexec splits at commas first, and takes quotes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What becomes of a hint.

    Attributes:
        value: as `build.json` has it; None where nothing of it is said.
        arguments: of trtexec.
        effect: "applied", "ignored" or "unsupported".
        left: items that the release does not know, of a list of which it knows others.
    """

    value: object = None
    arguments: tuple[str, ...] = ()
    effect: str = "unsupported"
    left: tuple[str, ...] = ()


UNSUPPORTED = Choice()


def chosen(flag: Flag, value: object, release: int) -> Choice:
    """The option that says a hint.

    Args:
        flag: its row.
        value: of the hint, from wherever: of any type.
        release: of TensorRT.
    """
    if release > flag.last:
        return UNSUPPORTED
    if release <= 10 and flag.last == 10 and flag.key != "restricted":
        return Choice(effect="ignored")  # told beside the network, by what writes for that release
    return _FORMS[flag.form](flag, value, release)


def _switch(flag: Flag, value: object, release: int) -> Choice:
    del release
    if not isinstance(value, bool):
        return UNSUPPORTED
    return Choice(value=value, arguments=(flag.name,) if value else (), effect="applied")


def _number(flag: Flag, value: object, release: int) -> Choice:
    del release
    if isinstance(value, bool) or not isinstance(value, int):
        return UNSUPPORTED
    return Choice(value=value, arguments=(f"{flag.name}={value}",), effect="applied")


def _text(flag: Flag, value: object, release: int) -> Choice:
    del release
    word = _word(value)
    if word is None or (flag.known and word.lower() not in flag.known):
        return UNSUPPORTED
    return Choice(value=word, arguments=(f"{flag.name}={word}",), effect="applied")


def _word(value: object) -> str | None:
    """A value that stands on one line; None of any other."""
    plain = isinstance(value, str) and value.splitlines() == [value]
    return str(value) if plain else None


def _items(flag: Flag, value: object, release: int) -> Choice:
    del release
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not all(_item(word) for word in words):
        return UNSUPPORTED
    kept = [str(word) for word in words if not flag.known or str(word) in flag.known]
    return _some(flag, kept, ",".join(kept), [str(w) for w in words if str(w) not in kept])


def _pairs(flag: Flag, value: object, release: int) -> Choice:
    del release
    if not isinstance(value, Mapping):
        return UNSUPPORTED
    rows = {str(name): item for name, item in value.items()}
    kept = {n: v for n, v in rows.items() if not flag.known or n in flag.known}
    if not all(_item(name) and _scalar(item) for name, item in kept.items()):
        return UNSUPPORTED
    said = ",".join(f"{name}:{item}" for name, item in kept.items())
    return _some(flag, kept, said, [name for name in rows if name not in kept])


def _some(flag: Flag, kept: list[str] | dict[str, object], said: str, left: list[str]) -> Choice:
    if not kept:
        return UNSUPPORTED
    return Choice(
        value=kept, arguments=(f"{flag.name}={said}",), effect="applied", left=tuple(left)
    )


def _item(word: object) -> bool:
    return isinstance(word, str) and _word(word) is not None and not set(word) & RESERVED


def _scalar(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number or (_item(value) and ":" not in str(value))


def _repeated(flag: Flag, value: object, release: int) -> Choice:
    del release
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not words or not all(_word(w) for w in words):
        return UNSUPPORTED
    said = tuple(f"{flag.name}={word}" for word in words)
    return Choice(value=[str(word) for word in words], arguments=said, effect="applied")


_FORMS = {
    Form.SWITCH: _switch,
    Form.NUMBER: _number,
    Form.TEXT: _text,
    Form.ITEMS: _items,
    Form.PAIRS: _pairs,
    Form.REPEATED: _repeated,
}
