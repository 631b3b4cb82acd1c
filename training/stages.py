"""At which resolution the student works at a step: a pure function of the settings, the same on every process."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.errors import UserError


@dataclass(frozen=True)
class StageConfig:
    """From a step on, the student works at one of several sizes, drawn anew for every step."""

    from_step: int = 0  # first step of the stage
    sizes: tuple[int, ...] = ()  # pixels of the square input; several mix resolutions, as the last stage of EUPE does

    def __post_init__(self) -> None:
        """Refuse a stage without sizes."""
        if self.from_step < 0 or not self.sizes or min(self.sizes) < 1:
            raise UserError(
                f"a stage needs from_step >= 0 and sizes in pixels, got from_step={self.from_step}, "
                f"sizes={list(self.sizes)}"
            )


class Resolutions:
    """The student's input size of every step.

    Args:
        base: side in pixels before the first stage.
        stages: in ascending order of `from_step`.
        seed: of the run; the draw of a step depends on it and on the step alone.

    Raises:
        UserError: stages out of order.
    """

    def __init__(self, base: int, stages: Sequence[StageConfig], seed: int) -> None:
        starts = [stage.from_step for stage in stages]
        if starts != sorted(set(starts)):
            raise UserError(f"stages must begin at ascending steps, got {starts}")
        self._base, self._stages, self._seed = base, tuple(stages), seed

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every size that may come, ascending."""
        return tuple(sorted({self._base, *(size for stage in self._stages for size in stage.sizes)}))

    def at(self, step: int) -> int:
        """Side in pixels at the 0-based `step`."""
        current = [stage for stage in self._stages if stage.from_step <= step]
        if not current:
            return self._base
        sizes = current[-1].sizes
        generator = np.random.default_rng([self._seed, step, 4])
        return sizes[int(generator.integers(len(sizes)))]
