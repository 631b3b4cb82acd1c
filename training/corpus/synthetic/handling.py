"""How the two hands move their instruments, as a pure function of time: insertion, approach, work, retreat."""

from dataclasses import dataclass

import numpy as np

from training.corpus.synthetic.instruments import Model, build_instrument
from training.corpus.synthetic.vocabulary import NULL_TARGET
from training.corpus.synthetic.workflow import Task, smoothstep


@dataclass(frozen=True)
class ToolState:
    """One instrument at one moment.

    Attributes:
        model: its painted parts.
        instance_id: number of the physical instrument in this case, the same whenever it comes back.
        point: canvas position (x, y) under the tip.
        extension: 0 withdrawn .. 1 at `point`.
        lift: 0 touching .. 1 hovering.
        opening: jaws, 0 closed .. 1 wide open.
        bend: angle between shaft and tip in radians.
        flip: +1 or -1, which side of the instrument faces the camera.
        touching: whether the tip is on the tissue as the task wants it.
        verb: verb of the task.
    """

    model: Model
    instance_id: int
    point: tuple[float, float]
    extension: float
    lift: float
    opening: float
    bend: float
    flip: float
    touching: bool
    verb: str


class Hand:
    """One hand of a case: its tasks, its instruments and its trocar.

    `pivot` is the trocar's offset from the middle of the view in units of the view's diagonal.
    """

    def __init__(
        self, tasks: tuple[Task, ...], side: float, first_id: int, pixels_per_mm: float, seed: list[int]
    ) -> None:
        rng = np.random.default_rng(seed)
        self._tasks = tasks
        self._scale = pixels_per_mm
        names = list(dict.fromkeys(task.instrument for task in tasks if task.instrument))
        self.models = {name: build_instrument(name, rng) for name in names}
        self.instance_ids = {name: first_id + index for index, name in enumerate(names)}
        self._flips = {name: float(rng.choice([-1.0, 1.0])) for name in names}
        self._phases = rng.uniform(0, 2 * np.pi, (len(tasks), 4))
        self._bends = rng.uniform(-0.22, 0.22, len(tasks))
        angle = rng.uniform(-0.75, 1.0)  # from the side; positive is from below
        self.pivot = 0.76 * np.array([side * np.cos(angle), np.sin(angle)])

    def at(self, second: float) -> ToolState | None:
        """The instrument in this hand at a time, `None` when there is none."""
        index = next((i for i, task in enumerate(self._tasks) if second < task.stop), len(self._tasks) - 1)
        task = self._tasks[index]
        if not task.instrument:
            return None
        length = task.stop - task.start
        start, stop = task.contact()
        ramp = 0.11 * length
        landed = float(smoothstep(np.array((second - start + ramp) / ramp)))
        lifted = float(smoothstep(np.array((second - stop) / ramp)))
        lift = 1.0 if task.target == NULL_TARGET else 1 - landed * (1 - lifted)
        extension = 1.0
        if task.enters:
            extension = float(smoothstep(np.array((second - task.start) / min(0.26 * length, 0.8))))
        if task.leaves:
            duration = min(0.18 * length, 0.6)
            extension *= 1 - float(smoothstep(np.array((second - task.stop + duration) / duration)))
        return ToolState(
            model=self.models[task.instrument],
            instance_id=self.instance_ids[task.instrument],
            point=self._point(index, second, lift),
            extension=extension,
            lift=lift,
            opening=self._opening(index, second, lift),
            bend=float(self._bends[index] + 0.08 * np.sin(1.7 * second + self._phases[index, 3])),
            flip=self._flips[task.instrument],
            touching=start <= second < stop,
            verb=task.verb,
        )

    def _point(self, index: int, second: float, lift: float) -> tuple[float, float]:
        """The tip's place: from the last target to this one, then small strokes around it (larger while hovering)."""
        task = self._tasks[index]
        point = np.array(task.point)
        if not task.enters and index:
            start, _ = task.contact()
            begin = max(start - task.start, 0.2 * (task.stop - task.start))
            moved = float(smoothstep(np.array((second - task.start) / begin)))
            point = point * moved + np.array(self._tasks[index - 1].point) * (1 - moved)
        phase = self._phases[index]
        stroke = np.array([np.sin(5.0 * second + phase[0]), np.cos(3.6 * second + phase[1])])
        away = np.array([np.cos(phase[2]), np.sin(phase[2])])
        point = point + self._scale * ((0.8 + 1.4 * lift) * stroke + 4.0 * lift * away)
        return float(point[0]), float(point[1])

    def _opening(self, index: int, second: float, lift: float) -> float:
        wave = 0.5 + 0.5 * np.sin(6.0 * second + self._phases[index, 3])
        if self._tasks[index].instrument == "scissors":
            return float(0.25 + 0.75 * wave)
        return float(0.18 + (0.35 + 0.45 * wave) * lift)
