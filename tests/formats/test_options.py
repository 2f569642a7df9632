"""Options go to the side that has them; what has none says what does."""

from __future__ import annotations

import pytest
from inline_snapshot import snapshot

from w2e_bridge.errors import UsageError
from w2e_bridge.formats.options import assign, resolve
from w2e_bridge.formats.registry import named
from w2e_bridge.formats.spec import Format, Option, OptionValue

pytestmark = pytest.mark.usefixtures("toy_format")

OTHER = Format(
    name="other", title="", suffixes=(),
    options=(Option(name="threads", help="", default=4), Option(name="note", help="")),
)  # fmt: skip


def test_reader_and_writer_get_their_own() -> None:
    toy = named("toy")
    assert assign({"color": "green", "lenient": True}, toy, toy) == (
        {"lenient": True},
        {"color": "green"},
    )


def test_defaults_come_from_the_option_then_the_profile_then_the_user() -> None:
    toy = named("toy")
    assert resolve(toy, "lower", {}) == {"color": "red", "loud": False}
    assert resolve(toy, "lower", {}, {"color": "green", "foreign": 1})["color"] == "green"
    assert resolve(toy, "lower", {"color": "red"}, {"color": "green"})["color"] == "red"
    assert resolve(toy, "lift", {}) == {"lenient": False}
    assert resolve(OTHER, "lower", {"threads": "8", "note": "9"}) == {"threads": 8, "note": "9"}


def test_messages() -> None:
    toy = named("toy")
    cases: list[tuple[Format, Format, dict[str, OptionValue]]] = [
        (OTHER, OTHER, {"color": "red"}),
        (OTHER, toy, {"lenient": True}),
        (toy, toy, {"colour": "red"}),
        (toy, toy, {"color": "greem"}),
        (toy, OTHER, {"threads": "many"}),
    ]
    found = []
    for source, target, given in cases:
        with pytest.raises(UsageError) as caught:
            resolve(target, "lower", assign(given, source, target)[1])
        found.append(str(caught.value))
    assert found == snapshot(
        [
            "--color is an option of --to toy, not of other to other",
            "--lenient is an option of toy input, not of other to toy",
            "no option '--colour'; did you mean '--color'?",
            "--color is one of red, green, not 'greem'; did you mean 'green'?",
            "--threads is a whole number, not 'many'",
        ]
    )
