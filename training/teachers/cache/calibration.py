"""Fitting the codecs of a new cache on frames that are spread over the corpus."""

from collections.abc import Mapping

import numpy as np
from accelerate import Accelerator

from training.errors import UserError
from training.sampling import Groups
from training.teachers.cache.codec_file import Codecs
from training.teachers.cache.codecs import Statistics
from training.teachers.cache.live import LiveFeatures


def calibration_rows(groups: Groups, frames: int) -> list[int]:
    """First rows of parts, evenly spread, that hold about `frames` frames together."""
    wanted = max(min(frames, groups.num_rows) // groups.size, 1)
    rows = np.linspace(0, groups.num_rows - 1, wanted).round().astype(np.int64)
    return sorted({groups.part_at(row)[0] for row in rows.tolist()})


def fit_codecs(codecs: Mapping[int, Codecs], live: LiveFeatures, frames: int, accelerator: Accelerator) -> None:
    """Fit every codec, in place, on the first view of about `frames` frames. All processes call it, each sees a share.

    Raises:
        UserError: too few tokens for the components of PHI-S.
    """
    rows = calibration_rows(live.views.groups, frames)
    mine = rows[accelerator.process_index :: accelerator.num_processes]
    for size, own in codecs.items():
        statistics = {name: Statistics(len(codec.mean), codec.mode) for name, codec in own.items()}
        for _, features in live.ask([(row, 0, size)] for row in mine):
            for name, each in statistics.items():
                each.update(features[name])
        for name, each in statistics.items():
            try:
                each.finish()
            except UserError as error:
                raise UserError(f"cache.calibration_frames={frames}: {name} at {size} px: {error}") from error
            own[name].fit(each)
