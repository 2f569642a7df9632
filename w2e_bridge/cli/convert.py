"""`w2e-bridge convert`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from w2e_bridge.cli.failures import about, one_line
from w2e_bridge.cli.help import common
from w2e_bridge.cli.options import FormatCommand, complete_format
from w2e_bridge.cli.render import show

_EXAMPLES = (
    "w2e-bridge convert model-Q4_K_M.gguf --to onnx            # writes ./model-Q4_K_M-onnx/",
    "w2e-bridge convert model.gguf --to onnx -o out/model.onnx",
    "w2e-bridge convert model.gguf --to onnx --dry-run         # sizes and grades, nothing written",
    "w2e-bridge convert model.gguf --to onnx --fidelity rounding --json",
)


@click.command(cls=FormatCommand, sides=("lift", "lower"), name="convert", examples=_EXAMPLES)
@click.argument("source")
@click.option(
    "--to", required=True, metavar="FORMAT", help="Format to write.", shell_complete=complete_format
)
@click.option(
    "-o",
    "--out",
    metavar="OUT",
    help="File with the format's suffix, or folder (default: ./STEM-FORMAT).",
)
@click.option(
    "--profile",
    metavar="NAME",
    help="Runtime to write for (default: the format's first, see formats).",
)
@click.option(
    "--fidelity",
    default="exact",
    metavar="exact|rounding|requantized",
    help="The worst that is accepted of any tensor (default: exact).",
)
@click.option(
    "--allow-float", is_flag=True, help="Accept float storage where the target has no such codes."
)
@click.option("--force", is_flag=True, help="Replace earlier output.")
@click.option("--dry-run", is_flag=True, help="Plan only: sizes and grades, nothing written.")
@click.option(
    "--audit",
    default="sample",
    metavar="sample|full",
    help="How much of the output is read back and compared (default: sample).",
)
@click.option("--no-audit", is_flag=True, help="Do not read the output back.")
@common
def command(source: str, *, as_json: bool, quiet: bool, verbose: bool, **wishes: Any) -> int:
    """Convert a model to another format.

    Codes, scales and offsets are carried, never recomputed. What the target can't hold as exactly
    as --fidelity asks stops the conversion before anything is written.
    """
    from w2e_bridge.cli.process import prepare

    prepare()
    from w2e_bridge import api
    from w2e_bridge.cli.progress import progress_bar
    from w2e_bridge.cli.summary import conversion
    from w2e_bridge.fidelity.report import to_json

    if wishes.pop("no_audit"):
        wishes["audit"] = "none"
    start = time.monotonic()
    with about(source), progress_bar(Path(source).name, wanted=not quiet) as progress:
        report = api.convert(source, **wishes, progress=progress)
    seconds = time.monotonic() - start
    if as_json:
        print(to_json({**report.document(), **report.run(), "seconds": round(seconds, 3)}))
    elif not quiet:
        show(conversion(report, seconds, every=verbose))
    if report.refusal:
        print(f"w2e-bridge: {one_line(report.refusal)}", file=sys.stderr)
    return 1 if report.refusal else 0
