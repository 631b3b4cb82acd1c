"""A small memory of what was read last, kept per process."""

import os
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class ReadCache:
    """The most recently used values up to a limit; open files among them.

    A forked or unpickled copy starts empty: file positions and network connections are not to be shared between
    processes.

    Args:
        limit: of the summed sizes. The newest value is kept whatever its size.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._forget()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int] = lambda _: 1) -> T:
        """The value of `key`, made if need be.

        Args:
            key: what is looked for.
            make: makes the value.
            size: of the value in the unit of the limit; every value counts 1 by default.
        """
        if self._process != os.getpid():
            self._forget()
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key][0]
        value = make()
        self._values[key] = (value, size(value))
        self._size += self._values[key][1]
        while self._size > self.limit and len(self._values) > 1:
            self._size -= self._values.popitem(last=False)[1][1]
        return value

    def _forget(self) -> None:
        self._process = os.getpid()
        self._size = 0
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
