"""The verbs, loaded when they are called: listing them imports none."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click

from w2e_bridge import __version__
from w2e_bridge.cli.help import HelpFirst

VERBS: dict[str, str] = {
    "convert": "Convert a model to another format, exactly or not at all.",
    "inspect": "Show what a model file holds.",
    "compare": "Compare two models tensor by tensor, whatever their formats.",
    "lint": "Check an ONNX model against the rules of the runtime that it is meant for.",
    "formats": "List the installed formats, their profiles and options.",
}
"""Verb to its line in the help; each is a module of this package with a `command`."""


_NAME = "w2e-bridge"
_COMPLETE = "_W2E_BRIDGE_COMPLETE"
_EXIT_CODES = (
    "Exit codes: 0 done, 1 the answer is no (beyond the accepted fidelity, models differ), "
    "2 unusable input or usage, 3 can't be judged here, 130 interrupted."
)


class Verbs(HelpFirst, click.Group):
    """A group whose commands are modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order of the help."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"w2e_bridge.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with a guess at what was meant."""
        if args[0] in VERBS or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        import difflib

        close = difflib.get_close_matches(args[0], VERBS, 1)
        meant = f"; did you mean '{close[0]}'?" if close else f" (verbs: {', '.join(VERBS)})"
        raise click.UsageError(f"no verb '{args[0]}'{meant}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs, without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    name=_NAME,
    invoke_without_command=True,
    subcommand_metavar="VERB …",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=(
        "w2e-bridge convert model-Q4_K_M.gguf --to onnx",
        "w2e-bridge convert model.gguf --to onnx --dry-run",
        "w2e-bridge inspect model.gguf",
        "w2e-bridge compare model.gguf model-onnx/model.onnx",
    ),
    epilogs=(
        _EXIT_CODES,
        'Completion (zsh, fish likewise): eval "$(_W2E_BRIDGE_COMPLETE=bash_source w2e-bridge)"',
    ),
)
@click.version_option(__version__, "--version", message="w2e-bridge %(version)s")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Carries models between formats, their quantization exact wherever the target can say it."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@contextmanager
def _hush() -> Iterator[None]:
    """Standard error is for our own lines: libraries' warnings are silent."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)


def run(arguments: list[str]) -> int:
    """Run a command; its exit code. Errors come out as exceptions.

    Not click's own `main`: that one prints errors over several lines and ends the process itself.
    """
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(app, {}, _NAME, _COMPLETE, instruction)
    quiet = not {"-v", "--verbose"} & set(arguments)
    try:
        with _hush() if quiet else nullcontext(), app.make_context(_NAME, list(arguments)) as ctx:
            return app.invoke(ctx) or 0
    except click.exceptions.Exit as done:
        return done.exit_code
