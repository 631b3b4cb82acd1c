"""User errors: mistakes in input that deserve one clear sentence instead of a traceback."""

import signal
import sys
from collections.abc import Callable
from typing import NoReturn


class UserError(ValueError):
    """A mistake of the user. The message is one sentence: what was wrong, where, and what would be right."""


def stop_on_sigterm() -> None:
    """Let SIGTERM, which batch systems send before they kill, end this process as Ctrl-C does, with what it started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def run_entry(main: Callable[[], None]) -> NoReturn:
    """Run the `main` of a command line entry and leave the process.

    A `UserError` becomes one line on stderr and exit code 2; Ctrl-C becomes exit code 130. Anything else is a bug of
    ours and keeps its traceback.
    """
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(0)
