"""The losses that a recipe may name for a teacher's summaries and for its dense tokens."""

from collections.abc import Callable

from torch import Tensor

from training.registry import Registry

Loss = Callable[..., Tensor]  # (prediction, target, valid_mask=None) -> one value per image, float32 (B,)

SUMMARY_LOSSES: Registry[Loss] = Registry("summary loss")  # on (B, D)
# These see the direction of a prediction only, or nearly: its length means nothing until it is fitted, see
# `Branch.length`.
FREE_LENGTH = frozenset({"angle", "cosine", "cosine_smooth_l1"})
# This one sees only how tokens of an image relate: the predictions are in a space of their own, not the teacher's.
FREE_SPACE = frozenset({"token_similarity_kl"})
DENSE_LOSSES: Registry[Loss] = Registry("dense loss")  # on (B, N, D)
