"""User errors: mistakes in input that deserve one clear sentence instead of a traceback."""

import errno
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from training.redaction import without_secrets

# No space left, the quota used up, a file larger than the file system takes.
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class UserError(ValueError):
    """A mistake of the user. The message is one sentence: what was wrong, where, and what would be right.

    It repeats no token and no password of an address, wherever it quotes them from: messages end up in logs.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


@contextmanager
def full_disk_error(message: str) -> Iterator[None]:
    """Raise a `UserError` with this message when the block meets a full disk; whatever else it raises passes."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise UserError(message) from error


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
