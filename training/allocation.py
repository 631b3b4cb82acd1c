"""How much memory tensors take at most while something runs: counted storage by storage, on any device."""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class AllocationMeter(TorchDispatchMode):
    """Counts the bytes of storages that operators make inside the block, while they live; backward passes included.

    What operators take and give back within themselves is not seen.

    Args:
        device: whose memory is looked at.
        known: tensors whose storages are not counted, because they were there before.

    Attributes:
        live: bytes that are alive now.
        peak: most bytes that were alive at once.
    """

    def __init__(self, device: torch.device, known: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._kind = device.type
        self._seen = weakref.WeakSet(tensor.untyped_storage() for tensor in known)
        self.live = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator and count what it made."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.device.type == self._kind:
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._give_back, size)

    def _give_back(self, size: int) -> None:
        self.live -= size
