"""Entry point: signals, exit codes, and the one line that every error becomes.

Imports nothing heavy: an interrupt during start-up ends cleanly, and `--help` is instant.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


class Interrupted(BaseException):
    """SIGINT or SIGTERM; not an `Exception`, so that only clean-up runs on its way out."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done · 1 the answer is no · 2 unusable input or usage · 3 can't be judged here ·
        130 interrupted.
    """
    arguments = sys.argv[1:] if argv is None else argv
    previous = {sig: signal.signal(sig, _stop) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _run(arguments)
    except Interrupted:
        _say("interrupted", arguments, "interrupted", INTERRUPTED)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left: `w2e-bridge inspect … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        for sig, handler in previous.items():
            signal.signal(sig, handler)


def _run(arguments: list[str]) -> int:
    from w2e_bridge.cli.app import run
    from w2e_bridge.cli.failures import as_error, describe, kind

    try:
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except Exception as error:
        failure = as_error(error)
        if _verbose(arguments) and kind(failure) != "usage":
            import traceback

            traceback.print_exc()
        _say(describe(failure), arguments, kind(failure), failure.exit_code, failure)
        return failure.exit_code
    return code


def _stop(number: int, frame: FrameType | None) -> None:
    for sig in (signal.SIGINT, signal.SIGTERM):  # the clean-up that follows is not to be cut short
        signal.signal(sig, signal.SIG_IGN)
    raise Interrupted


def _verbose(arguments: list[str]) -> bool:
    return "-v" in arguments or "--verbose" in arguments


def _say(
    line: str, arguments: list[str], kind: str, code: int, error: Exception | None = None
) -> None:
    print(f"w2e-bridge: {line}", file=sys.stderr)
    if "--json" not in arguments:
        return
    from w2e_bridge.cli.failures import place
    from w2e_bridge.fidelity.report import to_json

    details = {"kind": kind, "message": line, "exit_code": code, **place(error)}
    print(to_json({"error": details}))


if __name__ == "__main__":
    sys.exit(main())
