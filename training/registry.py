"""The registry class of every room: a dictionary filled by a decorator."""

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from training.errors import UserError

T = TypeVar("T")


def unknown_name(noun: str, name: str, names: Iterable[str]) -> UserError:
    """The error for a name that does not exist: the closest match first, then every right one, sorted."""
    known = sorted(names)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UserError(f"unknown {noun} {name!r}.{hint} Known: {', '.join(known)}")


class Registry(Generic[T]):
    """Names -> things of one kind (`noun` is used in messages).

    `register(name)` is a decorator; a second registration of a name raises `ValueError` naming both files.
    `get(name)` raises `UserError` that lists the right names. `names()` feeds command line help, tests and docs.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._entries: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files the decorated object under `name`."""
        origin = sys._getframe(1).f_code.co_filename  # inspect.stack() reads the source of every frame: 0.1 s a call

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.noun} {name!r} is registered twice: in {self._origins[name]} and in {origin}")
            self._entries[name] = entry
            self._origins[name] = origin
            return entry

        return add

    def get(self, name: str) -> T:
        """The entry called `name`; `UserError` with the known names if there is none."""
        if name not in self._entries:
            raise unknown_name(self.noun, name, self._entries)
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries
