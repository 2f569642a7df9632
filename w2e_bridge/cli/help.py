"""Help that begins with examples, and the options that all verbs share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])


class HelpFirst(click.Command):
    """A command whose help shows examples before anything else."""

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        epilogs: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples, self.epilogs = examples, epilogs

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Options; arguments are in the usage line."""
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        write_options(ctx, formatter, "Options", options)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What it does, examples, options."""
        self.format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        self.format_options(ctx, formatter)
        for text in self.epilogs:
            formatter.write_paragraph()
            formatter.write_text(text)


def write_options(
    ctx: click.Context, formatter: click.HelpFormatter, title: str, options: Sequence[click.Option]
) -> None:
    """A section of the help, or nothing."""
    records = [record for option in options if (record := option.get_help_record(ctx))]
    if records:
        with formatter.section(title):
            formatter.write_dl(records)


def common(function: Function) -> Function:
    """The options that every verb has."""
    for option in (
        click.option(
            "-v", "--verbose", is_flag=True, help="Say more; tracebacks of internal errors."
        ),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output."),
    ):
        function = option(function)
    return function
