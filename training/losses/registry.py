"""The losses that a recipe may name for a teacher's summaries and for its dense tokens."""

from collections.abc import Callable

from torch import Tensor

from training.registry import Registry

Loss = Callable[..., Tensor]  # (prediction, target, valid_mask=None) -> one value per image, float32 (B,)

SUMMARY_LOSSES: Registry[Loss] = Registry("summary loss")  # on (B, D)
DENSE_LOSSES: Registry[Loss] = Registry("dense loss")  # on (B, N, D)
