"""Frames outside the patient: the camera is cleaned, exchanged or not yet in. A color rule, or a trained classifier."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.filters.hysteresis import runs_above
from training.corpus.filters.picture import DARK, Picture, Timeline

TISSUE_HUES = (25, 150)  # of 180: red to yellow lies below the first and above the second
TISSUE_SATURATION = 60  # of 255; gray things and white light are below
TISSUE_REDNESS = 0.3  # see `Picture.redness`: 97 of 100 genuine frames have more, rendered rooms at most 0.07


@dataclass(frozen=True)
class OutOfBodySettings:
    """Settings of the out-of-body filter."""

    enabled: bool = True
    # Folder of an image-classification model with the label `out_of_body`, as `python -m training.train_frame_filter`
    # writes it; its probability replaces the rule. Empty: the rule.
    model: str = ""
    # From 0 to 1. The highest of 1,553 genuine frames score 0.64 (a pale gallbladder fills it) and 0.30, of 1,005
    # rendered ones 0.52; all of 63 rendered rooms have 0.75 and more, 6 of 13 everyday photographs 0.7 and more.
    high: float = 0.7
    low: float = 0.5  # from 0 to 1; while the score stays here, the run goes on
    # Seconds. Cleaning the lens takes longer; a shorter run is rather a gauze or an instrument before the camera.
    min_seconds: float = 2.0


class OutOfBodyFilter:
    """Score: how much a frame looks like the room, from 0 to 1. Runs are dropped, see `hysteresis.runs_above`.

    The rule is (1 - share of tissue-colored pixels) x (1 - redness / 0.3, from 0 to 1): outside, little is red, orange
    or yellow and nothing leads in red; drapes are green or blue, walls and steel gray. The round view says nothing: it
    is round outside as well. Bare skin looks like tissue to the rule. Views in near-infrared or narrow-band light are
    green or blue inside the patient too: switch the filter off for them, or give it a classifier.

    What earlier filters dropped is passed over: it neither ends a run nor starts one.
    """

    name = "out_of_body"

    def __init__(self, settings: OutOfBodySettings) -> None:
        self._settings = settings
        self.threshold = settings.low  # what every dropped frame reaches
        self._classify: Callable[[Sequence[np.ndarray]], list[float]] | None = None
        if settings.model:
            from training.corpus.frame_classifier import open_frame_classifier  # torch, only where it is wanted

            self._classify = open_frame_classifier(settings.model).out_of_body

    def score(self, pictures: Sequence[Picture]) -> list[float]:
        """Likeness to the room of each frame; NaN for a black one under the rule."""
        if self._classify is not None:
            return self._classify([picture.frame for picture in pictures])
        return [room_likeness(picture) for picture in pictures]

    def drops(self, scores: np.ndarray, timeline: Timeline) -> np.ndarray:
        """Which samples to drop: bool (N,) for scores (N,)."""
        seen = timeline.kept & ~np.isnan(scores)
        found = np.zeros(len(scores), bool)
        found[seen] = runs_above(
            scores[seen], timeline.times[seen], self._settings.low, self._settings.high, self._settings.min_seconds
        )
        return found


def room_likeness(picture: Picture) -> float:
    """The score of the rule, from 0 to 1; NaN for a black picture."""
    colorless = 1 - float(np.clip(picture.redness / TISSUE_REDNESS, 0, 1))
    if not colorless > 0:  # most frames of an operation, which spares them the rest
        return colorless
    hue, saturation, value = cv2.split(picture.small_hsv)
    lit = value > DARK
    tissue = lit & ((hue < TISSUE_HUES[0]) | (hue > TISSUE_HUES[1])) & (saturation > TISSUE_SATURATION)
    return colorless * (1 - float(tissue.sum() / lit.sum()))
