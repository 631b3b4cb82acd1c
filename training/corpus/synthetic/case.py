"""A rendered case: frames with complete ground truth, each a pure function of its index."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.corpus.synthetic.canvas import build_canvas
from training.corpus.synthetic.handling import Hand, ToolState
from training.corpus.synthetic.optics import Optics
from training.corpus.synthetic.records import CameraMotion, FrameRecord, Instance, Triplet
from training.corpus.synthetic.renderer import Renderer, camera_matrix
from training.corpus.synthetic.settings import SPLITS, SyntheticSettings
from training.corpus.synthetic.vocabulary import CLASSES, INSTRUMENTS, NULL_TARGET, NULL_VERB, PROCEDURES, TRIPLETS
from training.corpus.synthetic.workflow import bleeding_points, plan_case
from training.errors import UserError
from training.registry import unknown_name

Array = np.ndarray
TIP_VISIBLE = 0.5  # an instrument is present when at least half of its tip is visible (the rule of Cholec80)


@dataclass(frozen=True)
class RenderedFrame:
    """One frame with its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB, before video encoding.
        semantic: (H, W) uint8 class ids.
        instance: (H, W) uint8 instance ids, 0 = none.
        depth: (H, W) float32 mm from the camera plane, 0 = unknown.
        record: boxes, tools, triplets, phase, camera motion and the rest.
    """

    image: Array
    semantic: Array
    instance: Array
    depth: Array
    record: FrameRecord


class RenderedCase:
    """One case; `len()` gives its frames, `frame(i)` and iteration render them. Nothing is kept between frames."""

    def __init__(self, settings: SyntheticSettings, split: str, index: int) -> None:
        self.settings, self.split = settings, split
        self.case_id = settings.case_ids(split)[index]
        self.procedure = list(PROCEDURES)[index % len(PROCEDURES)]
        root = [settings.seed, SPLITS.index(split), index]
        canvas = build_canvas(self.procedure, np.random.default_rng([*root, 0]), settings.height, settings.width)
        self._plan = plan_case(settings, PROCEDURES[self.procedure], canvas, index, root)
        rng = np.random.default_rng([*root, 3])
        canvas.add_blood(bleeding_points(self._plan.hands, rng), rng)
        self._canvas = canvas
        self._optics = Optics(settings.height, settings.width, [*root, 4])
        blood_id = len(canvas.names) + 1
        side = float(rng.choice([-1.0, 1.0]))
        self._hands = tuple(
            Hand(
                tasks, sign * side, blood_id + 1 + number * len(INSTRUMENTS), canvas.pixels_per_mm, [*root, 5 + number]
            )
            for number, (tasks, sign) in enumerate(zip(self._plan.hands, (1, -1), strict=True))
        )
        self._renderer = Renderer(canvas, self._optics, rng.uniform(0.062, 0.080) * settings.width, blood_id)
        self._classes = np.zeros(256, np.uint8)  # class id of each instance id
        for number, name in enumerate([*canvas.names, "blood"], start=1):
            self._classes[number] = CLASSES.index(name)
        for hand in self._hands:
            for name, number in hand.instance_ids.items():
                self._classes[number] = CLASSES.index(name)
        self._clips = [
            (task.contact()[1], *task.point, float(rng.uniform(0, np.pi)))
            for hand in self._plan.hands
            for task in hand
            if task.verb == "clip" and task.target != NULL_TARGET
        ]

    def __len__(self) -> int:
        return self.settings.num_frames

    def __iter__(self) -> Iterator[RenderedFrame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> RenderedFrame:
        """Render frame `index`; the same on every call. `IndexError` outside the clip."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a case of {len(self)} frames")
        visibility = str(self._plan.visibility[index])
        shown = int(self._plan.displayed[index])
        second = shown / self.settings.fps
        if visibility != "surgical":
            image = self._optics.darkness(shown) if visibility == "black" else self._optics.room(second, shown)
            empty = np.zeros(image.shape[:2], np.uint8)
            return RenderedFrame(image, empty, empty, empty.astype(np.float32), self._record(index, empty, [], ()))
        blood, smoke = float(self._plan.blood[shown]), float(self._plan.smoke[shown])
        tools = [(state, hand.pivot) for hand in self._hands if (state := hand.at(second)) is not None]
        clips = [(x, y, angle) for after, x, y, angle in self._clips if second >= after]
        picture = self._renderer.draw(self._plan.poses[shown], tools, clips, blood, second)
        speed = self._speed(shown)
        image = self._optics.develop(self._optics.add_haze(picture.color, smoke, second), shown, min(0.02 * speed, 1.0))
        seen = [state for state, _ in tools if picture.tip_shares.get(state.instance_id, 0.0) >= TIP_VISIBLE]
        triplets = tuple(self._triplet(state, blood) for state in seen)
        record = self._record(index, picture.instance, [state.model.name for state in seen], triplets)
        return RenderedFrame(image, self._classes[picture.instance], picture.instance, picture.depth, record)

    def _speed(self, index: int) -> float:
        """Camera speed in pixels of a 320 pixel wide view per frame (for motion blur)."""
        before = self._plan.poses[max(index - 1, 0)]
        return float(np.hypot(*(self._plan.poses[index] - before)[:2])) * 320 / self.settings.width

    def _triplet(self, state: ToolState, blood: float) -> Triplet:
        """What the instrument does: its verb and the structure under its tip while it touches."""
        name = state.model.name
        if state.touching:
            x, y = state.point
            height, width = self._canvas.structure.shape
            row, column = min(max(round(y), 0), height - 1), min(max(round(x), 0), width - 1)
            bloody = float(self._canvas.color[row, column, 3]) > 255 * (1 - blood)
            target = "blood" if state.verb == "aspirate" and bloody else self._canvas.class_at(x, y)
            if (name, state.verb, target) in TRIPLETS:
                return Triplet(name, state.verb, target)
        return Triplet(name, NULL_VERB, NULL_TARGET)

    def _record(self, index: int, instance: Array, tools: list[str], triplets: tuple[Triplet, ...]) -> FrameRecord:
        settings, plan = self.settings, self._plan
        shown = int(plan.displayed[index])
        visibility = str(plan.visibility[index])
        return FrameRecord(
            frame_index=index,
            timestamp=float(index / settings.rate),
            procedure=self.procedure,
            phase=plan.phase_at(shown / settings.fps),
            tools=tuple(name for name in INSTRUMENTS if name in tools),
            triplets=triplets,
            instances=self._instances(instance),
            camera=self._motion(index),
            visibility=visibility,
            frozen=shown != index,
            smoke=float(plan.smoke[shown]) if visibility == "surgical" else 0.0,
            fov=self._optics.fov,
            annotated=index % settings.annotation_step == 0,
        )

    def _instances(self, instance: Array) -> tuple[Instance, ...]:
        """Boxes and areas of every id in an instance image (H, W)."""
        counts = np.bincount(instance.ravel(), minlength=256)
        found = []
        for number in np.nonzero(counts)[0]:
            if number == 0:
                continue
            mask = instance == number
            rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
            box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
            found.append(Instance(int(number), CLASSES[self._classes[number]], *box, int(counts[number])))
        return tuple(found)

    def _motion(self, index: int) -> CameraMotion:
        """Motion from the previous displayed picture to this one."""
        plan = self._plan
        if index == 0 or plan.visibility[index] != "surgical" or plan.visibility[index - 1] != "surgical":
            return CameraMotion(0.0, 0.0, 1.0, 0.0)
        before, now = plan.poses[plan.displayed[index - 1]], plan.poses[plan.displayed[index]]
        linear = camera_matrix(now, self.settings.height, self.settings.width)[:, :2]
        dx, dy = linear @ (before[:2] - now[:2])
        return CameraMotion(float(dx), float(dy), float(now[2] / before[2]), float(now[3] - before[3]))


def render_case(settings: SyntheticSettings, split: str, index: int) -> RenderedCase:
    """Prepare case `index` of `split`; its frames are rendered when asked for.

    Args:
        settings: sizes, rates and seed.
        split: "train" or "test".
        index: from 0 to the number of cases of the split minus one.

    Raises:
        UserError: an unknown split or an index outside it.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    count = len(settings.case_ids(split))
    if not 0 <= index < count:
        raise UserError(f"case index {index} of split {split!r} does not exist; it has {count} cases, counted from 0")
    return RenderedCase(settings, split, index)
