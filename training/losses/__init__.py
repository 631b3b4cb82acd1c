"""Losses: one formula per file, `(prediction, target, valid_mask) -> one value per image`."""

from training.losses.angle import angle, angle_between, best_constant_direction, dispersion
from training.losses.mse import mse

__all__ = ["angle", "angle_between", "best_constant_direction", "dispersion", "mse"]
