"""Settings of the synthetic corpus."""

import os
from dataclasses import dataclass, field
from fractions import Fraction

from training.errors import UserError

SPLITS = ("train", "test")


@dataclass(frozen=True)
class SyntheticSettings:
    """How many clips are rendered, how long, how large, and how often spoiled spans occur."""

    cases_train: int = 24  # clips below train/; four procedures take turns, so a multiple of 4 is balanced
    cases_test: int = 10  # clips below test/; enough for an interval by case, few enough for a quick demo
    seconds: float = 16.0  # length of a clip; room for about five phases of three seconds
    fps: float = 6.0  # frames per second of the videos; the slowest rate at which instrument motion is smooth
    width: int = 320  # pixels; even (H.264 4:2:0); instrument tips stay recognisable when halved
    height: int = 256  # pixels; even
    annotation_fps: float = 1.0  # frames per second with mask and depth images; 1 is the field's labelling rate
    out_of_body_cases: float = 0.6  # share of cases with a span outside the patient, 0..1
    black_cases: float = 0.4  # share of cases with a black span, 0..1
    frozen_cases: float = 0.3  # share of cases with a span of repeated frames, 0..1
    seed: int = 0  # same seed and settings: same ground truth and same pixels before video encoding
    # rendering processes, does not change the output; one per core by default
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be rendered."""
        for name in ("cases_train", "cases_test", "seed"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("width", "height"):
            value = getattr(self, name)
            if value < 64 or value % 2:
                raise UserError(f"{name} is {value}; it must be an even number of at least 64 pixels")
        for name in ("seconds", "fps", "annotation_fps", "workers"):
            if getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}; it must be more than 0")
        for name in ("out_of_body_cases", "black_cases", "frozen_cases"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it is a share of cases from 0 to 1")
        ratio = self.rate / Fraction(self.annotation_fps).limit_denominator(1001)
        if ratio.denominator != 1:
            raise UserError(
                f"annotation_fps is {self.annotation_fps:g} with fps {self.fps:g}; fps must be a whole multiple of it"
            )
        if self.num_frames < 12:
            raise UserError(f"seconds {self.seconds:g} at fps {self.fps:g} give {self.num_frames} frames; at least 12")

    @property
    def rate(self) -> Fraction:
        """Frames per second as an exact fraction (for container timestamps)."""
        return Fraction(self.fps).limit_denominator(1001)

    @property
    def num_frames(self) -> int:
        """Frames of one clip."""
        return round(self.seconds * self.fps)

    @property
    def annotation_step(self) -> int:
        """Every how many frames one has mask and depth images."""
        return int(self.rate / Fraction(self.annotation_fps).limit_denominator(1001))

    def case_ids(self, split: str) -> list[str]:
        """Names of the cases of a split; they are unique over both splits."""
        first, count = (0, self.cases_train) if split == "train" else (self.cases_train, self.cases_test)
        return [f"case{first + index:03d}" for index in range(count)]
