"""Pickles that datasets ship labels in, read so that they cannot run code: containers, text and numbers only."""

import pickle
from pathlib import Path
from typing import Any

from training.errors import UserError

# What damaged pickles raise: their opcodes act on whatever lies on the stack.
_BROKEN = (pickle.UnpicklingError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError)


class _PlainUnpickler(pickle.Unpickler):
    """Containers, text and numbers come without looking up a name in a module; anything else needs one."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_pickle(noun: str, path: Path) -> Any:
    """What a pickle holds.

    Args:
        noun: name of the dataset, for messages.
        path: the file.

    Raises:
        UserError: no such file, a broken one, or one that holds anything but containers, text and numbers.
    """
    try:
        with path.open("rb") as stream:
            return _PlainUnpickler(stream).load()
    except FileNotFoundError as error:
        raise UserError(f"{noun}: {str(path)!r} is missing; the dataset is incomplete or has another layout") from error
    except _BROKEN as error:
        raise UserError(
            f"{noun}: {str(path)!r} cannot be read as a pickle of plain containers, text and numbers ({error})"
        ) from error
