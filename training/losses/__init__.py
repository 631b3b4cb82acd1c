"""Losses: one formula per file, `(prediction, target, valid_mask) -> one value per image`."""

from training.losses.angle import angle, angle_between, best_constant_direction, dispersion
from training.losses.cosine import cosine
from training.losses.cosine_smooth_l1 import cosine_smooth_l1
from training.losses.dino_cross_entropy import dino_cross_entropy
from training.losses.gram import gram
from training.losses.info_nce import info_nce
from training.losses.koleo import koleo
from training.losses.mse import mse
from training.losses.registry import DENSE_LOSSES, SUMMARY_LOSSES
from training.losses.relational import relational
from training.losses.shift_equivariant import overlap, shift_equivariant_mse, shift_images
from training.losses.temporal_gram import has_partner, temporal_gram
from training.losses.token_similarity_kl import token_similarity_kl

__all__ = [
    "DENSE_LOSSES",
    "SUMMARY_LOSSES",
    "angle",
    "angle_between",
    "best_constant_direction",
    "cosine",
    "cosine_smooth_l1",
    "dino_cross_entropy",
    "dispersion",
    "gram",
    "has_partner",
    "info_nce",
    "koleo",
    "mse",
    "overlap",
    "relational",
    "shift_equivariant_mse",
    "shift_images",
    "temporal_gram",
    "token_similarity_kl",
]
