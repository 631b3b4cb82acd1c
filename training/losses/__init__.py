"""Losses: one formula per file, `(prediction, target, valid_mask) -> one value per image`."""

from training.losses.angle import angle, angle_between, best_constant_direction, dispersion
from training.losses.cosine import cosine
from training.losses.cosine_smooth_l1 import cosine_smooth_l1
from training.losses.gram import gram
from training.losses.mse import mse
from training.losses.relational import relational
from training.losses.shift_equivariant import shift_equivariant_mse, shift_images
from training.losses.temporal_gram import temporal_gram
from training.losses.token_similarity_kl import token_similarity_kl

# What a recipe may name for the tokens of a teacher; a summary is one token.
TOKEN_LOSSES = {each.__name__: each for each in (mse, cosine, cosine_smooth_l1)}
DENSE_LOSSES = {**TOKEN_LOSSES, "token_similarity_kl": token_similarity_kl}
SUMMARY_LOSSES = ("angle", *TOKEN_LOSSES)

__all__ = [
    "DENSE_LOSSES",
    "SUMMARY_LOSSES",
    "TOKEN_LOSSES",
    "angle",
    "angle_between",
    "best_constant_direction",
    "cosine",
    "cosine_smooth_l1",
    "dispersion",
    "gram",
    "mse",
    "relational",
    "shift_equivariant_mse",
    "shift_images",
    "temporal_gram",
    "token_similarity_kl",
]
