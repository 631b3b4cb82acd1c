"""The course of one case: phases, spoiled spans, which hand does what where, camera path, smoke and bleeding."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from training.corpus.synthetic.canvas import Canvas
from training.corpus.synthetic.settings import SyntheticSettings
from training.corpus.synthetic.vocabulary import (
    BLEEDING_VERBS,
    ENERGY_INSTRUMENTS,
    NULL_TARGET,
    PHASES,
    TRIPLETS,
    Action,
    Procedure,
)

Array = np.ndarray
# Share of the cases in which a phase happens; the others always do.
_PHASE_ODDS = {"preparation": 0.9, "clipping": 0.9, "extraction": 0.75, "cleaning": 0.85}
_SHORTEST_PHASE = 1.6  # seconds; a shorter clip gets fewer phases
_STRETCH = 2.4  # seconds a hand keeps its task


@dataclass(frozen=True)
class Task:
    """What one hand does during a stretch of time (seconds): nothing when `instrument` is empty."""

    start: float
    stop: float
    instrument: str
    verb: str
    target: str
    point: tuple[float, float]  # canvas pixels
    enters: bool
    leaves: bool

    def contact(self) -> tuple[float, float]:
        """Start and stop of the touch, in seconds; equal when nothing is touched."""
        length = self.stop - self.start
        if self.target == NULL_TARGET:
            return self.start, self.start
        return (
            self.start + length * (0.32 if self.enters else 0.22),
            self.stop - length * (0.20 if self.leaves else 0.06),
        )


@dataclass(frozen=True)
class Stretch:
    """A span of one camera position: start and stop in seconds, phase, pose (x, y, zoom, rotation)."""

    start: float
    stop: float
    phase: str
    pose: tuple[float, float, float, float]


@dataclass(frozen=True)
class Plan:
    """Everything that happens in a case.

    Attributes:
        stretches: camera spans in time order.
        hands: tasks of the leading and of the assisting hand, one per stretch.
        displayed: (N,) for each video frame the frame whose scene is shown (itself, unless the picture is frozen).
        visibility: (N,) "surgical", "out_of_body" or "black".
        smoke: (N,) haze 0..1.
        blood: (N,) level 0..1.
        poses: (N, 4) camera x, y (canvas pixels), zoom, rotation (radians) of each frame.
    """

    stretches: tuple[Stretch, ...]
    hands: tuple[tuple[Task, ...], tuple[Task, ...]]
    displayed: Array
    visibility: Array
    smoke: Array
    blood: Array
    poses: Array

    def phase_at(self, second: float) -> str:
        """Phase at a time."""
        return next((s.phase for s in self.stretches if second < s.stop), self.stretches[-1].phase)


def plan_case(settings: SyntheticSettings, procedure: Procedure, canvas: Canvas, index: int, seed: list[int]) -> Plan:
    """Draw the course of case `index` of its split.

    Args:
        settings: lengths and shares.
        procedure: tables of actions.
        canvas: the painted scene; decides where each structure can be touched.
        index: position of the case in its split; spreads the spoiled spans evenly over the cases.
        seed: root of the random streams of this case.
    """
    rng = np.random.default_rng([*seed, 1])
    places = {name: canvas.places(name, rng) for name in dict.fromkeys(canvas.names)}
    places = {name: points for name, points in places.items() if len(points)}
    spans = _draw_stretches(settings.num_frames / settings.fps, rng)
    stretches: list[Stretch] = []
    drafts: list[tuple[_Draft, _Draft]] = []
    for start, stop, phase in spans:
        # The next target is chosen close by, so that the camera moves slowly.
        here = stretches[-1].pose[:2] if stretches else None
        leading = _draw_task(procedure.leading[phase], places, rng, 0.06, here)
        anchor = leading.point or _pick(places[str(rng.choice(sorted(places)))], rng, here)
        pose = _draw_pose(anchor, phase, canvas, settings, rng)
        stretches.append(Stretch(start, stop, phase, pose))
        seen = {name: _in_view(points, pose, anchor, settings) for name, points in places.items()}
        seen = {name: points for name, points in seen.items() if len(points)}
        drafts.append((leading, _draw_task(procedure.assisting[phase], seen, rng, 0.35, None)))
    hands = tuple(_join(stretches, [pair[hand] for pair in drafts]) for hand in (0, 1))
    times = np.arange(settings.num_frames) / settings.fps
    displayed, visibility = _draw_spans(settings, index, np.random.default_rng([*seed, 2]))
    tasks = [task for hand in hands for task in hand]
    return Plan(
        stretches=tuple(stretches),
        hands=(hands[0], hands[1]),
        displayed=displayed,
        visibility=visibility,
        smoke=_smoke(tasks, times, rng),
        blood=_blood(tasks, times, rng),
        poses=_camera(stretches, times, settings, rng),
    )


def _draw_stretches(seconds: float, rng: np.random.Generator) -> list[tuple[float, float, str]]:
    """Phases in their order with random lengths, each cut into stretches of about `_STRETCH` seconds."""
    phases = [phase for phase in PHASES if rng.random() < _PHASE_ODDS.get(phase, 1.0)]
    while len(phases) > max(2, int(seconds / _SHORTEST_PHASE)):
        phases.pop(rng.integers(len(phases)))
    if "cleaning" in phases and rng.random() < 0.4:  # cleaning can also come before the specimen leaves
        phases.remove("cleaning")
        phases.insert(max(1, len(phases) - 1), "cleaning")
    weights = 0.6 + rng.dirichlet(np.full(len(phases), 3.0)) * len(phases) * 0.4
    edges = np.concatenate([[0], np.cumsum(weights / weights.sum())]) * seconds
    spans = []
    for phase, start, stop in zip(phases, edges[:-1], edges[1:], strict=True):
        parts = np.linspace(start, stop, max(1, round((stop - start) / _STRETCH)) + 1)
        spans += [(float(a), float(b), phase) for a, b in pairwise(parts)]
    return spans


@dataclass(frozen=True)
class _Draft:
    instrument: str
    verb: str
    target: str
    point: tuple[float, float] | None


def _pick(points: Array, rng: np.random.Generator, here: tuple[float, float] | None) -> tuple[float, float]:
    """One of `points` (n, 2); with `here`, the nearest to it of ten."""
    drawn = points[rng.integers(len(points), size=10 if here else 1)]
    x, y = drawn[np.argmin(np.hypot(*(drawn - here).T))] if here else drawn[0]
    return float(x), float(y)


def _draw_task(
    actions: tuple[Action, ...],
    places: dict[str, Array],
    rng: np.random.Generator,
    idle: float,
    here: tuple[float, float] | None,
) -> _Draft:
    """One action of a table on a structure that can be reached, or none with probability `idle`."""
    if rng.random() < idle:
        return _Draft("", "", NULL_TARGET, None)
    weights = np.array([action.weight for action in actions])
    action = actions[rng.choice(len(actions), p=weights / weights.sum())]
    verb = action.verbs[rng.integers(len(action.verbs))]
    # Blood lies where the tip will be: any reachable structure can be the place for it.
    wanted = [name for name in action.targets if (action.instrument, verb, name) in TRIPLETS]
    reachable = [name for name in wanted if name in places]
    if "blood" in wanted:
        reachable = sorted(places)
    if not reachable:
        anywhere = _pick(places[str(rng.choice(sorted(places)))], rng, here) if places else None
        return _Draft(action.instrument if anywhere else "", "", NULL_TARGET, anywhere)
    place = reachable[rng.integers(len(reachable))]
    return _Draft(action.instrument, verb, "blood" if "blood" in wanted else place, _pick(places[place], rng, here))


def _join(stretches: list[Stretch], drafts: list[_Draft]) -> tuple[Task, ...]:
    """Tasks of one hand; an instrument that stays in the hand is neither withdrawn nor inserted again."""
    tasks = []
    for index, (stretch, draft) in enumerate(zip(stretches, drafts, strict=True)):
        before = drafts[index - 1].instrument if index else ""
        after = drafts[index + 1].instrument if index + 1 < len(drafts) else draft.instrument
        point = draft.point or (0.0, 0.0)
        enters, leaves = before != draft.instrument, after != draft.instrument
        tasks.append(
            Task(stretch.start, stretch.stop, draft.instrument, draft.verb, draft.target, point, enters, leaves)
        )
    return tuple(tasks)


def _draw_pose(
    anchor: tuple[float, float], phase: str, canvas: Canvas, settings: SyntheticSettings, rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """A camera pose that shows `anchor` off the middle and stays on the canvas."""
    near = {"preparation": (0.92, 1.2), "clipping": (1.1, 1.6), "cutting": (1.1, 1.6)}.get(phase, (0.95, 1.45))
    zoom, rotation = rng.uniform(*near), rng.uniform(-0.16, 0.16)
    view = np.array([settings.width, settings.height])
    center = np.array(anchor) + rng.uniform(-0.20, 0.20, 2) * view / zoom
    turn = np.abs([[np.cos(rotation), np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    margin = turn @ view / (2 * zoom) + 6
    x, y = np.clip(center, np.minimum(margin, canvas.size / 2), np.maximum(canvas.size - margin, canvas.size / 2))
    return float(x), float(y), float(zoom), float(rotation)


def _in_view(
    points: Array, pose: tuple[float, float, float, float], taken: tuple[float, float], settings: SyntheticSettings
) -> Array:
    """The points in the middle part of the view of a pose, not right beside the place `taken` by the other hand."""
    x, y, zoom, _ = pose
    offset = np.abs(points - (x, y)) * zoom / (settings.width, settings.height)
    apart = np.hypot(*(points - taken).T) * zoom > 0.16 * settings.width
    return points[(offset < 0.33).all(axis=1) & apart]


def smoothstep(x: Array) -> Array:
    """Minimum-jerk step from 0 to 1: 10 x^3 - 15 x^4 + 6 x^5, clamped outside 0..1."""
    x = np.clip(x, 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def _camera(stretches: list[Stretch], times: Array, settings: SyntheticSettings, rng: np.random.Generator) -> Array:
    """Poses (N, 4): a smooth move at the start of each stretch, then a hold with hand tremor."""
    poses = np.tile(np.array(stretches[0].pose), (len(times), 1))
    for before, after in pairwise(stretches):
        length = (after.stop - after.start) * rng.uniform(0.5, 0.75)
        step = smoothstep((times - after.start + 0.2 * length) / length)[:, None]
        poses += step * (np.array(after.pose) - np.array(before.pose))
    tremor = np.array([0.004 * settings.width, 0.004 * settings.width, 0.006, 0.004])
    for frequency in (0.23, 0.61):
        poses += 0.5 * tremor * np.sin(2 * np.pi * frequency * times[:, None] + rng.uniform(0, 6.3, 4))
    return poses


def _smoke(tasks: list[Task], times: Array, rng: np.random.Generator) -> Array:
    """Haze (N,): rises while an energy instrument works, then clears."""
    source = np.zeros(len(times))
    for task in tasks:
        if task.instrument in ENERGY_INSTRUMENTS and task.verb in ("dissect", "coagulate"):
            start, stop = task.contact()
            strength = rng.uniform(0.45, 1.0) if rng.random() < 0.75 else 0.0
            source = np.maximum(source, strength * ((times >= start) & (times < stop)))
    haze = np.zeros(len(times))
    step = times[1] - times[0] if len(times) > 1 else 1.0
    for i in range(1, len(times)):
        rate = step / (0.7 if source[i] > haze[i - 1] else 1.3)
        haze[i] = haze[i - 1] + min(rate, 1.0) * (source[i] - haze[i - 1])
    return np.where(haze < 0.02, 0.0, haze)


def _blood(tasks: list[Task], times: Array, rng: np.random.Generator) -> Array:
    """Level (N,): rises while tissue is divided, falls under suction."""
    step = times[1] - times[0] if len(times) > 1 else 1.0
    flow = np.zeros(len(times))
    for task in tasks:
        start, stop = task.contact()
        touching = (times >= start) & (times < stop)
        if task.verb in BLEEDING_VERBS:
            flow += touching * rng.uniform(0.03, 0.33)
        elif task.instrument == "irrigator":
            flow -= touching * rng.uniform(0.10, 0.22)
        elif task.verb == "coagulate":
            flow -= touching * 0.04
    level = np.zeros(len(times))
    current = max(0.0, rng.uniform(-0.4, 0.25))
    for i in range(len(times)):
        current = float(np.clip(current + step * flow[i], 0, 0.85))
        level[i] = current
    return level


def bleeding_points(plan_hands: tuple[tuple[Task, ...], ...], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Canvas positions that bleed, in time order: where tissue is divided and where suction will work."""
    tasks = sorted((task for hand in plan_hands for task in hand), key=lambda task: task.start)
    points = [task.point for task in tasks if task.verb in BLEEDING_VERBS or task.target == "blood"]
    return [(x + rng.normal(0, 6), y + rng.normal(0, 6)) for x, y in points]


def _draw_spans(settings: SyntheticSettings, index: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Which frames are spoiled: `displayed` (N,) int and `visibility` (N,) str, see `Plan`."""
    count = settings.num_frames
    displayed = np.arange(count)
    visibility = np.full(count, "surgical", dtype="<U11")
    free = np.ones(count, bool)

    def place(length: int, starts: list[int]) -> slice | None:
        for start in starts:
            if free[max(start - 1, 0) : start + length + 1].all() and start + length <= count:
                free[max(start - 1, 0) : start + length + 1] = False
                return slice(start, start + length)
        return None

    def chosen(share: float, shift: float) -> bool:
        return (index * 0.6180339887 + shift) % 1.0 < share  # low discrepancy: any few cases meet the share

    def anywhere(length: int) -> list[int]:
        return [int(s) for s in rng.permutation(np.arange(2, max(count - length - 1, 3)))]

    if chosen(settings.out_of_body_cases, 0.0):
        length = max(2, round(count * rng.uniform(0.06, 0.13)))
        ends = [0, count - length]
        first = [int(rng.choice(ends))] if rng.random() < 0.7 else []
        span = place(length, first + anywhere(length))
        if span:
            visibility[span] = "out_of_body"
    if chosen(settings.black_cases, 0.31):
        length = max(2, round(count * rng.uniform(0.03, 0.08)))
        span = place(length, anywhere(length))
        if span:
            visibility[span] = "black"
    if chosen(settings.frozen_cases, 0.67):
        length = max(2, round(count * rng.uniform(0.05, 0.12)))
        span = place(length, anywhere(length))
        if span:
            displayed[span] = span.start - 1
    return displayed, visibility
