"""Options that a verb takes from the installed formats, known without importing a reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from w2e_bridge.cli.help import HelpFirst, write_options
from w2e_bridge.formats.options import Side
from w2e_bridge.formats.registry import formats
from w2e_bridge.formats.spec import Format, Option


class FormatCommand(HelpFirst):
    """A command that takes the options of the installed formats too, as `options`."""

    def __init__(self, *args: Any, sides: Sequence[Side], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sides = sides
        self._theirs: dict[tuple[Format, ...], dict[str, click.Option]] = {}

    @property
    def theirs(self) -> dict[str, click.Option]:
        """The formats' options by the formats' own names."""
        installed = tuple(formats().values())
        if installed not in self._theirs:
            taken = {word for parameter in self.params for word in parameter.opts}
            self._theirs[installed] = {
                name: _render(name, rows)
                for name, rows in _collect(self.sides).items()
                if f"--{name}" not in taken
            }
        return self._theirs[installed]

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own options and the formats'."""
        own = super().get_params(ctx)
        return [*own, *self.theirs.values()]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then the formats'."""
        theirs = list(self.theirs.values())
        own = [p for p in self.get_params(ctx) if isinstance(p, click.Option) and p not in theirs]
        write_options(ctx, formatter, "Options", own)
        write_options(ctx, formatter, "Options of the formats", theirs)

    def invoke(self, ctx: click.Context) -> object:
        """Hand the formats' options over as one mapping of those that were given."""
        given = {}
        for name, option in self.theirs.items():
            dest = option.name or ""
            value = ctx.params.pop(dest, None)
            if ctx.get_parameter_source(dest) is ParameterSource.COMMANDLINE:
                given[name] = value
        ctx.params["options"] = given
        return super().invoke(ctx)


def _collect(sides: Sequence[Side]) -> dict[str, list[tuple[str, Option]]]:
    rows: dict[str, list[tuple[str, Option]]] = {}
    for spec in formats().values():
        for option in spec.options:
            if option.side in sides:
                rows.setdefault(option.name, []).append((spec.name, option))
    return dict(sorted(rows.items()))


def _render(name: str, rows: list[tuple[str, Option]]) -> click.Option:
    choices = list(dict.fromkeys(choice for _, option in rows for choice in option.choices))
    texts = dict.fromkeys(option.help for _, option in rows)
    default = rows[0][1].default
    shown = "" if default in (None, False) else f" (default: {default})"
    return click.Option(
        [f"--{name}"],
        is_flag=rows[0][1].flag,
        help=f"{', '.join(spec for spec, _ in rows)}: {' '.join(texts)}{shown}",
        metavar=None if rows[0][1].flag else "|".join(choices) or "TEXT",
        shell_complete=lambda _ctx, _param, incomplete: _starting(choices, incomplete),
    )


def _starting(words: Sequence[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def complete_format(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Shell completion of the formats that can be written."""
    return _starting([s.name for s in formats().values() if s.lower is not None], incomplete)
