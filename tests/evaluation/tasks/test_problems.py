"""Datasets as problems: sides, unlabeled frames, several frames per sample, splits by name."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.bootstrap import point
from evaluation.datasets.dataset import FrameReference
from evaluation.datasets.samples import LabeledSample, SampleDataset, Target
from evaluation.datasets.workflow import UNLABELED, LabeledVideo, Track, WorkflowDataset
from evaluation.features import FeatureStore
from evaluation.tasks import Aim, ProblemTask
from evaluation.tasks.problems import from_samples, from_workflow
from training.errors import UserError

NO_STORE = FeatureStore.__new__(FeatureStore)  # the constant predictor looks at no feature


def video(root: Path, case: str, side: str, phase: list[int], tool: list[int] | None = None) -> LabeledVideo:
    count = len(phase)
    tools = np.zeros((count, 2), np.int8)
    tools[:, 0] = tool or 0
    tools[tools[:, 0] == UNLABELED] = UNLABELED
    labels = {"phase": np.array(phase, dtype=np.int64), "tool": tools}
    return LabeledVideo(case, side, root / f"{case}.mp4", 25.0, np.arange(count) * 25, labels)  # type: ignore[arg-type]


def workflow(root: Path) -> WorkflowDataset:
    tracks = (Track("phase", ("a", "b")), Track("tool", ("hook", "clip"), several=True))
    videos = (
        video(root, "one", "train", [0, 0, UNLABELED, 1], [1, UNLABELED, 0, 1]),
        video(root, "two", "val", [1, 1]),
        video(root, "three", "test", [0, 1, 1], [0, 1, 1]),
    )
    return WorkflowDataset("made_up", root, tracks, videos, "tiny", "made up")


def test_frames_without_a_label_of_the_track_are_left_out(tmp_path: Path) -> None:
    phases = from_workflow("phase_made_up", "phase", workflow(tmp_path), "phase").problem
    assert phases.target == Target("phase", "single", ("a", "b"))
    assert phases.train.targets.tolist() == [0, 0, 1]
    assert phases.train.seconds.tolist() == [0, 1, 3]
    assert phases.train.frames[2] == (FrameReference(tmp_path / "one.mp4", 75),)
    assert phases.train.videos == ("one.mp4",) * 3
    assert (len(phases.val), len(phases.test)) == (2, 3)
    tools = from_workflow("tool_made_up", "presence", workflow(tmp_path), "tool").problem
    assert tools.train.targets.tolist() == [[True, False], [False, False], [True, False]]
    assert tools.train.seconds.tolist() == [0, 2, 3]


def test_the_constant_predictor_gives_the_share_of_the_train_side(tmp_path: Path) -> None:
    phases = from_workflow("phase_made_up", "phase", workflow(tmp_path), "phase")
    outcome = phases.constant(Aim(), NO_STORE)
    assert outcome.predictions is not None
    assert outcome.predictions.scores[0].tolist() == pytest.approx([2 / 3, 1 / 3])
    accuracy = next(each for each in outcome.measures if each.metric == "accuracy")
    assert point(accuracy) == pytest.approx(1 / 3)
    tools = from_workflow("tool_made_up", "presence", workflow(tmp_path), "tool").constant(Aim(), NO_STORE)
    assert tools.predictions is not None
    assert tools.predictions.scores[0] == pytest.approx([np.log(2), np.log(1e-6)], rel=1e-4)


def test_few_labels_have_no_validation_side(tmp_path: Path) -> None:
    few = from_workflow("phase_made_up", "phase", workflow(tmp_path), "phase").with_train([0, 2])
    assert few.problem.train.targets.tolist() == [0, 1]
    assert len(few.problem.val) == 0
    assert few.split.val == ()


def samples(root: Path, target: Target, labels: list) -> SampleDataset:
    sides = ["train", "train", "test"]
    frames = [(FrameReference(root / f"{row}.png"), FrameReference(root / f"{row}b.png")) for row in range(len(sides))]
    records = [
        LabeledSample(f"case{row}", side, frames[row], label)  # type: ignore[arg-type]
        for row, (side, label) in enumerate(zip(sides, labels, strict=True))
    ]
    return SampleDataset("made_up", root, target, tuple(records), "tiny", "made up")


@pytest.mark.parametrize(
    ("target", "labels", "expected"),
    [
        (Target("motion", "single", ("up", "down")), [1, 0, 1], [0.5, 0.5]),
        (Target("skill", "value", ("score",)), [(2.0,), (4.0,), (5.0,)], [3.0]),
        (Target("cvs", "multi", ("C1", "C2")), [(1, 0), (0, 1), (1, 0)], [0.0, 0.0]),
    ],
)
def test_samples_of_every_kind(tmp_path: Path, target: Target, labels: list, expected: list[float]) -> None:
    family = {"single": "motion", "value": "skill", "multi": "cvs"}[target.kind]
    task = from_samples("made_up", family, samples(tmp_path, target, labels))
    target.check(task.problem.train.targets)
    target.check(task.problem.val.targets)  # an empty side has the right shape as well
    outcome = task.constant(Aim(), NO_STORE)
    assert outcome.predictions is not None
    assert outcome.predictions.scores[0].tolist() == expected
    assert len(task.frames) == 6
    assert len(set(task.problem.train.videos)) == 2


def test_a_side_without_samples_is_named(tmp_path: Path) -> None:
    data = workflow(tmp_path)
    unlabeled = video(tmp_path, "one", "train", [UNLABELED])
    bare = WorkflowDataset("made_up", tmp_path, data.tracks, (unlabeled, *data.videos[1:]), "tiny", "made up")
    with pytest.raises(UserError, match="task 'phase_made_up': no sample on the train side of made_up has a phase"):
        from_workflow("phase_made_up", "phase", bare, "phase")


def test_a_problem_task_names_its_split(tmp_path: Path) -> None:
    task: ProblemTask = from_workflow("phase_made_up", "phase", workflow(tmp_path), "phase")
    split = task.split
    assert (split.train, split.val, split.test, split.name) == (("one",), ("two",), ("three",), "tiny")


def test_samples_have_the_same_names_on_every_machine(tmp_path: Path) -> None:
    target = Target("skill", "value", ("score",))
    records = [
        LabeledSample(f"case{row}", side, (FrameReference(tmp_path / "a" / name, frame),), (1.0,))  # type: ignore[arg-type]
        for row, (side, name, frame) in enumerate(
            [("train", "x.png", None), ("train", "y.mp4", 7), ("test", "z.png", None)]
        )
    ]
    dataset = SampleDataset("made_up", tmp_path, target, tuple(records), "tiny", "made up")
    task = from_samples("made_up", "skill", dataset)
    assert task.problem.train.videos == ("a/x.png", "a/y.mp4 7")
