"""What features take in memory, foreseen from the first batch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from evaluation.feature_store.encoding import TOKENS
from evaluation.feature_store.request import Request
from training.errors import UserError


@dataclass
class MemoryGuard:
    """Refuses before the work is done.

    Attributes:
        limit: GB.
        backbones: how many the run has.
        request: what is asked of each.
        is_held: whether all features are held in memory; otherwise a probe holds the dense tokens of one backbone.
    """

    limit: float
    backbones: int
    request: Request
    is_held: bool
    _held: dict[str, float] = field(default_factory=dict)

    def see(self, name: str, tensors: Mapping[str, np.ndarray]) -> None:
        """Take the shapes of a backbone's tensors. Raises `UserError` when what is known by now is above the limit."""
        counts = {kind: int(wanted.sum()) for kind, wanted in self.request.wanted.items()}
        if not self.is_held:
            read = counts["dense"] * math.prod(tensors["dense"].shape[1:]) * 4 / 1e9
            if read > self.limit:
                raise UserError(
                    f"the dense tokens of {name!r} take {read:.1f} GB when a probe reads them, more than "
                    f"--memory-limit {self.limit:g}; raise it, choose fewer tasks, or a smaller --image-size"
                )
            return
        rows = {tensor: counts[kind] for kind in TOKENS for tensor in (kind, f"{kind}_scale")}
        self._held[name] = sum(
            rows.get(each, counts["pooled"]) * math.prod(tensor.shape[1:]) * tensor.itemsize
            for each, tensor in tensors.items()
        )
        estimate = sum(self._held.values()) / 1e9
        if estimate > self.limit:
            raise UserError(
                f"the features of {len(self._held)} of {self.backbones} backbones need {estimate:.1f} GB, "
                f"more than --memory-limit {self.limit:g}; raise it, choose fewer tasks or teachers, or a smaller "
                "--image-size"
            )
